"""The permutation test of every feature against loops over permutations and features."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from vennvi.explain import _pairing
from vennvi.explain._pairing import pairing_p_values, permutations_within, q_values
from vennvi.metrics import deviance_explained

N, FEATURES = 30, 8


def simulated(family, seed=0):
    """Data and predictions on the link's scale: half of the features follow theirs."""
    rng = np.random.default_rng(seed)
    link = rng.normal(size=(N, FEATURES))
    effect = np.where(np.arange(FEATURES) < FEATURES // 2, 0.7, 0.0) * link
    if family == "normal":
        return effect + rng.normal(size=link.shape), link
    if family == "bernoulli":
        return rng.binomial(1, expit(effect)).astype(float), link
    return rng.poisson(np.exp(effect)).astype(float), link


MEAN = {"normal": lambda o: o, "bernoulli": expit, "poisson": np.exp}


@pytest.mark.parametrize("family", MEAN)
def test_it_is_the_permutation_test_of_the_explained_deviance(family):
    x, link = simulated(family)
    permutations = permutations_within(np.zeros(N), 99, seed=1)
    found = pairing_p_values(x, link, np.ones(N), permutations)
    own = deviance_explained(x, MEAN[family](link), family).per_feature
    reached = [deviance_explained(x, MEAN[family](link[p]), family).per_feature >= own - 1e-9 for p in permutations]
    np.testing.assert_allclose(found, (1 + np.sum(reached, axis=0)) / 100)


@pytest.mark.parametrize("block", [pytest.param(1 << 20, id="one block"), pytest.param(2 * N, id="blocks of two")])
def test_depth_and_missing_entries_by_loops(block, monkeypatch):
    monkeypatch.setattr(_pairing, "_BLOCK", block)
    x, link = simulated("poisson")
    rng = np.random.default_rng(2)
    size = rng.lognormal(size=N)
    x[rng.random(x.shape) < 0.2] = np.nan
    permutations = permutations_within(np.zeros(N), 50, seed=1)
    expected = np.empty(FEATURES)
    for j in range(FEATURES):
        seen = ~np.isnan(x[:, j])
        residual = (x[:, j] - size * x[seen, j].sum() / size[seen].sum())[seen]
        statistic = [residual @ link[p][seen, j] for p in [np.arange(N), *permutations]]
        expected[j] = np.mean(np.asarray(statistic) >= statistic[0] - 1e-6)
    np.testing.assert_allclose(pairing_p_values(x, link, size, permutations), expected)


def test_sparse_data_take_the_other_road_to_the_same_end(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.1, size=(200, 40)).astype(float)
    x[:, 7] = 0
    link, size = rng.normal(size=x.shape), rng.lognormal(size=200)
    permutations = permutations_within(np.arange(200) % 3, 130, seed=0)
    sparse = pairing_p_values(x, link, size, permutations)
    monkeypatch.setattr(_pairing, "_SPARSE", 0.0)
    np.testing.assert_allclose(sparse, pairing_p_values(x, link, size, permutations))
    assert np.isnan(sparse[7])
    assert np.isnan(sparse).sum() == 1


def test_p_values_are_uniform_where_nothing_is_shared():
    rng = np.random.default_rng(0)
    x, link = (
        rng.poisson(0.3 * rng.lognormal(size=(150, 1)), size=(150, 1000)).astype(float),
        rng.normal(size=(150, 1000)),
    )
    p = pairing_p_values(x, link, x.sum(1), permutations_within(np.zeros(150), 199, seed=0))
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("binary", [False, True])
def test_a_prediction_that_knows_the_depth_only_is_none(binary):
    """Of 0/1 data, what is left of proportionality to the depth is depth."""
    rng = np.random.default_rng(0)
    log_depth, offset = 0.5 * rng.normal(size=(300, 1)), rng.normal(-0.5, 1.5, size=1000)
    x = (rng.random((300, 1000)) < expit(offset + log_depth)).astype(float)
    known = 0.9 * log_depth / 0.5 + np.sqrt(1 - 0.9**2) * rng.normal(size=(300, 1000))
    p = pairing_p_values(x, 0.3 * known, x.sum(1), permutations_within(np.zeros(300), 199, seed=0), binary=binary)
    p = p[~np.isnan(p)]
    assert (stats.kstest(p, "uniform").pvalue > 0.01) == binary


def test_constant_data_are_no_test_and_constant_predictions_no_evidence():
    x, link = simulated("normal")
    x[:, 0], link[:, 1] = 3.0, 0.1
    p = pairing_p_values(x, link, np.ones(N), permutations_within(np.zeros(N), 19, seed=0))
    np.testing.assert_array_equal(np.isnan(p), np.arange(FEATURES) == 0)
    assert p[1] == 1


def test_permutations_stay_within_groups_and_reach_all_of_them():
    groups = np.array(list("abcabbbcca"))
    drawn = permutations_within(groups, 400, seed=3)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.broadcast_to(np.arange(10), drawn.shape))
    assert (groups[drawn] == groups).all()
    counts = np.stack([np.bincount(column, minlength=10) for column in drawn.T])
    same = groups[:, None] == groups
    expected = same * 400 / same.sum(1, keepdims=True)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(400 / 4)


def test_q_values():
    p = np.random.default_rng(0).beta(0.5, 1, size=50)
    order = np.argsort(p)
    expected = np.empty(50)
    running = 1.0
    for rank, j in zip(range(50, 0, -1), order[::-1], strict=True):
        running = min(running, p[j] * 50 / rank)
        expected[j] = running
    np.testing.assert_allclose(q_values(p), expected)
    assert np.isnan(q_values(np.array([np.nan]))).all()
