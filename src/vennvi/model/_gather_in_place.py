"""One matrix from minibatches of a matrix in memory, without a copy of what it has in common with that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from vennvi._sparse_rows import SparseRows, csr_around
from vennvi.model._gather import lean_csr


def can_be_read_in_place(matrix: Any) -> bool:
    """Whether a matrix is CSR and in memory, and may be written to: torch reads no arrays that may not."""
    if not sparse.issparse(matrix) or matrix.format != "csr":
        return False
    return all(part.flags.writeable for part in (matrix.data, matrix.indices, matrix.indptr))


class RowsInPlace:
    """What :class:`~vennvi.model._gather.GatheredRows` gathers, of sparse minibatches whose rows are in memory already.

    Where their entries are is not copied. What they are is told by one factor for each row, if all entries of a row are the
    same multiple of what is in memory (0/1 data over the size of a cell, say), and else held besides.

    Parameters
    ----------
    held
        The matrix in memory, CSR.
    rows
        Its row of every row of the minibatches to come, negative where it has none.

    Examples
    --------
    >>> import torch
    >>> held = sparse.csr_matrix([[0.0, 1.0], [1.0, 1.0]], dtype="float32")
    >>> gathered = RowsInPlace(held, np.array([1, 0]))
    >>> gathered.add(torch.tensor([[0.5, 0.5], [0.0, 2.0]]).to_sparse_csr(), np.array([0, 1]))
    >>> gathered.matrix().toarray()
    array([[0.5, 0.5],
           [0. , 2. ]], dtype=float32)
    """

    def __init__(self, held: sparse.csr_matrix | sparse.csr_array, rows: NDArray[np.integer]):
        self._held, self._rows, self._n_seen = held, rows, 0
        # made at once: what is kept of one minibatch after the other lies between what is not, and is in the way
        self._taken = np.zeros(len(rows), dtype=bool)
        self._factors = np.zeros(len(rows), np.float32)
        self._values: NDArray[np.float32] | None = None  # of all entries, once factors do not do

    def add(self, x: Tensor, rows: NDArray[np.integer]) -> None:
        """Take rows of a minibatch, CSR; the minibatch is of the next of the rows to come, and stores what they store."""
        chosen = self._n_seen + rows
        self._n_seen += x.shape[0]
        part = lean_csr(x.cpu())[rows]
        lengths = np.diff(part.indptr)
        places = self._places(self._rows[chosen], lengths)
        if self._values is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = part.data / self._held.data[places].astype(np.float32, copy=False)
            factors = np.ones(len(rows), np.float32)
            factors[lengths > 0] = ratios[part.indptr[:-1][lengths > 0]]
            if np.array_equal(np.repeat(factors, lengths), ratios) and np.isfinite(factors).all():
                self._factors[chosen] = factors
            else:
                self._values = self._by_entry()
        if self._values is not None:
            self._values[places] = part.data
        self._taken[chosen] = True

    def _places(self, rows: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.integer]:
        """Where the entries of rows are."""
        shift = self._held.indptr[rows] - (np.cumsum(lengths) - lengths)
        return np.repeat(shift, lengths) + np.arange(lengths.sum())

    def _by_entry(self) -> NDArray[np.float32]:
        """What the factors so far say, an entry each."""
        values = np.zeros(self._held.nnz, np.float32)
        starts = self._held.indptr
        for row, factor in zip(self._rows[self._taken], self._factors[self._taken], strict=True):
            stored = slice(starts[row], starts[row + 1])
            values[stored] = self._held.data[stored] * factor
        return values

    def matrix(self) -> SparseRows:
        """All rows taken."""
        held, n_stored = self._held, self._held.nnz
        values = held.data[:n_stored].astype(np.float32, copy=False) if self._values is None else self._values
        factors = self._factors[self._taken] if self._values is None else None
        matrix = csr_around(values, held.indices[:n_stored], held.indptr, held.shape[1])
        return SparseRows(matrix, self._rows[self._taken], factors)
