"""Synthetic views with a small shared and a large private part (Märtens & Yau), and three variants of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._experiment import Condition, Experiment, Headline, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._headlines import FOSCTTM
from vennvi.benchmark.experiments._names import OURS, REAL_VALUED
from vennvi.benchmark.experiments._select import split
from vennvi.data import simulate_gp

_N_OBS = 1000


def build(
    *,
    seed: int,
    n_private_features: Mapping[str, int],
    length_scale: float = 1.0,
    even_views: tuple[str, ...] = (),
) -> BenchmarkData:
    r"""Draw the data of one condition; 80 % of the samples train, stratified by the label.

    The label ``y`` is the sign of the first shared coordinate. With ``even_views``, what the views share is :math:`|s|`:
    that is then the true shared factor, and the label is :math:`|s_1| > 1`, which halves the samples too.
    """
    mdata = simulate_gp(_N_OBS, n_private_features, length_scale=length_scale, even_views=tuple(even_views), seed=seed)
    shared = np.asarray(mdata.obsm["true_shared"])
    if even_views:
        shared = np.abs(shared)
        y = np.where(shared[:, 0] > 1.0, "positive", "negative")
        mdata.obs["y"] = pd.Categorical(y, categories=["negative", "positive"])
    train, test = split(mdata.obs["y"].astype(str).to_numpy(), 0.2, seed)
    views = tuple(mdata.mod)
    return BenchmarkData(
        mdata,
        train,
        test,
        kinds=dict.fromkeys(views, "real"),
        likelihoods=dict.fromkeys(views, "normal"),
        labels=("y",),
        shared_factor=shared,
        private_factors={view: np.asarray(mdata[view].obsm["true_private"]) for view in views},
    )


def _conditions(*widths: tuple[int, ...], **params: object) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            "/".join(map(str, width)),
            {"n_private_features": {f"view{i}": n for i, n in enumerate(width, start=1)}, **params},
        )
        for width in widths
    )


_HEADLINES = (
    Headline("shared", "y", "auc_test", "AUC of y from the joint shared latents, held out", True, 0.5),
    Headline("shared", "shared factor", "knn_r2", "S←S: R² of the true shared factor from the shared latents", True),
    Headline("private", "own private factor", "knn_r2", "R² of each private factor from its private latents (mean)"),
    Headline(
        "shared",
        "private factors",
        "knn_r2",
        "Contamination: R² of a private factor from the shared latents (max)",
        True,
    ),
    Headline("private", "shared factor", "knn_r2", "Leak: R² of the shared factor from private latents (max)", True),
    FOSCTTM,
)
_LATENTS = (Latents(2, 2), Latents(5, 5), Latents(10, 10))
_QUICK = Quick(("20/100", "100/100"), (Latents(2, 2),), (*OURS, "PCA+CCA"), n_seeds=1)
_NOTES = (
    "1,000 samples, 80 % train. S←S, recovery, contamination and leak are kNN R² (k = 10, distance weights, 5-fold) over "
    "all samples, as in the reference; the held-out versions are in the results. The last row, *no information*, is what "
    "the same reads with the rows of the factor permuted."
)

GP = Experiment(
    name="gp",
    question="Do the shared latents hold what two views share when most features of the views are private?",
    build=build,
    sweep="private features in view 1 / view 2 (10 shared features in each)",
    conditions=_conditions((20, 100), (50, 100), (100, 100), (250, 100), (1000, 100), (1000, 1000)),
    modalities=("view1", "view2"),
    latents=_LATENTS,
    models=(*OURS, *REAL_VALUED),
    settings=Settings(max_epochs=100),
    headlines=_HEADLINES,
    quick=_QUICK,
    notes=_NOTES,
)

WIGGLY = Experiment(
    name="gp-wiggly",
    question="The same where the features are wiggly functions of the factors (length-scale 0.5), of which a linear map reads less?",
    build=build,
    sweep=GP.sweep,
    conditions=_conditions((20, 100), (100, 100), (250, 100), length_scale=0.5),
    modalities=GP.modalities,
    latents=_LATENTS[:2],
    models=GP.models,
    settings=GP.settings,
    headlines=_HEADLINES,
    quick=_QUICK,
    notes=_NOTES,
)

EVEN = Experiment(
    name="gp-even",
    question="The same where view 2 follows |s|, and knows nothing of the signs?",
    build=build,
    sweep=GP.sweep,
    conditions=_conditions((20, 100), (100, 100), (250, 100), even_views=("view2",)),
    modalities=GP.modalities,
    latents=_LATENTS[:2],
    models=GP.models,
    settings=GP.settings,
    headlines=_HEADLINES,
    quick=_QUICK,
    notes=f"{_NOTES} The true shared factor is |s| here, and y is |s1| > 1.",
)

THREE_VIEWS = Experiment(
    name="gp-3views",
    question="The same with three views?",
    build=build,
    sweep="private features in view 1 / view 2 / view 3 (10 shared features in each)",
    conditions=_conditions((20, 100, 100), (100, 100, 100), (250, 100, 100), (1000, 100, 100)),
    modalities=("view1", "view2", "view3"),
    latents=_LATENTS[:2],
    models=GP.models,
    settings=GP.settings,
    headlines=_HEADLINES,
    quick=Quick(("20/100/100", "100/100/100"), (Latents(2, 2),), (*OURS, "PCA+CCA"), n_seeds=1),
    notes=_NOTES,
)
