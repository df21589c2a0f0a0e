"""Time and memory of the explanations on 10,309 cells x 25,734 peaks: VENNVI_DATA=folder python docs/explain_cost.py.

One thread, a model of one epoch (the cost does not depend on how well it is trained), Linux.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import mudata
import numpy as np
import torch

import vennvi


def resident() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(call: Callable) -> tuple[float, float]:
    """Seconds, and MB at the peak above those at the start."""
    gc.collect()
    start, before, peak, done = time.perf_counter(), resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return time.perf_counter() - start, max(peak[0] - before, 0.0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    mdata = mudata.read_h5mu(Path(os.environ.get("VENNVI_DATA", ".")) / "snareseq_cortex.h5mu")
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, likelihoods={"rna": "nb", "atac": "poisson"})
    model.train(max_epochs=1, train_size=0.9, accelerator="cpu", enable_progress_bar=False)
    print("| call | cells | seconds | MB |\n| --- | --- | --- | --- |", flush=True)
    for cells in (model.validation_indices, np.arange(mdata.n_obs)):
        calls: dict[str, Callable] = {
            "variance_explained(dimensions=False)": lambda i=cells: model.variance_explained(
                indices=i, dimensions=False
            ),
            "write_variance_explained()": lambda i=cells: model.write_variance_explained(indices=i),
            'shared_features("atac")': lambda i=cells: model.shared_features("atac", indices=i),
            'feature_scores("shared", "atac")': lambda i=cells: model.feature_scores("shared", "atac", indices=i),
            "variance_explained()": lambda i=cells: model.variance_explained(indices=i),
        }
        for name, call in calls.items():
            seconds, megabytes = measure(call)
            print(f"| `{name}` | {len(cells):,} | {seconds:.0f} | {megabytes:.0f} |", flush=True)
