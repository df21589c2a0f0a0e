r"""Products with rows of a sparse matrix that stays where it is, by several threads.

What the search for canonical variates reads of a cell is often what is stored of it times one number: of 0/1 data,
:math:`\log(1 + 1/\text{size})`. A second copy of the training data, to hold that, would be most of what the search needs.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from vennvi.fused import in_threads, n_shares, on_one_thread, sums_of_rows

Array = NDArray[np.floating]

#: About how many nanoseconds one thread takes over a stored entry times a number, and numbers it is multiplied with at a time.
_PRODUCT_NS, _VECTORS = 0.2, 16
#: Threads that share a product at most: of the transposed matrix, each holds a sum of its own.
_MAX_SHARES = 8
#: Rows that are in double precision at a time.
_ROWS = 256


class SparseRows:
    r"""The matrix :math:`A = \operatorname{diag}(f)\, X_{r\cdot}`, of which only products are computed.

    Parameters
    ----------
    held
        :math:`X`, sparse, all of it finite; a CSR one is not copied. Products are computed in its precision, single at least,
        or in double precision if it holds integers of 32 bits or more.
    rows
        :math:`r`, no row twice; all rows by default. Products cost what all rows cost.
    factors
        :math:`f`, one for each of ``rows``; 1 by default.

    Raises
    ------
    ValueError
        If ``rows`` names a row twice.

    Examples
    --------
    >>> x = sparse.csr_array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> a = SparseRows(x, rows=np.array([2, 0]), factors=np.array([0.5, 2.0]))
    >>> a.toarray()
    array([[0.5, 0.5],
           [2. , 0. ]])
    >>> a.times(np.eye(2)), a.transposed_times(np.eye(2))
    (array([[0.5, 0.5],
           [2. , 0. ]]), array([[0.5, 2. ],
           [0.5, 0. ]]))
    """

    def __init__(self, held: Any, rows: NDArray[np.integer] | None = None, factors: Array | None = None):
        self._held, self._rows = held.tocsr(), rows
        self.dtype = np.result_type(self._held.dtype, np.float32)
        if rows is not None and len(np.unique(rows)) < len(rows):
            raise ValueError("A row is named twice.")
        n_held = self._held.shape[0]
        self.shape = (n_held if rows is None else len(rows), self._held.shape[1])
        self._factors: Array | None = None  # of every row that is held, 0 of those that are left out
        if rows is not None or factors is not None:
            self._factors = np.zeros(n_held, self.dtype)
            self._factors[slice(None) if rows is None else rows] = 1.0 if factors is None else factors
        self._shares = _shares_of(self._held)

    def times(self, v: Array) -> Array:
        """Product :math:`A v`, shape ``(n, k)`` for ``(d, k)``."""
        v = np.ascontiguousarray(v, dtype=self.dtype)
        product = np.concatenate(in_threads(lambda share: share.times(v), self._shares))
        if self._factors is not None:
            product *= self._factors[:, None]
        return product if self._rows is None else product[self._rows]

    def transposed_times(self, u: Array) -> Array:
        r"""Product :math:`A^\top u`, shape ``(d, k)`` for ``(n, k)``."""
        u = u.astype(self.dtype, copy=False)
        if self._rows is not None:
            chosen, u = u, np.zeros((self._held.shape[0], u.shape[1]), self.dtype)
            u[self._rows] = chosen
        if self._factors is not None:
            u = u * self._factors[:, None]
        return functools.reduce(np.add, in_threads(lambda share: share.transposed_times(u[share.rows]), self._shares))

    def sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sum and sum of squares of every column, shape ``(d,)`` each, in double precision."""
        held, n_columns = self._held, self.shape[1]
        total, squares = np.zeros(n_columns), np.zeros(n_columns)
        for start in range(0, held.shape[0], _ROWS):  # all at once, in double precision, would be twice the matrix
            starts = held.indptr[start : start + _ROWS + 1]
            stored = slice(starts[0], starts[-1])
            values = held.data[stored].astype(np.float64)
            if self._factors is not None:
                values *= np.repeat(self._factors[start : start + _ROWS], np.diff(starts))
            total += np.bincount(held.indices[stored], values, n_columns)
            squares += np.bincount(held.indices[stored], np.square(values, out=values), n_columns)
        return total, squares

    def toarray(self) -> Array:
        """The matrix, dense, shape ``(n, d)``."""
        dense = self._held.toarray() if self._rows is None else self._held[self._rows].toarray()
        if self._factors is None:
            return dense
        return dense * (self._factors if self._rows is None else self._factors[self._rows])[:, None]


def csr_around(data: NDArray, indices: NDArray, starts: NDArray, n_columns: int) -> sparse.csr_array:
    """CSR matrix around three arrays, none of which is copied.

    scipy's constructor copies one that is less than half of another, and looks through the indices.

    Examples
    --------
    >>> data, indices = np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1])
    >>> x = csr_around(data[:1], indices[:1], np.array([0, 1]), n_columns=2)
    >>> np.shares_memory(x.data, data), x.toarray()
    (True, array([[1., 0.]]))
    """
    matrix = sparse.csr_array((len(starts) - 1, n_columns), dtype=data.dtype)
    matrix.data, matrix.indices, matrix.indptr = data, indices, starts
    return matrix


class _Share:
    """Some rows of a CSR matrix that follow each other, not copied."""

    def __init__(self, x: sparse.csr_array, start: int, stop: int):
        self.rows = slice(start, stop)
        stored = slice(x.indptr[start], x.indptr[stop])
        starts = x.indptr[start : stop + 1] - x.indptr[start]
        self._x = csr_around(x.data[stored], x.indices[stored], starts, x.shape[1])
        self._transposed = sparse.csc_array(self._x.shape[::-1], dtype=x.dtype)
        for part in ("data", "indices", "indptr"):  # `.T` would go through the constructor
            setattr(self._transposed, part, getattr(self._x, part))

    def times(self, v: Array) -> Array:
        """Product with a few vectors; in single precision three times as fast as scipy's."""
        x = self._x
        if x.dtype != np.float32:
            return x @ v
        columns, vectors, starts, values = map(torch.from_numpy, (x.indices, v, x.indptr, x.data))
        with on_one_thread():  # the others of OpenMP do not survive a fork
            return sums_of_rows(columns, vectors, starts, values).numpy()

    def transposed_times(self, u: Array) -> Array:
        """Product of the transposed matrix with a few vectors."""
        return self._transposed @ u


def _shares_of(x: sparse.csr_array) -> list[_Share]:
    """Rows of a CSR matrix in shares of about as many stored entries, one a thread."""
    n = min(n_shares(torch.device("cpu"), _PRODUCT_NS * _VECTORS * x.nnz), _MAX_SHARES)
    cuts = np.searchsorted(x.indptr, np.linspace(0, x.nnz, n + 1)[1:-1])
    return [_Share(x, start, stop) for start, stop in pairwise(np.unique([0, *cuts, x.shape[0]]))]
