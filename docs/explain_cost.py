"""Time and memory of every method on 10,309 cells x 25,734 peaks: VENNVI_DATA=folder python docs/explain_cost.py.

One thread, a model of one epoch (the cost does not depend on how well it is trained), Linux.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import mudata
import numpy as np
import torch

import vennvi


def memory(key: str) -> float:
    """Memory of this process in MB, as ``/proc/self/status`` says: now (``VmRSS``) or at its peak (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1000


def measure(call: Callable) -> tuple[float, float]:
    """Seconds, and MB at the peak above those at the start, of a process of its own: no memory left over from the last call."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        before, start = memory("VmRSS"), time.perf_counter()
        call()
        sender.send((time.perf_counter() - start, max(memory("VmHWM") - before, 0.0)))

    process = context.Process(target=child)
    process.start()
    sender.close()  # else a child that fails is waited for forever
    found = receiver.recv()
    process.join()
    return found


def calls(model, mdata, cells: np.ndarray, folder: Path) -> dict[str, Callable]:
    """Every method that reads a trained model, on some of its cells."""
    peaks = model.get_var_names()["atac"][:200].tolist()
    types = mdata.obs["cell_type"].iloc[cells].value_counts().index
    some = mdata[cells].copy()
    return {
        "get_latent_representation()": lambda: model.get_latent_representation(indices=cells),
        "predict_labels()": lambda: model.predict_labels(indices=cells),
        'predict("atac", "rna", var_names=200 peaks)': lambda: model.predict(
            "atac", "rna", indices=cells, var_names=peaks
        ),
        'predict("atac", "rna", var_names=200 peaks, return_intervals=.9)': lambda: model.predict(
            "atac", "rna", indices=cells, var_names=peaks, return_intervals=0.9
        ),
        'predictive_coverage("atac", "rna", var_names=200 peaks)': lambda: model.predictive_coverage(
            "atac", "rna", indices=cells, var_names=peaks
        ),
        'get_normalized_expression("atac", var_names=200 peaks)': lambda: model.get_normalized_expression(
            "atac", indices=cells, var_names=peaks
        ),
        'differential_expression("cell_type", one, another, "atac")': lambda: model.differential_expression(
            "cell_type", types[0], types[1], "atac", mdata=some
        ),
        "shared_signal_test()": lambda: model.shared_signal_test(indices=cells),
        'diagnose(labels=["cell_type"])': lambda: model.diagnose(some, labels=["cell_type"]),
        'feature_scores("shared", "atac")': lambda: model.feature_scores("shared", "atac", indices=cells),
        'feature_scores("private", "atac")': lambda: model.feature_scores("private", "atac", indices=cells),
        'feature_attributions("shared", "atac")': lambda: model.feature_attributions("shared", "atac", indices=cells),
        'shared_features("atac")': lambda: model.shared_features("atac", indices=cells),
        "write_variance_explained()": lambda: model.write_variance_explained(indices=cells),
        "variance_explained(dimensions=False)": lambda: model.variance_explained(indices=cells, dimensions=False),
        "variance_explained()": lambda: model.variance_explained(indices=cells),
        "report(umap=False)": lambda: model.report(some, folder / "report.html", labels=["cell_type"], umap=False),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    mdata = mudata.read_h5mu(Path(os.environ.get("VENNVI_DATA", ".")) / "snareseq_cortex.h5mu")
    vennvi.VennVI.setup_mudata(mdata, labels_key="cell_type")
    model = vennvi.VennVI(mdata, n_shared=20, likelihoods={"rna": "nb", "atac": "poisson"})
    model.train(max_epochs=1, train_size=0.9, accelerator="cpu", enable_progress_bar=False)
    print("| call | cells | seconds | MB |\n| --- | --- | --- | --- |", flush=True)
    for cells in (model.validation_indices, np.arange(mdata.n_obs)):
        with TemporaryDirectory() as folder:
            for name, call in calls(model, mdata, cells, Path(folder)).items():
                seconds, megabytes = measure(call)
                print(f"| `{name}` | {len(cells):,} | {seconds:.0f} | {megabytes:.0f} |", flush=True)
