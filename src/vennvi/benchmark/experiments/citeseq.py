"""CITE-seq of blood: CD8+ T cells against CD4+ T and NK cells, under a growing number of other genes."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse

from vennvi.benchmark._data import BenchmarkData, read_published
from vennvi.benchmark._experiment import Condition, Experiment, Headline, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._headlines import FOSCTTM
from vennvi.benchmark.experiments._names import OURS, REAL_VALUED
from vennvi.benchmark.experiments._select import informative_and_not, split, subset, welch_order

_TYPE, _NEIGHBOURS = "CD8+ T cells", ("CD4+ T cells", "NK cells")
_N_INFORMATIVE_GENES = 10
#: With them the label is read off the panel without an error: no question would be left.
_LEFT_OUT = ("CD4", "CD8a")


def build(*, seed: int, n_genes: int) -> BenchmarkData:
    """Cells of the type and of its neighbours; 75 % train, stratified; genes ordered by a t-test on training cells.

    RNA counts of the ten genes most associated with the type (by log-normalised expression) and the ``n_genes`` least;
    counts of the proteins but CD4 and CD8a.
    """
    published = read_published("pbmc10k_citeseq.h5mu")
    types = published.obs["cell_type"].astype(str)
    names = published.obs_names[types.isin([_TYPE, *_NEIGHBOURS]).to_numpy()].to_numpy()
    fine = types[names].to_numpy()
    labels = np.where(fine == _TYPE, "CD8 T", "CD4 T or NK")
    train, test = split(fine, 0.25, seed)

    rows = {m: published[m].obs_names.get_indexer(names) for m in ("rna", "protein")}
    rna = published["rna"].X[rows["rna"]]
    depth = {m: np.asarray(published[m].X[rows[m]].sum(axis=1)).ravel() for m in rows}
    scale = np.median(depth["rna"]) / np.maximum(depth["rna"], 1.0)
    genes = welch_order(np.log1p(sparse.diags_array(scale[train]) @ rna[train]), labels[train] == "CD8 T")
    proteins = np.flatnonzero(~published["protein"].var_names.isin(_LEFT_OUT))
    views = {
        "rna": subset(published["rna"], rows["rna"], informative_and_not(genes, _N_INFORMATIVE_GENES, n_genes), names),
        "protein": subset(published["protein"], rows["protein"], proteins, names),
    }
    views["protein"].var_names = [f"{name} protein" for name in views["protein"].var_names]  # CD14 is a gene too
    mdata = MuData(views)
    mdata.obs["type"] = labels
    mdata.obs["cell_type"] = fine
    return BenchmarkData(
        mdata,
        train,
        test,
        kinds={"rna": "rna", "protein": "protein"},
        likelihoods={"rna": "nb", "protein": "nb"},
        labels=("type", "cell_type"),
        nuisances={f"log depth of {m}": np.log(np.maximum(depth[m], 1.0)) for m in depth},
    )


CITESEQ = Experiment(
    name="citeseq",
    question="Do the shared latents of RNA and protein counts tell CD8+ T cells from their neighbours under uninformative genes?",
    build=build,
    sweep="genes not associated with the cell type (10 informative genes, 12 proteins)",
    conditions=tuple(Condition(str(n), {"n_genes": n}) for n in (100, 500, 2000, 3900)),
    modalities=("rna", "protein"),
    latents=(Latents(5, 5),),
    models=(*OURS, *REAL_VALUED, "TOTALVI"),
    settings=Settings(max_epochs=50),
    headlines=(
        Headline(
            "shared", "type", "auc_test", "AUC of CD8+ T cells from the joint shared latents, held out", True, 0.5
        ),
        Headline(
            "shared:rna", "type", "auc_test", "AUC of CD8+ T cells from the shared latents of RNA alone", True, 0.5
        ),
        Headline(
            "shared:protein",
            "type",
            "auc_test",
            "AUC of CD8+ T cells from the shared latents of protein alone",
            True,
            0.5,
        ),
        Headline("private:rna", "type", "auc_test", "AUC of CD8+ T cells from the private latents of RNA", False, 0.5),
        Headline(
            "private:protein", "type", "auc_test", "AUC of CD8+ T cells from the private latents of protein", False, 0.5
        ),
        Headline(
            "shared",
            "cell_type",
            "accuracy_test",
            "Accuracy of the three types from the joint shared latents, held out",
        ),
        FOSCTTM,
        Headline(
            "shared",
            "log depth of rna",
            "linear_r2_test",
            "R² of log RNA depth from the joint shared latents, held out",
        ),
    ),
    quick=Quick(("100",), (Latents(5, 5),), (*OURS, "PCA+CCA"), n_seeds=1, max_epochs=5),
    n_seeds=3,
    supervision=(False, True),
    notes=(
        "4,024 cells, 3,018 train. The cell types were very probably gated on the proteins; CD4 and CD8a are left out, since "
        "with them the label is read off the panel without an error."
    ),
)
