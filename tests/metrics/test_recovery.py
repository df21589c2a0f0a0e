"""Recovery of factors, checked against scikit-learn's cross-validation and a naive neighbour average."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vennvi.metrics import factor_recovery


@pytest.fixture
def factor():
    return np.random.default_rng(0).uniform(-2, 2, size=(400, 2))


def test_agrees_with_cross_val_score(factor):
    latent = np.random.default_rng(1).normal(size=(400, 3)) * [1.0, 50.0, 0.1] + factor[:, :1]
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(10, weights="distance"))
    folds = KFold(5, shuffle=True, random_state=4)
    expected = cross_val_score(model, latent, StandardScaler().fit_transform(factor), cv=folds, scoring="r2").mean()
    assert factor_recovery(latent, factor, seed=4).r2 == pytest.approx(expected)


def test_agrees_with_a_naive_neighbour_average(factor):
    latent = factor[:60] + 0.3 * np.random.default_rng(1).normal(size=(60, 2))
    target = factor[:60, 0]
    r2 = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(latent):
        sd = latent[train].std(0)
        residual = 0.0
        for i in test:
            distance = np.array([np.sqrt((((latent[i] - latent[j]) / sd) ** 2).sum()) for j in train])
            nearest = np.argsort(distance)[:4]
            prediction = np.average(target[train][nearest], weights=1 / distance[nearest])
            residual += (target[i] - prediction) ** 2
        r2.append(1 - residual / ((target[test] - target[test].mean()) ** 2).sum())
    recovery = factor_recovery(latent, target, n_neighbors=4, n_splits=3)
    assert recovery.r2 == pytest.approx(np.mean(r2))


def test_no_information_is_what_independent_latents_read():
    rng = np.random.default_rng(2)
    reads = []
    levels = []
    for _ in range(8):
        recovery = factor_recovery(rng.normal(size=(300, 2)), rng.uniform(size=(300, 2)), n_permutations=10)
        reads.append(recovery.r2)
        levels.append(recovery.no_information)
    assert np.mean(levels) == pytest.approx(-0.15, abs=0.04)
    assert np.mean(reads) == pytest.approx(np.mean(levels), abs=0.04)


def test_no_information_is_the_mean_over_permuted_rows(factor):
    """The same permutations by the same generator, each read as a factor of its own."""
    latent = factor + 0.5 * np.random.default_rng(1).normal(size=factor.shape)
    rng = np.random.default_rng(7)
    reads = [
        factor_recovery(latent, factor[rng.permutation(len(factor))], n_permutations=0, seed=7).r2 for _ in range(4)
    ]
    assert factor_recovery(latent, factor, n_permutations=4, seed=7).no_information == pytest.approx(np.mean(reads))
    assert np.ptp(reads) > 1e-3


def test_any_smooth_one_to_one_map_is_recovered(factor):
    bent = np.stack([np.exp(factor[:, 0]), factor[:, 1] ** 3 + factor[:, 1] + factor[:, 0]], axis=1)
    recovery = factor_recovery(bent, factor)
    assert recovery.r2 > 0.95
    assert recovery.no_information < 0
    assert np.mean(recovery.per_dimension) == pytest.approx(recovery.r2)


def test_half_recovered(factor):
    recovery = factor_recovery(factor[:, 0], factor)
    first, second = recovery.per_dimension
    assert first > 0.99
    assert second < 0


def test_scales_do_not_matter(factor):
    latent = np.random.default_rng(1).normal(size=(400, 2)) + factor
    one, other = factor_recovery(latent, factor), factor_recovery(latent * [5, 0.1] + 3, factor * [0.01, 100] - 2)
    assert one.r2 == pytest.approx(other.r2)
    assert one.no_information == pytest.approx(other.no_information)


def test_incomplete_rows_are_left_out(factor):
    latent = factor.copy()
    latent[:3] = np.nan
    target = pd.DataFrame(factor)
    target.iloc[2:5, 1] = np.nan
    recovery = factor_recovery(latent, target)
    assert (recovery.n_obs, recovery.n_left_out) == (395, 5)
    assert recovery.r2 == factor_recovery(factor[5:], factor[5:]).r2


def test_without_permutations(factor):
    recovery = factor_recovery(factor, factor, n_permutations=0)
    assert np.isnan(recovery.no_information)
    assert recovery.r2 == factor_recovery(factor, factor).r2


def test_bad_input(factor):
    with pytest.raises(ValueError, match="same rows"):
        factor_recovery(factor[:-1], factor)
    with pytest.raises(ValueError, match="too few"):
        factor_recovery(factor[:12], factor[:12])
    with pytest.raises(ValueError, match="constant"):
        factor_recovery(factor, np.ones(400))
