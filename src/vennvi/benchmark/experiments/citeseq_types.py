"""CITE-seq of blood: all cell types, variable genes, the whole panel."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse

from vennvi.benchmark._data import BenchmarkData, read_published
from vennvi.benchmark._experiment import Condition, Experiment, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._cells import draw_cells, headlines
from vennvi.benchmark.experiments._select import subset

_N_GENES = 2000


def build(*, seed: int, n_cells: int) -> BenchmarkData:
    """Random cells, split 3 to 1: counts of all proteins and of the 2,000 most variable genes.

    The variance is that of log-normalised expression over the training cells.
    """
    published = read_published("pbmc10k_citeseq.h5mu")
    drawn = draw_cells(published, n_cells, unassigned="unknown", seed=seed)
    rows = {m: published[m].obs_names.get_indexer(drawn.names) for m in ("rna", "protein")}
    counts = {m: published[m].X[rows[m]] for m in rows}
    depth = {m: np.maximum(np.asarray(counts[m].sum(axis=1)).ravel(), 1.0) for m in rows}
    scale = np.median(depth["rna"][drawn.train]) / depth["rna"][drawn.train]
    logs = np.log1p(sparse.diags_array(scale) @ counts["rna"][drawn.train]).toarray()
    genes = np.sort(np.argsort(-logs.var(axis=0), kind="stable")[:_N_GENES])
    views = {
        "rna": subset(published["rna"], rows["rna"], genes, drawn.names),
        "protein": subset(published["protein"], rows["protein"], np.arange(published["protein"].n_vars), drawn.names),
    }
    views["protein"].var_names = [f"{name} protein" for name in views["protein"].var_names]  # CD14 is a gene too
    mdata = MuData(views)
    mdata.obs["cell_type"] = drawn.labels
    return BenchmarkData(
        mdata,
        drawn.train,
        drawn.test,
        kinds={"rna": "rna", "protein": "protein"},
        likelihoods={"rna": "nb", "protein": "nb"},
        labels=("cell_type",),
        nuisances={f"log depth of {m}": np.log(depth[m]) for m in depth},
    )


CITESEQ_TYPES = Experiment(
    name="citeseq-types",
    question="Do the shared latents of RNA and protein counts hold all cell types, and no depth?",
    build=build,
    sweep="cells",
    conditions=(Condition("4000", {"n_cells": 4000}),),
    modalities=("rna", "protein"),
    latents=(Latents(15, 10),),
    models=("VennVI", "MMVAEPlusPlus", "MMVAE", "PCA+CCA", "PCA", "TOTALVI"),
    settings=Settings(max_epochs=20),
    headlines=headlines({"rna": "RNA", "protein": "protein"}),
    quick=Quick(("4000",), (Latents(15, 10),), ("VennVI", "PCA+CCA", "PCA"), n_seeds=1, max_epochs=3),
    notes=(
        "4,000 random cells of 6,855, 3,000 train; 2,000 genes, 14 proteins. The cell types were very probably gated on these "
        "proteins. Cells that were not assigned to a type, and those of types with fewer than 15 cells, are trained on but "
        "not read."
    ),
)
