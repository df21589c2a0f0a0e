"""The test of a shared signal: its statistic, its calibration and its power."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kstest, pearsonr

from vennvi.metrics import shared_signal


def _latents(rng, n=60, d=4, n_modalities=2, signal=0.0, n_carrying=1):
    factor = rng.normal(size=(n, d))
    out = {}
    for k in range(n_modalities):
        out[f"m{k}"] = rng.normal(size=(n, d))
        out[f"m{k}"][:, :n_carrying] += signal * factor[:, :n_carrying]
    return out


def test_statistic_is_the_sum_of_squared_positive_correlations():
    latents = _latents(np.random.default_rng(0), signal=1.0)
    r = np.array([pearsonr(latents["m0"][:, j], latents["m1"][:, j]).statistic for j in range(4)])
    test = shared_signal(latents, n_permutations=10)
    np.testing.assert_allclose(test.dimensions["correlation"], r)
    np.testing.assert_allclose(test.statistic, (r[r > 0] ** 2).sum())
    np.testing.assert_allclose(test.pairs["statistic"], [test.statistic])


def test_null_agrees_with_all_permutations_enumerated():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 10, 1))
    b[:4] += a[:4]
    a[4:], b[4:] = 0.0, np.arange(6)[:, None]  # two groups; shuffles of the second do nothing to the statistic

    def statistic(order):
        r = pearsonr(a[:, 0], b[order, 0]).statistic
        return max(r, 0.0) ** 2

    exact = [statistic([*order, *range(4, 10)]) for order in permutations(range(4))]
    test = shared_signal({"a": a, "b": b}, groups=["x"] * 4 + ["y"] * 6, n_permutations=4000)
    np.testing.assert_allclose(np.unique(test.null.round(10)), np.unique(np.round(exact, 10)))
    assert test.p_value == pytest.approx(np.mean(np.array(exact) >= exact[0] - 1e-12), abs=0.03)


@pytest.mark.parametrize(
    ("n_modalities", "absent", "batch"),
    [
        pytest.param(2, 0.0, False, id="two"),
        pytest.param(3, 0.3, False, id="three-absent"),
        pytest.param(2, 0.0, True, id="batches"),
    ],
)
def test_p_values_are_uniform_without_a_signal(n_modalities, absent, batch):
    rng = np.random.default_rng(2)
    overall, dimension = [], []
    for _ in range(300):
        latents = _latents(rng, n_modalities=n_modalities)
        groups = rng.integers(2, size=60) if batch else None
        for values in latents.values():
            values[rng.random(60) < absent] = np.nan
            if batch:  # what both modalities see of the batch is no shared signal
                values += 2.0 * groups[:, None]
        test = shared_signal(latents, n_permutations=99, groups=groups, seed=int(rng.integers(2**31)))
        overall.append(test.p_value)
        dimension.append(test.dimensions["p_value"][0])
    for p_values in (overall, dimension):
        assert kstest(p_values, "uniform").pvalue > 0.01
        assert np.mean(np.array(p_values) <= 0.05) < 0.09


@pytest.mark.parametrize(
    ("signal", "n_carrying"),
    [pytest.param(1.0, 1, id="one-dimension"), pytest.param(0.6, 4, id="all-dimensions")],
)
def test_a_signal_is_found(signal, n_carrying):
    rng = np.random.default_rng(3)
    p_values = [
        shared_signal(_latents(rng, n=100, signal=signal, n_carrying=n_carrying), n_permutations=199).p_value
        for _ in range(50)
    ]
    assert np.mean(np.array(p_values) <= 0.05) > 0.9


def test_dimensions_that_carry_it_are_told_apart():
    test = shared_signal(_latents(np.random.default_rng(4), n=300, d=10, signal=1.0, n_carrying=3))
    assert (test.dimensions["q_value"] <= 0.05).tolist() == [True] * 3 + [False] * 7
    assert test.n_dimensions == 10


def test_a_batch_effect_is_a_signal_only_if_shuffled_across_batches():
    rng = np.random.default_rng(5)
    latents, batch = _latents(rng, n=200), rng.integers(2, size=200)
    for values in latents.values():
        values += 2.0 * batch[:, None]
    assert shared_signal(latents).p_value < 0.01
    assert shared_signal(latents, groups=batch).p_value > 0.05


def test_order_units_and_inactive_dimensions_do_not_matter():
    latents = _latents(np.random.default_rng(6), signal=1.0)
    latents["m0"][:, 3] = 7.0
    test = shared_signal(latents)
    other = shared_signal({"m0": 10 * latents["m0"] + 3, "m1": latents["m1"]})
    assert test.dimensions["correlation"][3] == 0.0
    assert test.dimensions["p_value"][3] == 1.0
    np.testing.assert_allclose(test.null, other.null)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        pytest.param({"a": np.zeros((20, 2))}, "two modalities", id="one"),
        pytest.param({"a": np.zeros((20, 2)), "b": np.zeros((20, 3))}, "share a space", id="widths"),
        pytest.param({"a": np.zeros((20, 2)), "b": np.full((20, 2), np.nan)}, "in common", id="no-pairs"),
        pytest.param({"a": np.zeros((20, 2)), "b": np.zeros((21, 2))}, "same rows", id="rows"),
    ],
)
def test_refuses(latents, message):
    with pytest.raises(ValueError, match=message):
        shared_signal(latents)


def test_refuses_no_permutations():
    with pytest.raises(ValueError, match="n_permutations"):
        shared_signal(_latents(np.random.default_rng(0)), n_permutations=0)


def test_constants_that_differ_by_rounding_share_nothing():
    """The last minibatch may be multiplied by another kernel: the same cells differ by one digit in every modality."""
    latents = {}
    for m in "ab":
        latents[m] = np.full((130, 3), 0.3, dtype=np.float32)
        latents[m][-2:] = np.nextafter(latents[m][-2:], np.float32(1))
    test = shared_signal(latents, n_permutations=99)
    assert (test.statistic, test.p_value) == (0.0, 1.0)
