"""Probes: which labels and known factors can be read from which latent space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vennvi.metrics._arrays import Array, as_matrix, as_split, check_same_rows, complete_rows
from vennvi.metrics._leakage import predictability


@dataclass(frozen=True)
class ProbeScore:
    """What a linear classifier reads on held-out rows."""

    auc: float
    """Area under the ROC curve; with more than two classes the mean over one class against the rest."""
    accuracy: float
    """Fraction of the test rows whose class is predicted."""
    n_train: int
    """Training rows used."""
    n_test: int
    """Test rows used."""
    n_left_out: int
    """Rows of the split without a label or with NaN in the latents."""


def linear_probe(
    latent: ArrayLike, labels: ArrayLike, train: ArrayLike, test: ArrayLike, *, C: float = np.inf, max_iter: int = 1000
) -> ProbeScore:
    r"""Logistic regression of a label on the latents, fitted on some rows and read on others.

    .. math::

        p(y_i = c \mid z_i) = \mathrm{softmax}_c(W \tilde z_i + b)

    with :math:`\tilde z` the latents standardised by the training rows. By default :math:`W` is not regularised, as
    in the paper.

    Parameters
    ----------
    latent
        Rows x dimensions. Rows with NaN are left out.
    labels
        One label a row: categorical, strings, booleans or integers. Rows with a missing label are left out.
    train, test
        Positions of rows or boolean masks, which may not overlap.
    C
        Inverse strength of a ridge penalty on :math:`W`.
    max_iter
        Limit on the iterations of the optimiser, which are without end where a plane separates the classes.

    Returns
    -------
    :class:`ProbeScore`. What the rows left do not define is NaN: everything with fewer than two classes to train on
    or no test rows, the AUC where the test rows have one class. A class that was not trained on counts as a mistake
    in the accuracy, and as "the rest" in the AUC.

    Raises
    ------
    ValueError
        If the arrays do not have the same rows, or train and test overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import linear_probe
    >>> latent = np.array([[-2.0], [-1.0], [1.0], [2.0], [-1.5], [1.5], [np.nan]])
    >>> linear_probe(latent, ["a", "a", "b", "b", "a", "b", "b"], train=[0, 1, 2, 3], test=[4, 5, 6])
    ProbeScore(auc=1.0, accuracy=1.0, n_train=4, n_test=2, n_left_out=1)
    """
    matrix = as_matrix(latent, "latent")
    codes, _ = pd.factorize(np.asarray(labels, dtype=object))  # -1 where missing
    check_same_rows(latent=matrix, labels=codes)
    train_rows, test_rows = as_split(train, test, len(matrix))
    usable = (codes >= 0) & complete_rows(matrix)
    n_rows = len(train_rows) + len(test_rows)
    train_rows, test_rows = train_rows[usable[train_rows]], test_rows[usable[test_rows]]

    auc = accuracy = np.nan
    if len(test_rows) and len(np.unique(codes[train_rows])) > 1:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
        with warnings.catch_warnings():  # where a plane separates the classes, weights grow for ever and scores stay
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(matrix[train_rows], codes[train_rows])
        scores = classifier.decision_function(matrix[test_rows])
        accuracy = float(np.mean(classifier.predict(matrix[test_rows]) == codes[test_rows]))
        auc = _auc(scores, codes[test_rows], classifier.classes_)
    n_left_out = n_rows - len(train_rows) - len(test_rows)
    return ProbeScore(auc, accuracy, len(train_rows), len(test_rows), n_left_out)


def probe_matrix(
    spaces: Mapping[str, ArrayLike], targets: Mapping[str, ArrayLike], train: ArrayLike, test: ArrayLike
) -> pd.DataFrame:
    """Read every target from every latent space, to see where the information sits.

    A target that is categorical, of strings or boolean is read by :func:`linear_probe`; one of numbers (a vector, or
    a matrix such as a known factor) by :func:`predictability`. Integers are numbers: turn cluster numbers into strings
    or a categorical first.

    Parameters
    ----------
    spaces
        Latent spaces, rows x dimensions, by name: joint shared, shared of each modality, private of each modality.
    targets
        Labels (rows) or continuous factors (rows, or rows x dimensions) by name.
    train, test
        Positions of rows or boolean masks, which may not overlap.

    Returns
    -------
    One row a space, target and metric (``"auc"`` and ``"accuracy"``, or ``"r2_ridge"`` and ``"r2_knn"``) with its
    ``value`` and the numbers of rows used, ``n_train`` and ``n_test``.

    Raises
    ------
    ValueError
        If an array does not have the same rows as the others, or train and test overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import probe_matrix
    >>> rng = np.random.default_rng(0)
    >>> shared, private = rng.normal(size=(1000, 2)), rng.normal(size=(1000, 2))
    >>> label = np.where(shared[:, 0] > 0, "high", "low")
    >>> table = probe_matrix(
    ...     {"shared": shared, "private": private}, {"label": label}, train=np.arange(800), test=np.arange(800, 1000)
    ... )
    >>> table.loc[table["metric"] == "auc", ["space", "target", "value"]].round(1)
         space target  value
    0   shared  label    1.0
    2  private  label    0.5
    """
    records: list[tuple[str, str, str, float, int, int]] = []
    for space, latent in spaces.items():
        for target, values in targets.items():
            if _is_numeric(values):
                r2 = predictability(latent, values, train, test)
                scores = {"r2_ridge": r2.ridge, "r2_knn": r2.knn}
                sizes = (r2.n_train, r2.n_test)
            else:
                probe = linear_probe(latent, values, train, test)
                scores = {"auc": probe.auc, "accuracy": probe.accuracy}
                sizes = (probe.n_train, probe.n_test)
            records.extend((space, target, metric, value, *sizes) for metric, value in scores.items())
    return pd.DataFrame(records, columns=["space", "target", "metric", "value", "n_train", "n_test"])


def _auc(scores: Array, truth: NDArray[np.integer], classes: NDArray[np.integer]) -> float:
    """ROC AUC; with more than two classes the mean over the trained classes that the test rows have."""
    if len(classes) == 2:
        log_odds = {classes[1]: scores}
    else:  # of each class against the rest: as the probability ranks, but without rounding to one
        rest = [logsumexp(np.delete(scores, c, axis=1), axis=1) for c in range(len(classes))]
        log_odds = {label: scores[:, c] - rest[c] for c, label in enumerate(classes)}
    present = [label for label in log_odds if 0 < np.mean(truth == label) < 1]
    return float(np.mean([roc_auc_score(truth == label, log_odds[label]) for label in present])) if present else np.nan


def _is_numeric(values: ArrayLike) -> bool:
    """Whether the values are numbers, of which a distance makes sense."""
    if isinstance(values, pd.DataFrame):
        return True
    dtype = values.dtype if hasattr(values, "dtype") else np.asarray(values).dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
