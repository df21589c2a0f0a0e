"""Predictability of what a private space should not know."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from vennvi.metrics import factor_recovery, foscttm, leakage, linear_probe, neighbour_purity, predictability

TRAIN, TEST = np.arange(400), np.arange(400, 600)


@pytest.fixture
def source():
    return np.random.default_rng(0).normal(size=(600, 3)) * [1.0, 100.0, 0.01]


def standardise(source):
    return (source - source[TRAIN].mean(0)) / source[TRAIN].std(0)


def test_ridge_agrees_with_least_squares_where_the_penalty_does_not_matter(source):
    rng = np.random.default_rng(1)
    target = standardise(source) @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(600, 4)) + 3.0
    design = np.column_stack([np.ones(600), source])
    coefficients = np.linalg.lstsq(design[TRAIN], target[TRAIN], rcond=None)[0]
    expected = r2_score(target[TEST], design[TEST] @ coefficients)
    assert predictability(source, target, TRAIN, TEST).ridge == pytest.approx(expected, abs=2e-3)


def test_knn_agrees_with_scikit_learn(source):
    target = np.column_stack([np.sin(standardise(source)[:, 0]), np.random.default_rng(1).normal(size=600)])
    model = KNeighborsRegressor(7, weights="distance").fit(standardise(source)[TRAIN], target[TRAIN])
    expected = r2_score(target[TEST], model.predict(standardise(source)[TEST]))
    assert predictability(source, target, TRAIN, TEST, n_neighbors=7).knn == pytest.approx(expected)


def test_knn_agrees_with_a_naive_neighbour_average(source):
    target = np.column_stack([np.sin(standardise(source)[:, 0]), standardise(source)[:, 1] ** 2])
    mean, sd = source[TRAIN].mean(axis=0), source[TRAIN].std(axis=0)
    truth, predicted = target[TEST], []
    for i in TEST:
        distances = [
            sum(((source[i, d] - mean[d]) / sd[d] - (source[j, d] - mean[d]) / sd[d]) ** 2 for d in range(3)) ** 0.5
            for j in TRAIN
        ]
        nearest = sorted(range(len(TRAIN)), key=distances.__getitem__)[:3]
        weights = [1 / distances[k] for k in nearest]
        total = sum(w * target[TRAIN[k]] for w, k in zip(weights, nearest, strict=True))
        predicted.append(total / sum(weights))
    residual, spread = ((truth - predicted) ** 2).sum(axis=0), ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    uniform = predictability(source, target, TRAIN, TEST, n_neighbors=3)
    variance = predictability(source, target, TRAIN, TEST, n_neighbors=3, average="variance")
    assert uniform.knn == pytest.approx((1 - residual / spread).mean())
    assert variance.knn == pytest.approx(1 - residual.sum() / spread.sum())


def test_average(source):
    rng = np.random.default_rng(1)
    target = np.column_stack([10 * standardise(source)[:, 0], rng.normal(size=600)])
    uniform = predictability(source, target, TRAIN, TEST)
    variance = predictability(source, target, TRAIN, TEST, average="variance")
    assert uniform.ridge == pytest.approx(0.5, abs=0.03)
    assert variance.ridge == pytest.approx(1 - 1 / 101, abs=0.01)


def test_variance_average_is_the_fraction_of_total_variance(source):
    rng = np.random.default_rng(1)
    target = standardise(source)[:, :2] * [4.0, 1.0] + rng.normal(size=(600, 2))
    model = KNeighborsRegressor(10, weights="distance").fit(standardise(source)[TRAIN], target[TRAIN])
    predicted = model.predict(standardise(source)[TEST])
    expected = r2_score(target[TEST], predicted, multioutput="variance_weighted")
    assert predictability(source, target, TRAIN, TEST, average="variance").knn == pytest.approx(expected)


def test_linear_and_not(source):
    z = standardise(source)
    nothing = predictability(source, np.random.default_rng(5).normal(size=600), TRAIN, TEST)
    assert nothing.ridge == pytest.approx(0, abs=0.05)
    assert nothing.knn < 0.05
    even = predictability(z[:, :1], z[:, 0] ** 2, TRAIN, TEST)
    assert even.ridge < 0.1
    assert even.knn > 0.9


def test_incomplete_rows_are_left_out(source):
    target = standardise(source)[:, 0].copy()
    source = source.copy()
    source[[0, 500]] = np.nan
    target[[0, 1]] = np.nan
    score = predictability(source, target, TRAIN, TEST)
    assert (score.n_train, score.n_test, score.n_left_out) == (398, 199, 3)
    assert score.ridge > 0.99


def test_wide_source_and_constant_dimension():
    rng = np.random.default_rng(0)
    source = np.column_stack([rng.normal(size=(60, 100)), np.ones(60)])
    score = predictability(source, rng.normal(size=(60, 2)), np.arange(40), np.arange(40, 60))
    assert score.ridge == pytest.approx(0, abs=0.3)


def test_undefined_is_nan(source):
    assert np.isnan(predictability(source, source, TRAIN, []).ridge)
    constant = np.column_stack([np.ones(600), source[:, 0]])
    assert np.isnan(predictability(source, constant, TRAIN, TEST).knn)
    assert predictability(source, constant, TRAIN, TEST, average="variance").ridge > 0.99
    assert np.isnan(predictability(source, np.ones(600), TRAIN, TEST, average="variance").ridge)


@pytest.mark.parametrize("metric", ["predictability", "probe", "purity", "foscttm", "recovery"])
def test_rounding_of_a_constant_is_no_information(metric):
    """The last rows are of another minibatch, whose sums end in another digit; they have a label of their own."""
    latent = np.full((300, 2), 0.3, dtype=np.float32)
    latent[256:] = np.nextafter(latent[256:], np.float32(1))
    label = np.where(np.arange(300) < 256, "a", "b")
    exact = np.full((300, 2), 0.3)
    train, test = np.arange(0, 300, 2), np.arange(1, 300, 2)
    value = {
        "predictability": lambda z: predictability(z, np.arange(300.0), train, test).ridge,
        "probe": lambda z: linear_probe(z, label, train, test).auc,
        "purity": lambda z: neighbour_purity(z, label).purity,
        "foscttm": lambda z: foscttm(z, z),
        "recovery": lambda z: factor_recovery(z, np.arange(300.0)).r2,
    }[metric]
    assert value(latent) == pytest.approx(value(exact), abs=1e-9)


def test_bad_input(source):
    with pytest.raises(ValueError, match="same rows"):
        predictability(source, source[:-1], TRAIN, TEST)
    with pytest.raises(ValueError, match="overlap"):
        predictability(source, source, TRAIN, TRAIN)
    with pytest.raises(ValueError, match="average"):
        predictability(source, source, TRAIN, TEST, average="median")


def test_leakage_of_every_private_space():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(600, 2))
    own = {m: rng.normal(size=(600, 2)) for m in ("rna", "atac", "protein")}
    private = {**own, "rna": np.hstack([own["rna"], shared])}
    private["protein"] = np.where(np.arange(600)[:, None] < 100, np.nan, private["protein"])
    components = {m: np.hstack([3 * own[m], shared]) for m in own}
    table = leakage(private, shared, components, TRAIN, TEST)

    assert list(table.columns) == ["source", "target", "metric", "value", "n_train", "n_test"]
    pairs = set(zip(table["source"], table["target"], strict=True))
    assert pairs == {(m, t) for m in own for t in ("shared", *own) if t != m}
    value = table.set_index(["source", "target", "metric"])["value"]
    assert value["rna", "shared", "r2_ridge"] > 0.99
    assert value["rna", "atac", "r2_ridge"] == pytest.approx(0.1, abs=0.03)  # 2 of 20 units of variance
    assert value["atac", "shared", "r2_ridge"] < 0.02
    assert value["atac", "shared", "r2_knn"] < 0.02
    assert value["atac", "rna", "r2_ridge"] < 0.02
    single = predictability(private["rna"], components["atac"], TRAIN, TEST, average="variance")
    assert value["rna", "atac", "r2_knn"] == single.knn
    assert (table.loc[table["source"] == "protein", "n_train"] == 300).all()
