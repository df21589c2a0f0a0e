"""Reliability: is a predicted probability the frequency with which it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from vennvi.metrics._arrays import as_matrix, check_same_rows

#: Temperatures that are looked at.
_TEMPERATURES = (0.05, 50.0)
#: Standard deviation of the logarithm of the temperature, before any row is looked at.
_PRIOR_SD = 0.5


@dataclass(frozen=True)
class Reliability:
    """Confidence of predicted labels against the frequency with which they are right."""

    table: pd.DataFrame
    """One row a bin of confidence: ``lower``, ``upper``, ``confidence`` and ``accuracy`` (means), ``n``; empty: NaN."""
    ece: float
    """Expected calibration error, 0 at best: the mean over rows of how far confidence and accuracy of the bin differ."""
    accuracy: float
    """Fraction of labels that are right."""
    n: int
    """Rows used."""
    n_left_out: int
    """Rows without a label or a prediction, or with a label that was not among those to choose from."""


def reliability(
    probabilities: ArrayLike | pd.DataFrame,
    labels: ArrayLike,
    *,
    classes: Sequence | None = None,
    n_bins: int = 10,
) -> Reliability:
    r"""Confidence against accuracy of predicted labels, and the expected calibration error.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    over equally wide bins :math:`b` of the highest probability of each row.

    Parameters
    ----------
    probabilities
        Rows x classes; a data frame's columns are the classes. Rows with NaN are left out.
    labels
        True label of each row; rows with a missing label, or one that is no class, are left out.
    classes
        Class of each column; for an array by default 0, 1, ....
    n_bins
        Number of bins between 0 and 1.

    Returns
    -------
    :class:`Reliability`.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> from vennvi.metrics import reliability
    >>> score = reliability([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]], [0, 1, 1, 1])
    >>> round(score.ece, 2), score.accuracy
    (0.25, 0.75)
    """
    values, codes = _known(probabilities, labels, classes)
    usable = (codes >= 0) & ~np.isnan(values).any(axis=1)
    values, known = values[usable], codes[usable]
    confidence = values.max(axis=1, initial=0.0)
    right = (values.argmax(axis=1) == known) if len(values) else np.zeros(0, dtype=bool)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)

    def mean(of: NDArray) -> NDArray:
        total = np.bincount(bins, weights=of, minlength=n_bins)
        return np.divide(total, n, out=np.full(n_bins, np.nan), where=n > 0)

    table = pd.DataFrame(
        {"lower": edges[:-1], "upper": edges[1:], "confidence": mean(confidence), "accuracy": mean(right), "n": n}
    )
    gap = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    n_used = len(known)
    ece = float((gap * n).sum() / n_used) if n_used else np.nan
    accuracy = float(right.mean()) if n_used else np.nan
    return Reliability(table, ece, accuracy, n_used, len(codes) - n_used)


def temperature(logits: ArrayLike | pd.DataFrame, labels: ArrayLike, *, classes: Sequence | None = None) -> float:
    r"""Temperature that makes logits most likely, with a weak preference for none.

    .. math:: \arg\max_T \sum_i \log \operatorname{softmax}(z_i / T)_{y_i} - \frac{1}{2} \left(\frac{\log T}{0.5}\right)^2

    Above 1 if the logits are too sure of themselves, below 1 if not sure enough. The predicted label stays the same.
    Without the last term, a few rows that are all right would call for a temperature of 0, and every other row would be
    sure of its label.

    Parameters
    ----------
    logits
        Log-odds or log-probabilities, rows x classes, of rows that the classifier was not trained on.
    labels, classes
        As in :func:`reliability`.

    Returns
    -------
    A number between 0.05 and 50; 1 without rows.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import temperature
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(5000, 3))
    >>> labels = [rng.choice(3, p=p) for p in np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)]
    >>> round(temperature(3 * logits, labels), 1)
    3.0
    """
    values, codes = _known(logits, labels, classes)
    usable = (codes >= 0) & ~np.isnan(values).any(axis=1)
    values, known = values[usable], codes[usable]
    if not len(known):
        return 1.0

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(values / np.exp(log_temperature), axis=1)
        return 0.5 * (log_temperature / _PRIOR_SD) ** 2 - float(log_probabilities[np.arange(len(known)), known].sum())

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def _known(
    values: ArrayLike | pd.DataFrame, labels: ArrayLike, classes: Sequence | None
) -> tuple[NDArray, NDArray[np.intp]]:
    """Matrix, and the column of each row's label (-1: none)."""
    matrix = as_matrix(values, "probabilities")
    if classes is None:
        classes = list(values.columns) if isinstance(values, pd.DataFrame) else list(range(matrix.shape[1]))
    if len(classes) != matrix.shape[1]:
        raise ValueError(f"{matrix.shape[1]} columns of probabilities, but {len(classes)} classes.")
    codes = pd.Index(list(classes), dtype=object).get_indexer(pd.Index(np.asarray(labels, dtype=object), dtype=object))
    check_same_rows(probabilities=matrix, labels=codes)
    if len(codes) and (codes < 0).all() and (there := set(pd.Series(np.asarray(labels, dtype=object)).dropna())):
        raise ValueError(
            f"None of the labels ({', '.join(map(repr, list(there)[:3]))}) is among the classes of the columns "
            f"({', '.join(map(repr, list(classes)[:3]))}): name these by `classes`."
        )
    return matrix, codes
