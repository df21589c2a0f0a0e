"""Breast cancer: oestrogen-receptor status from expression and methylation (and miRNA) of unequal widths."""

from __future__ import annotations

import numpy as np
from mudata import MuData

from vennvi.benchmark._data import BenchmarkData, read_published
from vennvi.benchmark._experiment import Condition, Experiment, Headline, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._headlines import FOSCTTM
from vennvi.benchmark.experiments._names import OURS, REAL_VALUED
from vennvi.benchmark.experiments._select import informative_and_not, split, subset, welch_order

_N_INFORMATIVE = 10
#: Features of the other views that are not associated with the label; fixed while expression grows.
_N_OTHER = 100
_WRITTEN = {"rna": "RNA", "methylation": "methylation", "mirna": "miRNA"}


def build(*, seed: int, n_genes: int, views: tuple[str, ...] = ("rna", "methylation")) -> BenchmarkData:
    """Tumours with known ER status; 75 % train, stratified; features ordered by a t-test on the training tumours.

    The ten features of each view most associated with ER status, the ``n_genes`` genes and the 100 features of every
    other view least associated with it.
    """
    published = read_published("tcga_brca.h5mu")
    status = published.obs["ER_status"]
    names = published.obs_names[status.isin(["Positive", "Negative"]).to_numpy()].to_numpy()
    labels = status[names].astype(str).to_numpy()
    train, test = split(labels, 0.25, seed)
    chosen = {}
    for view in views:
        rows = published[view].obs_names.get_indexer(names)
        order = welch_order(published[view].X[rows[train]], labels[train] == "Positive")
        n_uninformative = n_genes if view == "rna" else _N_OTHER
        chosen[view] = subset(published[view], rows, informative_and_not(order, _N_INFORMATIVE, n_uninformative), names)
    mdata = MuData(chosen)
    mdata.obs["ER_status"] = labels
    mdata.obs["PAM50"] = published.obs["PAM50"][names].astype(str).to_numpy()
    return BenchmarkData(
        mdata,
        np.asarray(train),
        np.asarray(test),
        kinds=dict.fromkeys(views, "real"),
        likelihoods=dict.fromkeys(views, "normal"),
        labels=("ER_status", "PAM50"),
    )


def _experiment(name: str, views: tuple[str, ...], latents: tuple[Latents, ...]) -> Experiment:
    alone = tuple(
        Headline(
            f"shared:{v}",
            "ER_status",
            "auc_test",
            f"AUC of ER status from the shared latents of {_WRITTEN[v]} alone",
            v == "rna",
            0.5,
        )
        for v in views
    )
    private = tuple(
        Headline(
            f"private:{v}",
            "ER_status",
            "auc_test",
            f"AUC of ER status from the private latents of {_WRITTEN[v]}",
            v == "methylation",
            0.5,
        )
        for v in views
    )
    return Experiment(
        name=name,
        question="Do the shared latents hold ER status when one view is much wider than the others?",
        build=build,
        sweep="genes not associated with ER status (10 informative features a view, 100 others in the other views)",
        conditions=tuple(Condition(str(n), {"n_genes": n, "views": views}) for n in (100, 500, 2000, 5000)),
        modalities=views,
        latents=latents,
        models=(*OURS, *REAL_VALUED),
        settings=Settings(max_epochs=100),
        headlines=(
            Headline(
                "shared", "ER_status", "auc_test", "AUC of ER status from the joint shared latents, held out", True, 0.5
            ),
            *alone,
            *private,
            Headline("shared", "PAM50", "accuracy_test", "Accuracy of PAM50 from the joint shared latents, held out"),
            FOSCTTM,
        ),
        quick=Quick(("100", "2000"), (Latents(2, 2),), (*OURS, "PCA+CCA"), n_seeds=1, max_epochs=30),
        supervision=(False, True),
        notes=(
            "726 tumours, 544 train. The published features were chosen with PAM50 labels of all tumours, so genes with a "
            "low t for ER status still tell subtypes apart."
        ),
    )


BRCA = _experiment("brca", ("rna", "methylation"), (Latents(2, 2), Latents(5, 5)))
BRCA_3VIEWS = _experiment("brca-3views", ("rna", "methylation", "mirna"), (Latents(5, 5),))
