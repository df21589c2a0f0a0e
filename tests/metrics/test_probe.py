"""Linear probes, checked against scikit-learn's own scores, a fit and a count of pairs by hand, and hand-made cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score

from vennvi.metrics import linear_probe, predictability, probe_matrix

TRAIN, TEST = np.arange(300), np.arange(300, 400)


def latent_and_classes(n_classes, noise, seed=0):
    """Latents of very different scales, and classes that are noisy linear functions of them."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(400, 3))
    scores = latent @ rng.normal(size=(3, n_classes)) + noise * rng.normal(size=(400, n_classes))
    return latent * [1.0, 100.0, 0.01] + [0.0, 50.0, 1.0], scores.argmax(axis=1)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("penalty", [pytest.param(np.inf, id="unregularised"), pytest.param(0.1, id="ridge")])
def test_agrees_with_scikit_learn(n_classes, penalty):
    latent, classes = latent_and_classes(n_classes, noise=1.0)
    score = linear_probe(latent, [f"class {c}" for c in classes], TRAIN, TEST, C=penalty)

    standard = (latent - latent[TRAIN].mean(0)) / latent[TRAIN].std(0)
    model = LogisticRegression(C=penalty, max_iter=1000).fit(standard[TRAIN], classes[TRAIN])
    probability = model.predict_proba(standard[TEST])
    auc = roc_auc_score(
        classes[TEST], probability[:, 1] if n_classes == 2 else probability, multi_class="ovr", average="macro"
    )
    assert score.auc == pytest.approx(auc, abs=1e-3)
    assert score.accuracy == pytest.approx(accuracy_score(classes[TEST], model.predict(standard[TEST])))
    assert (score.n_train, score.n_test, score.n_left_out) == (300, 100, 0)


def fitted_by_hand(x, classes, penalty):
    """Scores of each class: minimum of the penalised negative log-likelihood of a softmax, by scipy.

    The penalty is that of the docstring of ``LogisticRegression``: for two classes on their one slope, else on each class's.
    """
    n_classes = classes.max() + 1
    n_scores = 1 if n_classes == 2 else n_classes

    def scores(parameters, x):
        weights = parameters.reshape(n_scores, -1)
        linear = x @ weights[:, 1:].T + weights[:, 0]
        return np.column_stack([np.zeros(len(x)), linear]) if n_classes == 2 else linear

    def loss(parameters):
        each = scores(parameters, x)
        each = each - each.max(axis=1, keepdims=True)
        log_likelihood = (each[np.arange(len(x)), classes] - np.log(np.exp(each).sum(axis=1))).sum()
        slopes = parameters.reshape(n_scores, -1)[:, 1:]
        return (0.5 * (slopes**2).sum() / penalty - log_likelihood) / len(x)

    found = minimize(loss, np.zeros(n_scores * (x.shape[1] + 1)), method="BFGS", options={"gtol": 1e-7})
    return lambda rows: scores(found.x, rows)


def auc_by_pairs(positive, negative):
    """Fraction of pairs in which the positive one scores higher; ties count half."""
    won = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    return sum(won) / len(won)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("penalty", [pytest.param(np.inf, id="unregularised"), pytest.param(0.005, id="ridge")])
def test_agrees_with_a_fit_and_a_count_of_pairs_by_hand(n_classes, penalty):
    latent, classes = latent_and_classes(n_classes, noise=1.0)
    latent[:, 1] += 80.0 * latent[:, 0]  # correlated, so that the penalty changes what is read by .01 and more
    standard = (latent - latent[TRAIN].mean(0)) / latent[TRAIN].std(0)
    scores = fitted_by_hand(standard[TRAIN], classes[TRAIN], penalty)(standard[TEST])
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = classes[TEST]
    of_each = [auc_by_pairs(p[truth == c], p[truth != c]) for c, p in enumerate(probability.T)]

    score = linear_probe(latent, classes, TRAIN, TEST, C=penalty)
    assert score.auc == pytest.approx(np.mean(of_each), abs=1e-3)
    assert score.accuracy == pytest.approx(np.mean(probability.argmax(axis=1) == truth), abs=0.011)


def test_the_penalty_shrinks_towards_the_class_means():
    """Without a limit of the penalty the slopes vanish, and their direction is the difference of the class means."""
    latent, classes = latent_and_classes(2, noise=1.0)
    latent[:, 1] += 80.0 * latent[:, 0]  # correlated, or the penalty would hardly matter
    standard = (latent - latent[TRAIN].mean(0)) / latent[TRAIN].std(0)
    means = [standard[TRAIN][classes[TRAIN] == c].mean(axis=0) for c in (0, 1)]
    along = standard[TEST] @ (means[1] - means[0])
    expected = auc_by_pairs(along[classes[TEST] == 1], along[classes[TEST] == 0])
    assert linear_probe(latent, classes, TRAIN, TEST, C=1e-9).auc == pytest.approx(expected, abs=1e-3)
    assert linear_probe(latent, classes, TRAIN, TEST).auc != pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_separable_classes_give_one_without_warnings(n_classes):
    latent, classes = latent_and_classes(n_classes, noise=0.0)
    score = linear_probe(latent, classes, TRAIN, TEST)
    assert score.auc > 0.99
    assert score.accuracy > 0.9
    assert linear_probe(latent, classes, TRAIN, TEST, max_iter=1).n_test == score.n_test, "stopped early is no warning"


def test_no_information_is_chance():
    latent, _ = latent_and_classes(2, noise=0.0)
    classes = np.random.default_rng(3).integers(0, 2, size=400)
    score = linear_probe(latent, classes, TRAIN, TEST)
    assert score.auc == pytest.approx(0.5, abs=0.15)


