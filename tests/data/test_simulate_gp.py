"""The recipe of the synthetic views, checked on what comes out."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from vennvi.data import simulate_gp


def knn_r2(source, target):
    """Cross-validated R² of each column of ``target`` from its neighbours in ``source``."""
    predicted = cross_val_predict(KNeighborsRegressor(5, weights="distance"), source, target, cv=5)
    return 1 - ((target - predicted) ** 2).sum(0) / ((target - target.mean(0)) ** 2).sum(0)


@pytest.fixture(scope="module")
def noiseless():
    return simulate_gp(600, {"view1": 15, "view2": 20}, noise=0.0, seed=1)


def test_layout():
    mdata = simulate_gp(60, {"a": 3, "b": 0, "c": 7}, n_shared_features=4, n_shared=3, n_private=1)
    assert list(mdata.mod) == ["a", "b", "c"]
    assert list(mdata.obs_names) == [f"cell{i}" for i in range(60)]
    assert mdata.obsm["true_shared"].shape == (60, 3)
    assert mdata.var_names.is_unique
    for view, n_own in {"a": 3, "b": 0, "c": 7}.items():
        assert mdata[view].X.dtype == np.float32
        assert mdata[view].obsm["true_private"].shape == (60, 1)
        assert list(mdata[view].var["factor"]) == ["shared"] * 4 + ["private"] * n_own
        assert list(mdata[view].var["factor"].cat.categories) == ["shared", "private"]


def test_factors_are_uniform(noiseless):
    for factor in (noiseless.obsm["true_shared"], noiseless["view1"].obsm["true_private"]):
        assert np.abs(factor).max() <= 2
        quantiles = np.quantile(factor, [0.1, 0.25, 0.5, 0.75, 0.9])
        np.testing.assert_allclose(quantiles, [-1.6, -1, 0, 1, 1.6], atol=0.2)


def test_label_is_the_sign_of_the_first_shared_coordinate(noiseless):
    y = noiseless.obs["y"]
    assert list(y.cat.categories) == ["negative", "positive"]
    np.testing.assert_array_equal(y == "positive", noiseless.obsm["true_shared"][:, 0] > 0)


def test_noise_is_added_to_standardised_features(noiseless):
    noisy = simulate_gp(600, {"view1": 15, "view2": 20}, noise=0.15, seed=1)
    for view in noiseless.mod:
        clean = noiseless[view].X
        np.testing.assert_allclose(clean.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(clean.std(0), 1, atol=1e-5)
        noise = noisy[view].X - clean
        np.testing.assert_allclose(noise.std(0), 0.15, rtol=0.15)
        np.testing.assert_allclose(noise.mean(0), 0, atol=4 * 0.15 / np.sqrt(600))
        assert abs((noise * clean).mean()) < 0.01


@pytest.mark.parametrize("view", ["view1", "view2"])
def test_each_feature_follows_its_factor_alone(noiseless, view):
    shared, private = noiseless.obsm["true_shared"], noiseless[view].obsm["true_private"]
    is_shared = (noiseless[view].var["factor"] == "shared").to_numpy()
    features = noiseless[view].X
    assert knn_r2(shared, features[:, is_shared]).min() > 0.95
    assert knn_r2(private, features[:, ~is_shared]).min() > 0.95
    assert knn_r2(shared, features[:, ~is_shared]).max() < 0.1
    assert knn_r2(private, features[:, is_shared]).max() < 0.1


def test_factors_are_independent_of_each_other(noiseless):
    factors = np.hstack(
        [noiseless.obsm["true_shared"], *(noiseless[view].obsm["true_private"] for view in noiseless.mod)]
    )
    correlation = np.corrcoef(factors.T) - np.eye(6)
    assert np.abs(correlation).max() < 4 / np.sqrt(600)


@pytest.mark.parametrize("length_scale", [0.3, 0.6])
def test_covariance_is_the_rbf_kernel(length_scale):
    """Over many features, the second moment of two cells' values falls with their distance as the kernel does."""
    mdata = simulate_gp(150, {"view": 0}, n_shared_features=4000, length_scale=length_scale, noise=0.0)
    shared, features = mdata.obsm["true_shared"], mdata["view"].X
    distance = np.linalg.norm(shared[:, None] - shared[None], axis=-1)
    kernel = np.exp(-(distance**2) / (2 * length_scale**2))
    centring = np.eye(150) - 1 / 150  # the standardisation removes each feature's mean
    expected = centring @ kernel @ centring
    expected *= 150 / np.trace(expected)
    np.testing.assert_allclose(features @ features.T / 4000, expected, atol=0.15)


def test_even_views_depend_on_the_absolute_value():
    mdata = simulate_gp(600, {"view1": 0, "view2": 0}, noise=0.0, even_views=("view2",))
    absolute = np.abs(mdata.obsm["true_shared"])
    assert knn_r2(absolute, mdata["view2"].X).min() > 0.95
    assert knn_r2(absolute, mdata["view1"].X).max() < 0.95
    assert knn_r2(absolute, mdata["view1"].X).mean() < 0.5


