"""Chronic lymphocytic leukaemia: IGHV status from expression and methylation, under a growing number of other genes."""

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
_N_CPG = 100
_VIEWS = ("mrna", "methylation")


def build(*, seed: int, n_genes: int, order_on: str = "train") -> BenchmarkData:
    """Patients with expression, methylation and IGHV status; 75 % train, stratified.

    The ten features of each view that a t-test associates most with IGHV, and the ``n_genes`` genes and 100 CpGs that it
    associates least, in the order computed on the training patients or (``order_on="all"``) on all.
    """
    published = read_published("cll.h5mu")
    ighv = published.obs["IGHV"]
    complete = [name for name in published.obs_names if all(name in published[v].obs_names for v in _VIEWS)]
    names = np.array([name for name in complete if ighv[name] in ("mutated", "unmutated")])
    labels = ighv[names].astype(str).to_numpy()
    train, test = split(labels, 0.25, seed)
    ordered_on = train if order_on == "train" else np.arange(len(names))
    views = {}
    for view, n_uninformative in zip(_VIEWS, (n_genes, _N_CPG), strict=True):
        rows = published[view].obs_names.get_indexer(names)
        order = welch_order(published[view].X[rows[ordered_on]], labels[ordered_on] == "mutated")
        views[view] = subset(published[view], rows, informative_and_not(order, _N_INFORMATIVE, n_uninformative), names)
    mdata = MuData(views)
    mdata.obs["IGHV"] = labels
    return BenchmarkData(
        mdata,
        train,
        test,
        kinds=dict.fromkeys(_VIEWS, "real"),
        likelihoods=dict.fromkeys(_VIEWS, "normal"),
        labels=("IGHV",),
    )


def _experiment(name: str, order_on: str, notes: str) -> Experiment:
    return Experiment(
        name=name,
        question="Do the shared latents hold IGHV status, which both views know, under a growing number of genes that do not?",
        build=build,
        sweep="genes not associated with IGHV (10 informative features a view, 100 other CpGs)",
        conditions=tuple(Condition(str(n), {"n_genes": n, "order_on": order_on}) for n in (50, 200, 500, 1000, 2000)),
        modalities=_VIEWS,
        latents=(Latents(2, 2), Latents(5, 5)),
        models=(*OURS, *REAL_VALUED),
        settings=Settings(max_epochs=300),
        headlines=(
            Headline("shared", "IGHV", "auc_test", "AUC of IGHV from the joint shared latents, held out", True, 0.5),
            Headline("shared:mrna", "IGHV", "auc_test", "AUC of IGHV from the shared latents of mRNA alone", True, 0.5),
            Headline(
                "shared:methylation",
                "IGHV",
                "auc_test",
                "AUC of IGHV from the shared latents of methylation alone",
                False,
                0.5,
            ),
            Headline("private:mrna", "IGHV", "auc_test", "AUC of IGHV from the private latents of mRNA", False, 0.5),
            Headline(
                "private:methylation",
                "IGHV",
                "auc_test",
                "AUC of IGHV from the private latents of methylation",
                True,
                0.5,
            ),
            FOSCTTM,
        ),
        quick=Quick(("50", "500"), (Latents(2, 2),), (*OURS, "PCA+CCA"), n_seeds=1),
        supervision=(False, True),
        notes=notes,
    )


CLL = _experiment(
    "cll",
    "train",
    "126 patients, 94 train. Features are ordered by a t-test on the training patients only.",
)
CLL_ALL_SAMPLES = _experiment(
    "cll-allsamples",
    "all",
    "126 patients, 94 train. Features are ordered by a t-test on **all** patients, held-out ones too: optimistic, for "
    "comparison with numbers obtained so.",
)
