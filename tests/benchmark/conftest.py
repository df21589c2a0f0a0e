"""A tiny experiment and models that train in no time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

from vennvi.benchmark import (
    BenchmarkData,
    CannotRun,
    Condition,
    Experiment,
    Fit,
    Headline,
    Latents,
    Model,
    Quick,
    Settings,
)

N_OBS = 80


def build_tiny(*, seed: int, noise: float) -> BenchmarkData:
    """Two views of one shared and one private factor each; y is the sign of the shared one."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N_OBS, 1))
    private = {view: rng.normal(size=(N_OBS, 1)) for view in ("a", "b")}
    names = [f"sample{i}" for i in range(N_OBS)]
    views = {
        view: AnnData(
            np.hstack([shared, own, shared + own]).astype(np.float32)
            + noise * rng.normal(size=(N_OBS, 3)).astype(np.float32),
            obs=pd.DataFrame(index=names),
        )
        for view, own in private.items()
    }
    for view in views:
        views[view].var_names = [f"{view}{j}" for j in range(3)]
    mdata = MuData(views)
    mdata.obs["y"] = np.where(shared[:, 0] > 0, "high", "low")
    return BenchmarkData(
        mdata,
        train=np.arange(60),
        test=np.arange(60, N_OBS),
        kinds={"a": "real", "b": "real"},
        likelihoods={"a": "normal", "b": "normal"},
        labels=("y",),
        shared_factor=shared,
        private_factors=private,
    )


TINY = Experiment(
    name="tiny",
    question="Does it work?",
    build=build_tiny,
    sweep="noise",
    conditions=(Condition("low", {"noise": 0.1}), Condition("high", {"noise": 1.0})),
    modalities=("a", "b"),
    latents=(Latents(1, 1),),
    models=("PCA+CCA", "TOTALVI"),
    settings=Settings(max_epochs=1),
    headlines=(
        Headline("shared", "y", "auc_test", "AUC of y", in_figure=True, chance=0.5),
        Headline("shared", "shared factor", "knn_r2", "R² of the shared factor", in_figure=True),
    ),
    quick=Quick(("low",), (Latents(1, 1),), ("PCA+CCA",), n_seeds=1),
    n_seeds=2,
)


@dataclass
class TruthAdapter:
    """Knows the truth; counts its fits, and raises what it is told to at the fit of that number (from 1)."""

    raises: dict[int, BaseException] = field(default_factory=dict)
    n_fits: int = 0

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        self.n_fits += 1
        if self.n_fits in self.raises:
            raise self.raises[self.n_fits]
        spaces = {"shared": data.shared_factor}
        for m, own in data.private_factors.items():
            spaces[f"shared:{m}"] = data.shared_factor
            spaces[f"private:{m}"] = own
        values = np.asarray(data.mdata["a"].X)[data.test]
        high = (data.label("y")[data.test] == "high").astype(float)
        probabilities = pd.DataFrame({"high": high, "low": 1 - high}) if supervised else None
        return Fit(spaces, {("b", "a"): values}, probabilities, {"n_found": 1.0})


@dataclass
class RefusingAdapter:
    """Applies to nothing."""

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        raise CannotRun("it is not made for | such data")


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Tests run side by side: threads that wait for each other would take minutes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny() -> Experiment:
    return TINY


@pytest.fixture
def tiny_data() -> BenchmarkData:
    return build_tiny(seed=0, noise=0.1)


@pytest.fixture
def truth() -> Callable[..., Model]:
    """Maker of a model that knows the truth, and fails where it is told to."""

    def make(name: str = "truth", **raises: BaseException) -> Model:
        adapter = TruthAdapter({int(fit.removeprefix("fit")): error for fit, error in raises.items()})
        return Model(name, name.title(), adapter, "#000000", has_supervised=True)

    return make


@pytest.fixture
def refusing() -> Model:
    return Model("refusing", "Refusing", RefusingAdapter(), "#000000")
