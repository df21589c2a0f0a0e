"""Summed deviances against the metrics, and the depth-aware null model of 0/1 data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import expit

from vennvi.explain._deviance import ExplainedDeviance, FeatureTotals
from vennvi.likelihoods import LIKELIHOODS
from vennvi.metrics import deviance_explained

N, D = 40, 6


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sums_over_minibatches_are_the_metric(name):
    rng = np.random.default_rng(0)
    x, mean = rng.poisson(2, size=(N, D)).astype("f4"), rng.uniform(0.1, 4, size=(2, N, D)).astype("f4")
    if name == "bernoulli":
        x, mean = (x > 1).astype("f4"), mean / 5
    x[:, 2] = 1
    x[rng.random(x.shape) < 0.2] = np.nan
    likelihood = LIKELIHOODS[name](D)
    size = torch.ones(N, 1)
    sets = torch.as_tensor(np.stack([np.ones(N), np.arange(N) % 3 > 0]).astype(bool))
    totals = FeatureTotals(2, D)
    parts = [slice(0, 15), slice(15, 33), slice(33, 40)]
    with torch.inference_mode():
        for rows in parts:
            totals.add(torch.as_tensor(x[rows]), size[rows], sets[:, rows])
        explained = ExplainedDeviance(likelihood, totals, [size[inside].squeeze(-1) for inside in sets])
        for rows in parts:
            explained.start(torch.as_tensor(x[rows]), size[rows], sets[:, rows])
            explained.add("a", torch.as_tensor(mean[0, rows]))
            explained.add("b", torch.as_tensor(mean[1, rows]))
    family = {"zinb": "nb"}.get(name, name)
    theta = {"theta": 1.0} if family == "nb" else {}
    for k, inside in enumerate(sets.numpy()):
        expected = [deviance_explained(x[inside], mu[inside], family, **theta) for mu in mean]
        for prediction, metric in zip("ab", expected, strict=True):
            np.testing.assert_allclose(explained.per_feature(prediction, k), metric.per_feature, rtol=1e-4)
        difference = expected[0].per_feature - expected[1].per_feature
        np.testing.assert_allclose(explained.per_feature("a", k, over="b"), difference, rtol=1e-3, atol=1e-5)
        totals_of = [metric.total for metric in expected]
        np.testing.assert_allclose([explained.total(p, k) for p in "ab"], totals_of, rtol=1e-4)
        assert explained.total("a", k, over="b") == pytest.approx(totals_of[0] - totals_of[1], abs=1e-4)


@pytest.mark.parametrize("n", [pytest.param(200, id="every depth"), pytest.param(3000, id="binned depths")])
def test_null_model_of_binary_data(n):
    rng = np.random.default_rng(0)
    size = rng.lognormal(0, 0.7, size=n)
    x = rng.binomial(1, expit(np.array([-4.0, -1.0, 0.5, 3.0]) + np.log(size)[:, None]))
    x = np.column_stack([x, np.zeros(n), np.ones(n)])
    likelihood = LIKELIHOODS["bernoulli"](6)
    depth = torch.as_tensor(size)
    sums = torch.as_tensor(x.sum(0))
    found = likelihood.fit_null(sums, torch.full((6,), float(n)), depth, depth.sum().expand(6))
    for j in range(4):
        expected = brentq(lambda a, j=j: expit(a + np.log(size)).sum() - x[:, j].sum(), -30, 30)
        assert float(found[j]) == pytest.approx(expected, abs=1e-6 if n < 512 else 2e-3)
    assert found[4] < -10
    assert found[5] > 10
