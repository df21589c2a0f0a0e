"""Explained variance and deviance, checked against scikit-learn, scipy's likelihoods and hand-made cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.metrics import d2_log_loss_score, d2_tweedie_score, r2_score

from vennvi.metrics import deviance_explained, r2_per_feature


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def deviance_from_likelihood(log_probability, x, mean):
    """Twice the log-likelihood that the saturated model has over the mean, by feature."""
    return 2 * (log_probability(x, np.maximum(x, 1e-300)) - log_probability(x, mean)).sum(axis=0)


def test_r2_is_scikit_learns(rng):
    x = rng.normal(size=(50, 7)) * 10 + 3
    prediction = x + rng.normal(size=x.shape)
    np.testing.assert_allclose(r2_per_feature(x, prediction), r2_score(x, prediction, multioutput="raw_values"))


def test_r2_leaves_out_missing_entries(rng):
    x = rng.normal(size=(50, 3))
    prediction = x + rng.normal(size=x.shape)
    x[:10, 0] = np.nan
    prediction[40:, 1] = np.nan
    expected = [
        r2_score(x[10:, 0], prediction[10:, 0]),
        r2_score(x[:40, 1], prediction[:40, 1]),
        r2_score(x[:, 2], prediction[:, 2]),
    ]
    np.testing.assert_allclose(r2_per_feature(x, prediction), expected)


def test_constant_and_missing_features_are_nan(rng):
    x = np.stack([np.full(20, 0.1), np.full(20, np.nan), rng.normal(size=20)], axis=1)
    r2 = r2_per_feature(x, np.zeros((20, 3)))
    assert np.isnan(r2[:2]).all()
    assert np.isfinite(r2[2])


def test_poisson_is_scikit_learns(rng):
    mean = rng.gamma(2.0, 1.0, size=(80, 5))
    x = rng.poisson(mean)
    explained = deviance_explained(x, mean, "poisson")
    expected = [d2_tweedie_score(x[:, j], mean[:, j], power=1) for j in range(5)]
    np.testing.assert_allclose(explained.per_feature, expected)


def test_bernoulli_is_scikit_learns(rng):
    mean = rng.uniform(0.05, 0.95, size=(80, 5))
    x = (rng.uniform(size=mean.shape) < mean).astype(np.float32)
    explained = deviance_explained(x, mean, "bernoulli")
    expected = [d2_log_loss_score(x[:, j], mean[:, j]) for j in range(5)]
    np.testing.assert_allclose(explained.per_feature, expected, rtol=1e-5)


@pytest.mark.parametrize("theta", [pytest.param(2.0, id="one"), pytest.param([0.5, 1.0, 2.0, 30.0], id="by feature")])
def test_negative_binomial_is_twice_the_log_likelihood_ratio(rng, theta):
    mean = rng.gamma(2.0, 2.0, size=(100, 4))
    x = stats.nbinom.rvs(theta, theta / (theta + mean), random_state=0)

    def log_probability(counts, mu):
        return stats.nbinom.logpmf(counts, theta, theta / (theta + mu))

    deviance = deviance_from_likelihood(log_probability, x, mean)
    null = deviance_from_likelihood(log_probability, x, x.mean(axis=0))
    explained = deviance_explained(x, mean, "nb", theta=theta)
    np.testing.assert_allclose(explained.per_feature, 1 - deviance / null, rtol=1e-6)
    assert explained.total == pytest.approx(1 - deviance.sum() / null.sum())


def test_poisson_is_the_limit_of_the_negative_binomial(rng):
    mean = rng.gamma(2.0, 2.0, size=(50, 3))
    x = rng.poisson(mean)
    nb, poisson = deviance_explained(x, mean, "nb", theta=1e7), deviance_explained(x, mean, "poisson")
    np.testing.assert_allclose(nb.per_feature, poisson.per_feature, atol=1e-4)


def test_total_weighs_features_by_their_deviance(rng):
    x = rng.normal(size=(40, 3)) * [1.0, 10.0, 100.0]
    prediction = 0.5 * x
    prediction[:, 2] = x[:, 2]
    residual, total = ((x - prediction) ** 2).sum(), ((x - x.mean(0)) ** 2).sum()
    assert deviance_explained(x, prediction, "normal").total == pytest.approx(1 - residual / total)


@pytest.mark.parametrize(("family", "theta"), [("poisson", None), ("nb", 3.0)])
def test_knowing_the_depth_explains_nothing_beside_size_factors(rng, family, theta):
    size = rng.lognormal(0.0, 1.0, size=300)
    mean = size[:, None] * np.array([0.5, 2.0, 8.0])
    x = rng.poisson(mean)
    naive = deviance_explained(x, mean, family, theta=theta)
    fair = deviance_explained(x, mean, family, theta=theta, size_factor=size)
    assert naive.total > 0.4
    assert abs(fair.total) < 0.02


def test_null_with_size_factors_by_hand():
    x = np.array([[2.0], [4.0], [np.nan]])
    size = np.array([1.0, 3.0, 9.0])
    null = size[:2] * (6 / 4)
    deviance = 2 * (x[:2, 0] * np.log(x[:2, 0] / null) - (x[:2, 0] - null))
    mean = np.array([[2.5], [4.0], [1.0]])
    model = 2 * (x[:2, 0] * np.log(x[:2, 0] / mean[:2, 0]) - (x[:2, 0] - mean[:2, 0]))
    explained = deviance_explained(x, mean, "poisson", size_factor=size)
    np.testing.assert_allclose(explained.per_feature, [1 - model.sum() / deviance.sum()])


@pytest.mark.parametrize("family", ["poisson", "bernoulli", "nb", "normal"])
def test_perfect_is_one_null_is_zero_constant_is_nan(rng, family):
    x = (rng.uniform(size=(60, 4)) < 0.4).astype(float)
    x[:, 3] = 0.0
    theta = 2.0 if family == "nb" else None
    perfect = deviance_explained(x, x, family, theta=theta)
    null = deviance_explained(x, np.broadcast_to(x.mean(0), x.shape), family, theta=theta)
    np.testing.assert_allclose(perfect.per_feature, [1, 1, 1, np.nan], atol=1e-5)
    np.testing.assert_allclose(null.per_feature, [0, 0, 0, np.nan], atol=1e-6)
    assert perfect.total == pytest.approx(1, abs=1e-5)
    assert null.total == pytest.approx(0, abs=1e-6)


def test_certain_mistakes_are_finite():
    x = np.array([[1.0], [0.0]])
    for family in ("bernoulli", "poisson"):
        explained = deviance_explained(x, 1.0 - x, family)
        assert np.isfinite(explained.per_feature).all()
        assert explained.total < -5


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array, pd.DataFrame])
def test_containers_and_blocks_agree(rng, container, monkeypatch):
    mean = rng.gamma(1.0, 0.5, size=(30, 11)).astype(np.float32)
    x = rng.poisson(mean).astype(np.float32)
    expected = deviance_explained(x, mean, "nb", theta=np.arange(1.0, 12.0))
    monkeypatch.setattr("vennvi.metrics._prediction._BLOCK", 4)
    explained = deviance_explained(container(x), pd.DataFrame(mean), "nb", theta=np.arange(1.0, 12.0))
    np.testing.assert_allclose(explained.per_feature, expected.per_feature)
    assert explained.total == pytest.approx(expected.total)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"mean": np.ones((3, 3))}, "shape", id="shapes"),
        pytest.param({"x": np.ones(4)}, "samples x features", id="a vector"),
        pytest.param({"family": "gamma"}, "family must be one of", id="family"),
        pytest.param({"family": "nb"}, "theta", id="no theta"),
        pytest.param({"theta": 1.0}, "theta", id="theta for poisson"),
        pytest.param({"family": "nb", "theta": 0.0}, "theta must be positive", id="theta zero"),
        pytest.param({"family": "normal", "size_factor": np.ones(4)}, "size_factor", id="size for normal"),
        pytest.param({"size_factor": np.ones(3)}, "size_factor", id="too few sizes"),
        pytest.param({"size_factor": np.zeros(4)}, "size_factor", id="empty cells"),
        pytest.param({"x": -np.ones((4, 2))}, "negative", id="negative counts"),
        pytest.param({"x": np.full((4, 2), 2.0), "family": "bernoulli"}, "binarise", id="not binary"),
        pytest.param({"mean": np.full((4, 2), 1.5), "family": "bernoulli"}, "probabilities", id="not probabilities"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        deviance_explained(**{"x": np.ones((4, 2)), "mean": np.ones((4, 2)), "family": "poisson", **arguments})
