"""Reliability of predicted labels, and the temperature that mends it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from vennvi.metrics import reliability, temperature


def _drawn(n=20_000, n_classes=4, seed=0):
    """Logits, and labels drawn with the probabilities they mean."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, n_classes))
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > cumulative).sum(axis=1)


def test_true_probabilities_are_reliable():
    logits, labels = _drawn()
    score = reliability(softmax(logits, axis=1), labels)
    assert score.ece < 0.015
    filled = score.table[score.table["n"] > 200]
    np.testing.assert_allclose(filled["accuracy"], filled["confidence"], atol=0.05)
    assert score.table["n"].sum() == score.n == 20_000


def test_bins_agree_with_scikit_learn():
    logits, labels = _drawn(n_classes=2, n=3000)
    probabilities = softmax(2 * logits, axis=1)
    table = reliability(probabilities, labels).table.dropna()
    right = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=10)
    np.testing.assert_allclose(table["accuracy"], accuracy)
    np.testing.assert_allclose(table["confidence"], confidence)


def test_ece_is_the_mean_gap():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.45, 0.55]])
    score = reliability(probabilities, [0, 1, 1, 0])
    assert score.ece == pytest.approx((2 * 0.45 + 0.35 + 0.55) / 4)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_factor(factor):
    logits, labels = _drawn()
    found = temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.05)
    mended = reliability(softmax(factor * logits / found, axis=1), labels)
    assert mended.ece < 0.015


def test_few_rows_that_are_all_right_do_not_make_others_certain():
    logits = np.repeat([[1.0, 0.0], [0.0, 1.0]], 13, axis=0)
    found = temperature(logits, np.repeat([0, 1], 13))
    assert 0.25 < found < 0.6
    assert temperature(np.tile(logits, (200, 1)), np.tile(np.repeat([0, 1], 13), 200)) < 0.5 * found


def test_missing_and_unknown_labels_are_left_out():
    probabilities = pd.DataFrame([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan], [0.6, 0.4]], columns=["a", "b"])
    score = reliability(probabilities, ["a", "new", "a", None])
    assert (score.n, score.n_left_out, score.accuracy) == (1, 3, 1.0)
    assert temperature(np.log(probabilities), [None] * 4) == 1.0
    empty = reliability(probabilities, [None] * 4)
    assert np.isnan(empty.ece)
    assert (empty.table["n"] == 0).all()


def test_labels_of_which_no_class_is_known():
    """Given as an array, the classes are numbers."""
    with pytest.raises(ValueError, match=r"None of the labels .* name these by `classes`"):
        reliability(np.full((50, 2), 0.5), ["u", "v"] * 25)
    assert reliability(np.full((50, 2), 0.5), ["u", "v"] * 25, classes=["u", "v"]).table["n"].sum() == 50
    assert reliability(np.full((50, 2), 0.5), [None] * 50).n == 0


def test_refuses():
    with pytest.raises(ValueError, match="3 classes"):
        reliability([[0.5, 0.5]], [0], classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="same rows"):
        reliability([[0.5, 0.5]], [0, 1])
