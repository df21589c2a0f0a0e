"""Informative and uninformative features, ordered by a t-test on the samples given."""

from __future__ import annotations

from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from sklearn.model_selection import train_test_split


def split(labels: NDArray, test_size: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Training and held-out rows, ascending, stratified by the labels."""
    train, test = train_test_split(np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=seed)
    return np.sort(train), np.sort(test)


def welch_order(values: Any, positive: NDArray[np.bool_]) -> NDArray[np.intp]:
    r"""Features from the most to the least associated with a two-class label.

    .. math:: |t_j| = |\bar x_{j+} - \bar x_{j-}| / \sqrt{v_{j+} / n_+ + v_{j-} / n_-}

    ``values`` is samples x features, dense or sparse. A constant feature has :math:`t = 0`. Ties keep the order of the features.

    Examples
    --------
    >>> values = np.array([[0.0, 1, 5], [0, 0, 5], [0, 1, 7], [0, 2, 8]])
    >>> welch_order(values, np.array([False, False, True, True])).tolist()
    [2, 1, 0]
    """
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    yes, no = dense[positive].astype(np.float64), dense[~positive].astype(np.float64)
    variance = yes.var(axis=0, ddof=1) / len(yes) + no.var(axis=0, ddof=1) / len(no)
    difference = np.abs(yes.mean(axis=0) - no.mean(axis=0))
    t = np.divide(difference, np.sqrt(variance), out=np.zeros_like(difference), where=variance > 0)
    return np.argsort(-t, kind="stable")


def informative_and_not(order: NDArray[np.intp], n_informative: int, n_uninformative: int) -> NDArray[np.intp]:
    """First and last features of an order, without overlap.

    Raises
    ------
    ValueError
        If there are fewer features than asked.
    """
    if n_informative + n_uninformative > len(order):
        raise ValueError(
            f"{n_informative} informative and {n_uninformative} uninformative features were asked of {len(order)}."
        )
    return np.concatenate([order[:n_informative], order[len(order) - n_uninformative :]])


def subset(adata: AnnData, rows: NDArray, columns: NDArray, obs_names: NDArray) -> AnnData:
    """Matrix and names only of the given rows and columns."""
    values = adata.X[rows][:, columns]
    part = AnnData(values.copy())
    part.obs_names, part.var_names = obs_names, adata.var_names[columns]
    return part
