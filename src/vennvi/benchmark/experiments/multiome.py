"""SNARE-seq of mouse cortex: one excitatory cell type against its neighbours, under a growing number of other genes."""

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

#: Rorb neurons of layer 3/4, and the excitatory types of the layers above and below.
_TYPE, _NEIGHBOURS = "E3Rorb", ("E2Rasgrf2", "E4Il1rapl2", "E4Thsd7a")
_N_INFORMATIVE_GENES = 10
_N_INFORMATIVE_PEAKS, _N_OTHER_PEAKS = 1000, 1000


def build(*, seed: int, n_genes: int) -> BenchmarkData:
    """Cells of the type and of its neighbours; 75 % train, stratified; features ordered by a t-test on training cells.

    RNA counts of the ten genes most associated with the type and the ``n_genes`` least; binary accessibility of the
    1,000 peaks most associated and the 1,000 least (a peak alone says little: at 100 fragments a cell, ten are open in
    hardly any). The order is by log-normalised expression and by accessibility.
    """
    published = read_published("snareseq_cortex.h5mu")
    types = published.obs["cell_type"].astype(str)
    names = published.obs_names[types.isin([_TYPE, *_NEIGHBOURS]).to_numpy()].to_numpy()
    fine = types[names].to_numpy()
    labels = np.where(fine == _TYPE, "Rorb", "neighbour")
    train, test = split(fine, 0.25, seed)
    positive = labels[train] == "Rorb"

    rows = {m: published[m].obs_names.get_indexer(names) for m in ("rna", "atac")}
    rna = published["rna"].X[rows["rna"]]
    depth = {m: np.asarray(published[m].X[rows[m]].sum(axis=1)).ravel() for m in rows}
    scale = np.median(depth["rna"]) / np.maximum(depth["rna"], 1.0)
    genes = welch_order(np.log1p(sparse.diags_array(scale[train]) @ rna[train]), positive)
    peaks = welch_order(published["atac"].X[rows["atac"]][train] > 0, positive)

    views = {
        "rna": subset(published["rna"], rows["rna"], informative_and_not(genes, _N_INFORMATIVE_GENES, n_genes), names),
        "atac": subset(
            published["atac"], rows["atac"], informative_and_not(peaks, _N_INFORMATIVE_PEAKS, _N_OTHER_PEAKS), names
        ),
    }
    views["atac"].X = (views["atac"].X > 0).astype(np.float32)
    mdata = MuData(views)
    mdata.obs["type"] = labels
    mdata.obs["cell_type"] = fine
    return BenchmarkData(
        mdata,
        train,
        test,
        kinds={"rna": "rna", "atac": "atac"},
        likelihoods={"rna": "nb", "atac": "bernoulli"},
        labels=("type", "cell_type"),
        nuisances={f"log depth of {m}": np.log(np.maximum(depth[m], 1.0)) for m in depth},
    )


MULTIOME = Experiment(
    name="multiome",
    question="Do the shared latents of RNA and ATAC counts tell a cell type from its neighbours under uninformative genes?",
    build=build,
    sweep="genes not associated with the cell type (10 informative genes, 1,000 + 1,000 peaks)",
    conditions=tuple(Condition(str(n), {"n_genes": n}) for n in (100, 400, 1600)),
    modalities=("rna", "atac"),
    latents=(Latents(10, 10),),
    models=(*OURS, *REAL_VALUED, "MULTIVI"),
    settings=Settings(max_epochs=50),
    headlines=(
        Headline(
            "shared", "type", "auc_test", "AUC of Rorb neurons from the joint shared latents, held out", True, 0.5
        ),
        Headline(
            "shared:rna", "type", "auc_test", "AUC of Rorb neurons from the shared latents of RNA alone", True, 0.5
        ),
        Headline(
            "shared:atac", "type", "auc_test", "AUC of Rorb neurons from the shared latents of ATAC alone", True, 0.5
        ),
        Headline("private:rna", "type", "auc_test", "AUC of Rorb neurons from the private latents of RNA", True, 0.5),
        Headline(
            "private:atac", "type", "auc_test", "AUC of Rorb neurons from the private latents of ATAC", False, 0.5
        ),
        Headline(
            "shared", "cell_type", "accuracy_test", "Accuracy of the four types from the joint shared latents, held out"
        ),
        FOSCTTM,
        Headline(
            "shared",
            "log depth of rna",
            "linear_r2_test",
            "R² of log RNA depth from the joint shared latents, held out",
        ),
        Headline(
            "shared",
            "log depth of atac",
            "linear_r2_test",
            "R² of log ATAC depth from the joint shared latents, held out",
        ),
    ),
    quick=Quick(("100",), (Latents(10, 10),), (*OURS, "PCA+CCA"), n_seeds=1, max_epochs=5),
    n_seeds=3,
    supervision=(False, True),
    notes="4,787 cells, 3,590 train: Rorb neurons of layer 3/4 against three neighbouring excitatory types.",
)
