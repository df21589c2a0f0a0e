"""Synthetic views whose samples do not belong together, and the same views paired: a null for what is called shared."""

from __future__ import annotations

import numpy as np

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._experiment import Condition, Experiment, Headline, Quick
from vennvi.benchmark.adapters import Latents, Settings
from vennvi.benchmark.experiments._headlines import FOSCTTM
from vennvi.data import simulate_gp

_N_OBS, _N_TEST = 500, 150
_N_PRIVATE_FEATURES = {"view1": 100, "view2": 100}


def build(*, seed: int, shuffled: bool) -> BenchmarkData:
    """Two views of 500 samples, 350 to train on; if ``shuffled``, the rows of the second are in an order of their own."""
    # other draws than the ones that the other experiments compare models on
    mdata = simulate_gp(_N_OBS, _N_PRIVATE_FEATURES, seed=1000 + seed)
    rng = np.random.default_rng(seed)
    if shuffled:
        mdata["view2"].X = rng.permutation(mdata["view2"].X)
    order = rng.permutation(_N_OBS)
    views = tuple(mdata.mod)
    return BenchmarkData(
        mdata,
        train=np.sort(order[_N_TEST:]),
        test=np.sort(order[:_N_TEST]),
        kinds=dict.fromkeys(views, "real"),
        likelihoods=dict.fromkeys(views, "normal"),
        labels=(),
    )


SHUFFLED = Experiment(
    name="gp-shuffled",
    question="Where two views share nothing, does the test of a shared signal say so, and where they do, that?",
    build=build,
    sweep="pairs of samples",
    conditions=(Condition("shuffled", {"shuffled": True}), Condition("paired", {"shuffled": False})),
    modalities=("view1", "view2"),
    latents=(Latents(5, 5),),
    models=("VennVI", "MMVAEPlusPlus", "MMVAE", "PCA+CCA"),
    settings=Settings(max_epochs=20),
    headlines=(
        Headline("shared", "other views", "signal_test_p", "p of the test of a shared signal, held out", True),
        Headline("shared", "other views", "signal_test", "Shared dimensions that the views agree on, held out", True),
        FOSCTTM,
    ),
    quick=Quick(("shuffled", "paired"), (Latents(5, 5),), ("VennVI", "PCA+CCA"), n_seeds=2),
    n_seeds=40,
    notes=(
        "500 samples, 350 train; 10 shared and 100 private features a view. The p-value of `shared_signal_test` is read on the "
        "150 held-out samples with 999 permutations. Without a signal p is uniform if the encoders still say something, "
        "and 1 where the model has dropped everything that it would read the shared latents off."
    ),
)
