"""Checks and small computations that the metrics share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]

#: Range of a column, over its largest number, up to which it is a constant: in single precision, the same sum computed for
#: another minibatch differs by less.
ROUNDING = 1e-6


def as_matrix(values: ArrayLike | pd.DataFrame | pd.Series, name: str) -> Array:
    """Rows x columns in float64; a vector becomes one column, pandas' missing values NaN, constants up to rounding constants."""
    if isinstance(values, pd.DataFrame | pd.Series):
        matrix = values.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name} must be a matrix of rows x columns, not of shape {matrix.shape}.")
    return without_rounding(matrix)


def without_rounding(matrix: Array) -> Array:
    """The same matrix, its columns that are constant up to rounding made constant; shape ``(rows, columns)``, NaN stays.

    Scaled to variance one, their last digits would be data. Only fractions that single precision holds can be that:
    what was measured with more digits, or counted, differs by what it says.

    Examples
    --------
    >>> import numpy as np
    >>> without_rounding(np.array([[0.5, 1.0], [0.5 + 2**-24, 2.0]]))
    array([[0.5, 1. ],
           [0.5, 2. ]])
    """
    if not len(matrix):
        return matrix
    low, high = np.fmin.reduce(matrix, axis=0), np.fmax.reduce(matrix, axis=0)
    constant = (high > low) & (high - low <= ROUNDING * np.fmax(np.abs(low), np.abs(high)))
    if constant.any():
        found = matrix[:, constant]
        single = (np.isnan(found) | (found == found.astype(np.float32))).all(axis=0)
        constant[constant] = single & (np.round(found) != found).any(axis=0)
    if not constant.any():
        return matrix
    return np.where(constant & ~np.isnan(matrix), low, matrix)


def check_same_rows(**arrays: Any) -> int:
    """Return the number of rows that all the named arrays have, else raise a ValueError that lists them."""
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"The arrays must have the same rows in the same order, but their numbers are {rows}.")
    return next(iter(rows.values()))


def complete_rows(*matrices: Array) -> NDArray[np.bool_]:
    """Mask of the rows without NaN in any of the matrices, (rows,)."""
    return np.logical_and.reduce([~np.isnan(matrix).any(axis=1) for matrix in matrices])


def as_rows(rows: ArrayLike, n_rows: int, name: str) -> NDArray[np.intp]:
    """Positions of rows that are given as positions or as a boolean mask."""
    array = np.asarray(rows)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional: positions of rows, or a boolean mask.")
    if array.dtype == bool:
        if len(array) != n_rows:
            raise ValueError(f"{name} is a mask of {len(array)} rows, but there are {n_rows}.")
        return np.flatnonzero(array)
    if array.size == 0:
        return np.empty(0, dtype=np.intp)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be positions of rows or a boolean mask, not of type {array.dtype}.")
    if array.min() < 0 or array.max() >= n_rows:
        raise ValueError(f"{name} has positions outside the {n_rows} rows.")
    return array.astype(np.intp)


def as_split(train: ArrayLike, test: ArrayLike, n_rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the training and of the held-out rows, which may not overlap."""
    train_rows, test_rows = as_rows(train, n_rows, "train"), as_rows(test, n_rows, "test")
    if np.intersect1d(train_rows, test_rows).size:
        raise ValueError("train and test overlap: the score must be read on rows that were held out.")
    return train_rows, test_rows


def r2_of_columns(truth: Array, prediction: Array) -> Array:
    """1 - residual / total sum of squares of each column, (columns,); NaN where the truth does not vary."""
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    residual = ((truth - prediction) ** 2).sum(axis=0)
    varies = truth.min(axis=0) < truth.max(axis=0)
    return 1.0 - np.divide(residual, total, out=np.full(total.shape, np.nan), where=varies)