def test_invariant_to_affine_maps_of_the_latents():
    latent, classes = latent_and_classes(3, noise=1.0)
    mapped = latent @ np.diag([1.0, 0.01, 100.0]) @ np.random.default_rng(0).normal(size=(3, 3)) + 7.0
    one, other = linear_probe(latent, classes, TRAIN, TEST), linear_probe(mapped, classes, TRAIN, TEST)
    assert one.auc == pytest.approx(other.auc, abs=1e-3)
    assert one.accuracy == pytest.approx(other.accuracy, abs=0.011)


@pytest.mark.parametrize(
    "as_labels",
    [
        pytest.param(lambda names: list(names), id="list"),
        pytest.param(lambda names: np.array(names, dtype=object), id="objects"),
        pytest.param(lambda names: pd.Series(names, dtype="string"), id="strings"),
        pytest.param(lambda names: pd.Series(names, index=range(7, 407)).astype("category"), id="series"),
        pytest.param(lambda names: pd.Categorical(names), id="categorical"),
    ],
)
def test_rows_without_label_or_latent_are_left_out(as_labels):
    latent, classes = latent_and_classes(2, noise=1.0)
    latent[[0, 1, 350], 1] = np.nan
    names = ["no" if c == 0 else "yes" for c in classes]
    for row in (1, 2, 351, 352):
        names[row] = None
    score = linear_probe(latent, as_labels(names), TRAIN, TEST)
    kept = linear_probe(np.nan_to_num(latent), classes, np.arange(3, 300), np.r_[300:350, 353:400])
    assert (score.n_train, score.n_test, score.n_left_out) == (297, 97, 6)
    assert (score.auc, score.accuracy) == (pytest.approx(kept.auc), kept.accuracy)


def test_masks_are_positions():
    latent, classes = latent_and_classes(2, noise=1.0)
    mask = np.arange(400) < 300
    assert linear_probe(latent, classes, mask, ~mask) == linear_probe(latent, classes, TRAIN, TEST)


def test_class_that_was_not_trained_on():
    latent = np.array([[-2.0], [-1.0], [1.0], [2.0], [-1.5], [1.5], [3.0]])
    score = linear_probe(latent, ["a", "a", "b", "b", "a", "b", "c"], [0, 1, 2, 3], [4, 5, 6])
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.auc == pytest.approx(0.5)  # of b: one of the two others is below it


def test_undefined_is_nan():
    latent, classes = latent_and_classes(2, noise=1.0)
    empty = linear_probe(latent, classes, TRAIN, [])
    assert np.isnan([empty.auc, empty.accuracy]).all()
    untrained = linear_probe(latent, np.zeros(400, dtype=int), TRAIN, TEST)
    assert np.isnan([untrained.auc, untrained.accuracy]).all()
    one_class = linear_probe(latent, classes, TRAIN, TEST[classes[TEST] == 1])
    assert np.isnan(one_class.auc)
    assert one_class.accuracy > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"labels": ["a"] * 399}, "same rows", id="rows"),
        pytest.param({"test": [299, 300]}, "overlap", id="overlap"),
        pytest.param({"test": [400]}, "outside", id="position"),
        pytest.param({"test": [0.5]}, "positions of rows", id="type"),
        pytest.param({"test": np.ones(10, dtype=bool)}, "mask of 10", id="mask"),
        pytest.param({"test": [[300]]}, "one-dimensional", id="dimensions of the split"),
        pytest.param({"latent": np.zeros((400, 2, 2))}, "latent must be a matrix", id="dimensions of the latents"),
    ],
)
def test_bad_input(arguments, message):
    latent, classes = latent_and_classes(2, noise=1.0)
    with pytest.raises(ValueError, match=message):
        linear_probe(**{"latent": latent, "labels": classes, "train": TRAIN, "test": TEST, **arguments})


def test_probe_matrix_holds_the_single_scores():
    latent, classes = latent_and_classes(3, noise=1.0)
    absent = np.where(np.arange(400)[:, None] % 10 == 0, np.nan, latent[:, ::-1])
    spaces = {"shared": latent, "private rna": absent}
    targets = {
        "type": pd.Categorical.from_codes(classes, ["a", "b", "c"]),
        "is_a": classes == 0,
        "cluster": pd.Series(pd.Categorical(classes)),
        "age": latent[:, 0] + 1.0,
        "factor": latent[:, :2],
        "frame": pd.DataFrame(latent),
    }
    table = probe_matrix(spaces, targets, TRAIN, TEST)
    assert list(table.columns) == ["space", "target", "metric", "value", "n_train", "n_test"]
    assert len(table) == 2 * 6 * 2
    value = table.set_index(["space", "target", "metric"])["value"]
    for space, array in spaces.items():
        for target in ("type", "is_a", "cluster"):
            score = linear_probe(array, targets[target], TRAIN, TEST)
            assert value[space, target, "auc"] == score.auc
            assert value[space, target, "accuracy"] == score.accuracy
        for target in ("age", "factor", "frame"):
            r2 = predictability(array, targets[target], TRAIN, TEST)
            assert value[space, target, "r2_ridge"] == r2.ridge
            assert value[space, target, "r2_knn"] == r2.knn
    assert value["shared", "age", "r2_ridge"] == pytest.approx(1, abs=1e-3)
    rows = table.groupby("space")[["n_train", "n_test"]].first()
    assert rows.loc["shared"].tolist() == [300, 100]
    assert rows.loc["private rna"].tolist() == [270, 90]
