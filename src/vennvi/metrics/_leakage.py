"""Leakage: what a private space knows that it should not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from vennvi.metrics._arrays import Array, as_matrix, as_split, check_same_rows, complete_rows, r2_of_columns

_PENALTIES = np.logspace(-2, 5, 15)


@dataclass(frozen=True)
class Predictability:
    """R² on held-out rows of an array predicted from a latent space."""

    ridge: float
    """By a ridge regression: what is there linearly."""
    knn: float
    """By nearest neighbours: what is there in any form; below zero without information."""
    n_train: int
    """Training rows used."""
    n_test: int
    """Test rows used."""
    n_left_out: int
    """Rows of the split with NaN in source or target."""


def predictability(
    source: ArrayLike,
    target: ArrayLike,
    train: ArrayLike,
    test: ArrayLike,
    *,
    n_neighbors: int = 10,
    average: Literal["uniform", "variance"] = "uniform",
) -> Predictability:
    r"""R² of an array predicted from a latent space, linearly and by neighbours, on held-out rows.

    .. math::

        R^2 = \sum_j w_j \left(1 - \frac{\sum_i (t_{ij} - \hat t_{ij})^2}{\sum_i (t_{ij} - \bar t_j)^2}\right)

    over the test rows, with equal weights :math:`w_j` or those of the columns' variance there, which makes it the
    fraction of the total variance explained. The source is standardised by the training rows; the ridge penalty is
    chosen by leave-one-out on them, and the neighbours are weighted by the inverse of their distance.

    Parameters
    ----------
    source
        Rows x dimensions. Rows with NaN are left out.
    target
        Rows, or rows x columns. Rows with NaN are left out.
    train, test
        Positions of rows or boolean masks, which may not overlap.
    n_neighbors
        Number of neighbours (all training rows, if these are fewer).
    average
        ``"uniform"``: each column of the target counts the same; ``"variance"``: by its variance, for example for
        principal components.

    Returns
    -------
    :class:`Predictability`. R² is NaN with fewer than two training or test rows, and if a column of the target does
    not vary over the test rows (with equal weights).

    Raises
    ------
    ValueError
        If the arrays do not have the same rows, or train and test overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import predictability
    >>> source = np.random.default_rng(0).normal(size=(400, 2))
    >>> even = source[:, 0] ** 2
    >>> r2 = predictability(source, even, train=np.arange(300), test=np.arange(300, 400))
    >>> round(r2.ridge, 1), round(r2.knn, 1)
    (0.0, 0.9)
    """
    if average not in ("uniform", "variance"):
        raise ValueError(f'average must be "uniform" or "variance", not {average!r}.')
    sources, targets = as_matrix(source, "source"), as_matrix(target, "target")
    n_rows = check_same_rows(source=sources, target=targets)
    train_rows, test_rows = as_split(train, test, n_rows)
    complete = complete_rows(sources, targets)
    n_split = len(train_rows) + len(test_rows)
    train_rows, test_rows = train_rows[complete[train_rows]], test_rows[complete[test_rows]]
    n_train, n_test = len(train_rows), len(test_rows)

    ridge = knn = np.nan
    if min(n_train, n_test) > 1:
        truth = targets[test_rows]
        predicted = predictions(sources[train_rows], targets[train_rows], sources[test_rows], n_neighbors)
        ridge, knn = (average_r2(truth, values, average) for values in predicted)
    return Predictability(ridge, knn, n_train, n_test, n_split - n_train - n_test)


def leakage(
    private: Mapping[str, ArrayLike],
    shared: ArrayLike,
    components: Mapping[str, ArrayLike],
    train: ArrayLike,
    test: ArrayLike,
    *,
    n_neighbors: int = 10,
) -> pd.DataFrame:
    """How well each private space predicts the joint shared latents, and each other modality.

    A private space should predict neither. Dimensions and components count by their variance: of a shared space with one
    dimension in use, that one is what can leak.

    Parameters
    ----------
    private
        Private latents, rows x dimensions, by modality.
    shared
        Joint shared latents, rows x dimensions.
    components
        First principal components of the data, rows x components, by modality (NaN rows where a modality is absent).
    train, test
        Positions of rows or boolean masks, which may not overlap.
    n_neighbors
        Number of neighbours.

    Returns
    -------
    One row for each ``source`` (modality of the private space), ``target`` (``"shared"`` or another modality) and
    ``metric`` (``"r2_ridge"`` or ``"r2_knn"``), with its ``value`` and the rows used, ``n_train`` and ``n_test``. The
    values are R² as in :func:`predictability`.

    Raises
    ------
    ValueError
        If the arrays do not have the same rows, or train and test overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import leakage
    >>> rng = np.random.default_rng(0)
    >>> shared, own = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    >>> leaky = np.hstack([own, shared[:, :1]])
    >>> table = leakage(
    ...     {"rna": leaky, "atac": own}, shared, {"rna": own, "atac": shared}, np.arange(200), np.arange(200, 300)
    ... )
    >>> table.loc[table["metric"] == "r2_ridge", ["source", "target", "value"]].round(1)
      source  target  value
    0    rna  shared    0.5
    2    rna    atac    0.5
    4   atac  shared   -0.0
    6   atac     rna    1.0
    """
    records: list[tuple[str, str, str, float, int, int]] = []
    for modality, latent in private.items():
        targets = {"shared": shared} | {other: values for other, values in components.items() if other != modality}
        r2 = {
            target: predictability(latent, values, train, test, n_neighbors=n_neighbors, average="variance")
            for target, values in targets.items()
        }
        for target, score in r2.items():
            sizes = (score.n_train, score.n_test)
            records.append((modality, target, "r2_ridge", score.ridge, *sizes))
            records.append((modality, target, "r2_knn", score.knn, *sizes))
    return pd.DataFrame(records, columns=["source", "target", "metric", "value", "n_train", "n_test"])


def predictions(known: Array, targets: Array, asked: Array, n_neighbors: int = 10) -> tuple[Array, Array]:
    """Targets of other rows by a ridge regression and by nearest neighbours, both fitted to the known rows."""
    scaler = StandardScaler().fit(known)
    known, asked = scaler.transform(known), scaler.transform(asked)
    neighbors = KNeighborsRegressor(min(n_neighbors, len(known)), weights="distance")
    ridge, knn = (
        model.fit(known, targets).predict(asked).reshape(len(asked), targets.shape[1])
        for model in (RidgeCV(_PENALTIES), neighbors)
    )
    return ridge, knn


def average_r2(truth: Array, prediction: Array, average: str) -> float:
    """R² of all columns: each counts the same (``"uniform"``), or by its variance (``"variance"``)."""
    r2 = r2_of_columns(truth, prediction)
    if average == "uniform":
        return float(r2.mean())
    variance = truth.var(axis=0)
    varies = ~np.isnan(r2)
    return float(np.average(r2[varies], weights=variance[varies])) if varies.any() else np.nan
