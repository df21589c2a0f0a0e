"""Coverage of intervals and ranks among predictive draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vennvi.metrics import interval_coverage, predictive_ranks, rank_coverage


def test_intervals_of_the_true_distribution_hold_their_level():
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(size=(500, 20)), rng.uniform(0.5, 2.0, size=(500, 20))
    x = rng.normal(mean, sd)
    for level in (0.5, 0.9):
        low, high = stats.norm.interval(level, mean, sd)
        coverage = interval_coverage(x, low, high)
        assert coverage.total == pytest.approx(level, abs=0.02)
        np.testing.assert_allclose(coverage.per_feature, ((low <= x) & (x <= high)).mean(axis=0))


def test_missing_entries_are_left_out():
    x = np.array([[0.0, np.nan], [2.0, np.nan]])
    coverage = interval_coverage(x, np.zeros((2, 2)), np.ones((2, 2)))
    assert (coverage.total, coverage.n) == (0.5, 2)
    np.testing.assert_array_equal(coverage.per_feature, [0.5, np.nan])


def test_nothing_observed():
    assert np.isnan(interval_coverage([[np.nan]], [[0.0]], [[1.0]]).total)
    assert np.isnan(rank_coverage([np.nan])).all()


@pytest.mark.parametrize(
    "distribution",
    [
        pytest.param(stats.norm(3, 2), id="normal"),
        pytest.param(stats.bernoulli(0.05), id="rare-binary"),
        pytest.param(stats.poisson(0.3), id="rare-counts"),
        pytest.param(stats.nbinom(2, 0.01), id="overdispersed"),
    ],
)
def test_ranks_of_one_more_draw_are_uniform(distribution):
    rng = np.random.default_rng(1)
    ranks = predictive_ranks(distribution.rvs(3000, random_state=rng), distribution.rvs((19, 3000), random_state=rng))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    np.testing.assert_allclose(rank_coverage(ranks, (0.5, 0.9)), (0.5, 0.9), atol=0.03)


def test_ranks_tell_a_narrow_prediction():
    rng = np.random.default_rng(2)
    ranks = predictive_ranks(rng.normal(size=2000), 0.3 * rng.normal(size=(99, 2000)))
    expected = [2 * stats.norm.cdf(0.3 * stats.norm.ppf((1 + level) / 2)) - 1 for level in (0.5, 0.9)]
    np.testing.assert_allclose(rank_coverage(ranks, (0.5, 0.9)), expected, atol=0.03)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        pytest.param(interval_coverage, (np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 3))), id="bounds"),
        pytest.param(predictive_ranks, (np.zeros(3), np.zeros((9, 4))), id="draws"),
    ],
)
def test_refuses_shapes(function, arguments):
    with pytest.raises(ValueError, match="shape"):
        function(*arguments)
