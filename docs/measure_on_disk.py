"""Peak memory and time of training from disk, from a backed MuData and in memory: python docs/measure_on_disk.py [FOLDER].

Simulated counts of 20,000 and of 200,000 cells x (500 genes at 10 % + 2,000 peaks at 5 %); every measurement in a process of
its own, one thread, two epochs, Linux. Times are CPU times, which other programs hardly change. Needs the extra ondisk
(Python 3.12 or newer).
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

CELLS = (20_000, 200_000)
MODALITIES = {"rna": (500, 0.10), "atac": (2_000, 0.05)}


def peak() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def simulate(path: Path, n_obs: int) -> None:
    """Write counts without structure: cost does not depend on it."""
    import anndata as ad
    import mudata
    import numpy as np
    import pandas as pd
    from scipy import sparse

    rng = np.random.default_rng(0)
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    modalities = {}
    for m, (width, density) in MODALITIES.items():
        k = int(width * density)
        columns = np.sort(rng.integers(0, width, size=(n_obs, k), dtype=np.int32), axis=1).ravel()
        parts = (np.ones(columns.size, dtype=np.float32), columns, np.arange(0, columns.size + 1, k))
        x = sparse.csr_matrix(parts, shape=(n_obs, width))
        x.sum_duplicates()
        var = pd.DataFrame(index=[f"{m}{j}" for j in range(width)])
        modalities[m] = ad.AnnData(x, obs=obs.copy(), var=var)
    mdata = mudata.MuData(modalities)
    mdata.obs["batch"] = pd.Categorical(np.array(["a", "b"])[np.arange(n_obs) % 2])
    mdata.write(path)


def convert(path: Path) -> None:
    """Write the collection."""
    import vennvi

    before, start = peak(), time.process_time()
    vennvi.data.write_collection(path, path.with_suffix(".zarr"), batch_key="batch")
    print(f"{peak():.0f} {peak() - before:.0f} {1e6 * (time.process_time() - start):.0f}")


def train(path: Path, how: str, name: str) -> None:
    """Train for two epochs and read the latents; print peak memory, that above the libraries', µs of an epoch and of the latents."""
    import mudata
    import torch
    from lightning.pytorch.callbacks import Callback

    import vennvi

    torch.set_num_threads(1)
    seconds: list[float] = []

    class Clock(Callback):
        def on_train_epoch_start(self, *_):
            self.start = time.process_time()

        def on_train_epoch_end(self, *_):
            seconds.append(time.process_time() - self.start)

    cls = getattr(vennvi, name)
    options = {"max_epochs": 2, "train_size": 0.9, "accelerator": "cpu", "enable_progress_bar": False}
    before = peak()
    likelihoods = {"rna": "nb", "atac": "poisson"}
    if how == "collection":
        datamodule = vennvi.data.AnnbatchMuDataModule(path.with_suffix(".zarr"))
        model = cls(registry=datamodule.registry, likelihoods=likelihoods)
        model.train(datamodule=datamodule, callbacks=[Clock()], **options)
    else:
        mdata = mudata.read_h5mu(path, backed="r" if how == "backed" else None)
        cls.setup_mudata(mdata, batch_key="batch")
        model = cls(mdata, likelihoods=likelihoods)
        model.train(callbacks=[Clock()], **options)
    start = time.process_time()
    model.get_latent_representation()
    print(f"{peak():.0f} {peak() - before:.0f} {1e6 * min(seconds):.0f} {1e6 * (time.process_time() - start):.0f}")


def measured(*arguments: object) -> list[float]:
    """What a fresh process prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, __file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return [float(x) for x in result.stdout.split("\n")[-2].split()] if result.stdout.strip() else []


def main(folder: Path) -> None:
    """Measure everything."""
    files = {n: folder / f"{n}.h5mu" for n in CELLS}
    for n, path in files.items():
        if not path.exists():
            measured("simulate", path, n)
    print("| | peak memory, 20k cells | 200k cells | ratio | of it, above the libraries | time a cell, 20k | 200k |")
    print("| --- | --- | --- | --- | --- | --- | --- |")

    def row(label: str, runs: list[list[float]]) -> None:
        (a, above_a, s, *_), (b, above_b, t, *_) = runs
        memory = f"{a:.0f} MB | {b:.0f} MB | {b / a:.2f} | {above_a:.0f}, {above_b:.0f} MB"
        print(f"| {label} | {memory} | {s / CELLS[0]:.0f} µs | {t / CELLS[1]:.0f} µs |", flush=True)

    for path in files.values():
        shutil.rmtree(path.with_suffix(".zarr"), ignore_errors=True)
    row("`write_collection`", [measured("convert", path) for path in files.values()])
    for how, label in (
        ("collection", "from a collection"),
        ("backed", "from a backed `.h5mu`"),
        ("memory", "in memory"),
    ):
        row(f"`MMVAEPlusPlus` {label}", [measured("train", path, how, "MMVAEPlusPlus") for path in files.values()])
    row("`VennVI` from a collection", [measured("train", path, "collection", "VennVI") for path in files.values()])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["simulate"]:
        simulate(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["convert"]:
        convert(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["train"]:
        train(Path(sys.argv[2]), *sys.argv[3:])
    elif len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