def test_seed_decides_everything():
    first, again, other = (simulate_gp(40, {"a": 5, "b": 5}, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.obsm["true_shared"], again.obsm["true_shared"])
    for view in ("a", "b"):
        np.testing.assert_array_equal(first[view].X, again[view].X)
        assert not np.allclose(first[view].X, other[view].X)


def test_shared_part_does_not_change_with_the_private_part():
    few, many = (simulate_gp(40, {"a": n, "b": n}, noise=0.0) for n in (2, 30))
    np.testing.assert_array_equal(few.obsm["true_shared"], many.obsm["true_shared"])
    for view in ("a", "b"):
        np.testing.assert_allclose(few[view].X[:, :10], many[view].X[:, :10], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param({"b": 0.2}, id="one view"),
        pytest.param({"a": 0.25, "b": 0.75}, id="disjoint"),
        pytest.param({"a": 0.7, "b": 0.6, "c": 0.6}, id="most"),
        pytest.param({"a": 0.9, "b": 0.9}, id="rescued by the third"),
    ],
)
def test_missing(missing):
    complete = simulate_gp(100, {"a": 2, "b": 3, "c": 4})
    mdata = simulate_gp(100, {"a": 2, "b": 3, "c": 4}, missing=missing)
    assert set(mdata.obs_names) == set(complete.obs_names)  # none is absent from all views
    np.testing.assert_array_equal(mdata.obsm["true_shared"], complete[mdata.obs_names].obsm["true_shared"])
    assert list(mdata.obs["y"]) == list(complete[mdata.obs_names].obs["y"])
    for view in mdata.mod:
        assert mdata[view].n_obs == round(100 * (1 - missing.get(view, 0)))
        kept = complete[view][mdata[view].obs_names]
        np.testing.assert_array_equal(mdata[view].X, kept.X)
        np.testing.assert_array_equal(mdata[view].obsm["true_private"], kept.obsm["true_private"])


def test_missing_rows_are_drawn_evenly():
    absent = np.zeros(40)
    for seed in range(60):
        mdata = simulate_gp(40, {"a": 0, "b": 0}, n_shared_features=1, missing={"a": 0.25, "b": 0.5}, seed=seed)
        absent += ~np.isin([f"cell{i}" for i in range(40)], mdata["a"].obs_names)
    assert absent.sum() == 60 * 10
    assert np.abs(absent / 60 - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 60)


def test_h5mu_round_trip(tmp_path):
    mdata = simulate_gp(50, {"a": 3, "b": 4}, missing={"b": 0.2})
    mdata.write(tmp_path / "gp.h5mu")
    read = mudata.read_h5mu(tmp_path / "gp.h5mu")
    np.testing.assert_array_equal(read.obsm["true_shared"], mdata.obsm["true_shared"])
    assert list(read.obs["y"]) == list(mdata.obs["y"])
    for view in ("a", "b"):
        np.testing.assert_array_equal(read[view].X, mdata[view].X)
        np.testing.assert_array_equal(read[view].obsm["true_private"], mdata[view].obsm["true_private"])
        assert list(read[view].var["factor"]) == list(mdata[view].var["factor"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"n_obs": 1}, "n_obs", id="one observation"),
        pytest.param({"n_obs": 10.0}, "n_obs", id="not an integer"),
        pytest.param({"n_private_features": {}}, "keyed by view", id="no views"),
        pytest.param({"n_private_features": 100}, "keyed by view", id="views without names"),
        pytest.param({"n_private_features": {"a": -1}}, r"n_private_features\['a'\]", id="negative width"),
        pytest.param({"n_private_features": {"a": 0}, "n_shared_features": 0}, "no features", id="empty view"),
        pytest.param({"n_shared": 0}, "n_shared", id="no shared dimension"),
        pytest.param({"n_private": 0}, "n_private", id="no private dimension"),
        pytest.param({"length_scale": 0.0}, "length_scale", id="no length-scale"),
        pytest.param({"noise": -0.1}, "noise", id="negative noise"),
        pytest.param({"noise": np.nan}, "noise", id="noise is not a number"),
        pytest.param({"even_views": ("view3",)}, "view3", id="unknown even view"),
        pytest.param({"missing": {"view3": 0.1}}, "view3", id="unknown missing view"),
        pytest.param({"missing": {"view1": 1.0}}, "fraction", id="nothing left"),
        pytest.param({"missing": {"view1": 0.999}, "n_obs": 50}, "no observation", id="nothing left by rounding"),
        pytest.param({"missing": {"view1": 0.6, "view2": 0.6}}, "without any modality", id="absent from all"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_gp(**{"n_obs": 50, **arguments})
