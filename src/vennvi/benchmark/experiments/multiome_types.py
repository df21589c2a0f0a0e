"""SNARE-seq of mouse cortex: all cell types, all genes, all peaks that are open now and then."""

from __future__ import annotations

import numpy as np
from mudata import MuData

from vennvi.benchmark._data import BenchmarkData, read_published
from vennvi.benchmark._experiment import Condition, Experiment, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._cells import draw_cells, headlines
from vennvi.benchmark.experiments._select import subset

#: Cells that a peak is open in, at least.
_MIN_OPEN = 20


def build(*, seed: int, n_cells: int) -> BenchmarkData:
    """Random cells, split 3 to 1: counts of all genes, binary accessibility of the peaks open in 20 of them or more."""
    published = read_published("snareseq_cortex.h5mu")
    drawn = draw_cells(published, n_cells, unassigned="Mis", seed=seed)
    rows = {m: published[m].obs_names.get_indexer(drawn.names) for m in ("rna", "atac")}
    counts = {m: published[m].X[rows[m]] for m in rows}
    depth = {m: np.asarray(counts[m].sum(axis=1)).ravel() for m in rows}
    peaks = np.flatnonzero(np.asarray((counts["atac"] > 0).sum(axis=0)).ravel() >= _MIN_OPEN)
    views = {
        "rna": subset(published["rna"], rows["rna"], np.arange(published["rna"].n_vars), drawn.names),
        "atac": subset(published["atac"], rows["atac"], peaks, drawn.names),
    }
    views["atac"].X = (views["atac"].X > 0).astype(np.float32)
    mdata = MuData(views)
    mdata.obs["cell_type"] = drawn.labels
    return BenchmarkData(
        mdata,
        drawn.train,
        drawn.test,
        kinds={"rna": "rna", "atac": "atac"},
        likelihoods={"rna": "nb", "atac": "bernoulli"},
        labels=("cell_type",),
        nuisances={f"log depth of {m}": np.log(np.maximum(depth[m], 1.0)) for m in depth},
    )


MULTIOME_TYPES = Experiment(
    name="multiome-types",
    question="Do the shared latents of RNA and ATAC counts hold all cell types, and no depth?",
    build=build,
    sweep="cells",
    conditions=(Condition("4000", {"n_cells": 4000}),),
    modalities=("rna", "atac"),
    latents=(Latents(15, 10),),
    models=("VennVI", "MMVAEPlusPlus", "MMVAE", "PCA+CCA", "PCA", "MULTIVI"),
    settings=Settings(max_epochs=20),
    headlines=headlines({"rna": "RNA", "atac": "ATAC"}),
    quick=Quick(("4000",), (Latents(15, 10),), ("VennVI", "PCA+CCA", "PCA"), n_seeds=1, max_epochs=3),
    notes=(
        "4,000 random cells of 10,309, 3,000 train; 1,677 genes, about 5,700 peaks, about 100 fragments a cell. Cells that "
        "were not assigned to a type, and those of types with fewer than 15 cells, are trained on but not read."
    ),
)
