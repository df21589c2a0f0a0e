"""Canonical variates against scikit-learn's CCA, and what absence, sparsity and chance may do to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.cross_decomposition import CCA

from vennvi import _sparse_rows
from vennvi.canonical import canonical_projections


def views(n_obs=300, n_views=2, n_private=6, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_obs, 2))
    return shared, {
        f"view{v}": np.hstack([shared @ rng.normal(size=(2, 5)), 3 * rng.normal(size=(n_obs, n_private))])
        + 0.2 * rng.normal(size=(n_obs, 5 + n_private))
        for v in range(n_views)
    }


def variates(x, projections):
    return {m: np.asarray((x[m] @ p.weight) - p.mean @ p.weight) for m, p in projections.items()}


def everyone(x):
    return {m: np.arange(len(v) if isinstance(v, np.ndarray) else v.shape[0]) for m, v in x.items()}


def test_two_views_are_cca(monkeypatch):
    monkeypatch.setattr("vennvi.canonical.RIDGES", (0.0,))
    monkeypatch.setattr("vennvi.canonical._TOLERANCE", 0.0)  # the most components there are
    _, x = views()
    found = variates(x, canonical_projections(x, everyone(x), 300, n_canonical=4))
    a, b = CCA(n_components=4, scale=False, max_iter=5000, tol=1e-10).fit_transform(*x.values())
    for k in range(4):
        ours = np.corrcoef(found["view0"][:, k], found["view1"][:, k])[0, 1]
        assert ours == pytest.approx(np.corrcoef(a[:, k], b[:, k])[0, 1], abs=2e-3)
        assert abs(np.corrcoef(found["view0"][:, k], a[:, k])[0, 1]) > 0.98
    np.testing.assert_allclose(found["view0"].std(0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found["view0"].mean(0), 0.0, atol=1e-8)


@pytest.mark.parametrize("n_views", [2, 3, 4])
def test_private_variance_does_not_come_first(n_views):
    shared, x = views(n_views=n_views)
    found = variates(x, canonical_projections(x, everyone(x), 300, n_canonical=2))
    for z in found.values():
        fit, *_ = np.linalg.lstsq(np.c_[z, np.ones(300)], shared, rcond=None)
        residual = shared - np.c_[z, np.ones(300)] @ fit
        assert 1 - residual.var() / shared.var() > 0.9


def test_sparse_is_dense():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(700, 2))
    x = {
        m: rng.poisson(np.exp(shared @ rng.normal(size=(2, d)) - 1)).astype(float) for m, d in (("a", 600), ("b", 550))
    }
    rows = everyone(x)
    dense = canonical_projections(x, rows, 700, n_canonical=3, n_components=8)
    thin = canonical_projections(
        {m: sparse.csr_array(v) for m, v in x.items()}, rows, 700, n_canonical=3, n_components=8
    )
    for m in x:
        np.testing.assert_allclose(np.abs(variates(x, dense)[m]), np.abs(variates(x, thin)[m]), atol=1e-4)


def test_threads_change_no_sign(monkeypatch):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(700, 6))
    x = {
        m: sparse.csr_array(rng.poisson(np.exp(0.4 * shared @ rng.normal(size=(6, 600)) - 1)), dtype="f4") for m in "ab"
    }
    one = canonical_projections(x, everyone(x), 700, n_canonical=12, n_components=30)
    monkeypatch.setattr(_sparse_rows, "n_shares", lambda *_: 3)
    three = canonical_projections(x, everyone(x), 700, n_canonical=12, n_components=30)
    for m in x:
        np.testing.assert_allclose(three[m].weight, one[m].weight, atol=0.02 * np.abs(one[m].weight).max())


@pytest.mark.parametrize("n_features", [20, 1100], ids=["narrow", "wide"])
def test_single_precision_is_double(n_features):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1200, 3))
    x = {m: (shared @ rng.normal(size=(3, n_features)) + rng.normal(size=(1200, n_features)) + 5) for m in "ab"}
    x = {m: v.astype(np.float32) for m, v in x.items()}
    single = canonical_projections(x, everyone(x), 1200, n_canonical=3, n_components=5)
    double = {m: v.astype(float) for m, v in x.items()}
    found, wanted = (
        variates(double, single),
        variates(double, canonical_projections(double, everyone(x), 1200, n_canonical=3, n_components=5)),
    )
    for m in x:
        np.testing.assert_allclose(np.abs(found[m]), np.abs(wanted[m]), atol=1e-5 * np.abs(wanted[m]).max())


def test_cells_may_be_absent():
    shared, x = views(n_obs=400)
    rows = {"view0": np.arange(0, 300), "view1": np.arange(100, 400)}
    part = {m: x[m][r] for m, r in rows.items()}
    found = variates(x, canonical_projections(part, rows, 400, n_canonical=2))
    for k in range(2):
        assert abs(np.corrcoef(found["view0"][:, k], found["view1"][:, k])[0, 1]) > 0.8
    assert shared.shape == (400, 2)


def test_more_variates_than_there_are_are_zeros():
    _, x = views(n_private=1)
    found = canonical_projections(x, everyone(x), 300, n_canonical=40)
    assert all(p.weight.shape == (6, 40) and np.isfinite(p.weight).all() for p in found.values())
    assert not found["view0"].weight[:, 20:].any()


def test_agreement_is_the_held_out_correlation():
    shared, x = views(n_obs=600)
    found = canonical_projections(
        {m: v[:300] for m, v in x.items()}, everyone({m: v[:300] for m, v in x.items()}), 300, 4
    )
    fresh = variates({m: v[300:] for m, v in x.items()}, found)
    for k in range(4):
        measured = np.corrcoef(fresh["view0"][:, k], fresh["view1"][:, k])[0, 1]
        assert found["view0"].agreement[k] == pytest.approx(max(measured, 0), abs=0.2)
    assert (np.diff(found["view0"].agreement) <= 0).all()
    assert shared.shape == (600, 2)


@pytest.mark.parametrize("n_obs", [60, 300])
def test_shuffled_pairs_do_not_agree(n_obs):
    _, x = views(n_obs=n_obs, n_private=100)
    x["view1"] = np.random.default_rng(1).permutation(x["view1"])
    for projection in canonical_projections(x, everyone(x), n_obs, n_canonical=10).values():
        assert projection.agreement.max() < 0.4  # in sample, 60 cells and 100 features agree perfectly


def test_few_samples_are_regularised():
    """A weak shared factor in wide views with few samples: what helps on held-out cells is chosen."""
    rng = np.random.default_rng(3)
    s = rng.normal(size=(400, 1))
    x = {m: np.hstack([0.8 * s + 0.6 * rng.normal(size=(400, 12)), rng.normal(size=(400, 150))]) for m in "ab"}
    train = {m: v[:80] for m, v in x.items()}
    fresh = variates({m: v[80:] for m, v in x.items()}, canonical_projections(train, everyone(train), 80, 3))
    assert abs(np.corrcoef(fresh["a"][:, 0], s[80:, 0])[0, 1]) > 0.8


def test_nuisances_find_no_variate():
    rng = np.random.default_rng(0)
    depth, s = rng.normal(size=(500, 1)), rng.normal(size=(500, 1))
    x = {m: np.hstack([5 * depth + rng.normal(size=(500, 6)), s + 0.5 * rng.normal(size=(500, 3))]) for m in "ab"}
    blind = variates(x, canonical_projections(x, everyone(x), 500, 2))
    told = variates(x, canonical_projections(x, everyone(x), 500, 2, nuisance=depth))
    assert abs(np.corrcoef(blind["a"][:, 0], depth[:, 0])[0, 1]) > 0.9
    assert abs(np.corrcoef(told["a"][:, 0], s[:, 0])[0, 1]) > 0.9


def test_loadings_are_the_regression_on_the_variates():
    _, x = views()
    found = canonical_projections(x, everyone(x), 300, n_canonical=3)
    for m, z in variates(x, found).items():
        expected = np.linalg.lstsq(z, x[m] - x[m].mean(0), rcond=None)[0]
        np.testing.assert_allclose(found[m].loadings, expected, atol=1e-6)


def test_one_modality_keeps_its_components():
    _, x = views()
    found = canonical_projections({"view0": x["view0"]}, {"view0": np.arange(300)}, 300, n_canonical=3)["view0"]
    assert (found.agreement == 1).all()
    np.testing.assert_allclose(variates(x, {"view0": found})["view0"].std(0), 1.0, rtol=1e-6)


@pytest.mark.parametrize("constant", [("view1",), ("view0", "view1", "view2")])
def test_a_constant_modality_has_no_variates(constant):
    _, x = views(n_views=3)
    for m in constant:
        x[m] = np.ones_like(x[m])
    found = canonical_projections(x, everyone(x), 300, n_canonical=3)
    for m, projection in found.items():
        assert np.isfinite(projection.weight).all()
        assert np.isfinite(projection.loadings).all()
        assert projection.weight.any() != (m in constant)
        assert m not in constant or not projection.agreement.any()


@pytest.mark.parametrize("narrow", ["one feature", "three cells"])
def test_a_modality_with_little_to_say_leaves_the_others_their_variates(narrow):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(600, 4))
    x = {m: shared @ rng.normal(size=(4, 30)) + rng.normal(size=(600, 30)) for m in "ab"}
    rows = everyone(x)
    pair = canonical_projections(x, rows, 600, n_canonical=10)
    x["c"], rows["c"] = (
        (rng.normal(size=(600, 1)), np.arange(600))
        if narrow == "one feature"
        else (rng.normal(size=(3, 30)), [7, 8, 9])
    )
    three = canonical_projections(x, {m: np.asarray(r) for m, r in rows.items()}, 600, n_canonical=10)
    for m in "ab":
        np.testing.assert_allclose(np.sort(three[m].agreement)[-4:], np.sort(pair[m].agreement)[-4:], atol=0.05)
        z = np.c_[x[m] @ three[m].weight, np.ones(600)]
        residual = shared - z @ np.linalg.lstsq(z, shared, rcond=None)[0]
        assert 1 - residual.var() / shared.var() > 0.9
    assert np.isfinite(three["c"].weight).all()
    assert np.isfinite(three["c"].loadings).all()


def test_what_a_modality_shares_with_one_other_counts_wherever_it_comes():
    """c shares one factor with a; the ten that a and b share come first for all three together."""
    rng = np.random.default_rng(0)
    s = rng.normal(size=(1000, 11))
    x = {
        "a": s @ rng.normal(size=(11, 60)) + rng.normal(size=(1000, 60)),
        "b": s[:, :10] @ rng.normal(size=(10, 60)) + rng.normal(size=(1000, 60)),
        "c": np.hstack(
            [0.5 * s[:, 10:] @ rng.normal(size=(1, 20)), 2 * rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 20))]
        )
        + rng.normal(size=(1000, 40)),
    }
    found = canonical_projections(x, everyone(x), 1000, n_canonical=30)["c"]
    best = found.agreement.argmax()
    assert found.agreement[best] > 0.5
    assert best > 3
    assert abs(np.corrcoef((x["c"] @ found.weight)[:, best], s[:, 10])[0, 1]) > 0.7
    assert np.sort(found.agreement)[-3] < 0.3


@pytest.mark.parametrize("n_others", [0, 1, 2])
def test_a_modality_that_no_cell_has_is_zeros(n_others):
    _, x = views(n_views=2)
    x = dict(list(x.items())[:n_others])
    rows = everyone(x)
    alone = canonical_projections(x, rows, 300, n_canonical=3)
    x["never"], rows["never"] = np.empty((0, 4)), np.empty(0, dtype=int)
    found = canonical_projections(x, rows, 300, n_canonical=3)
    nothing = found.pop("never")
    assert nothing.weight.shape == (4, 3)
    assert nothing.loadings.shape == (3, 4)
    assert not any(part.any() for part in (nothing.weight, nothing.mean, nothing.agreement, nothing.loadings))
    for m, projection in found.items():
        np.testing.assert_array_equal(projection.weight, alone[m].weight)
