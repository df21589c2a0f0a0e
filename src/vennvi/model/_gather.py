"""One matrix from minibatches, without a second copy of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from vennvi._sparse import is_sparse

#: Room for stored entries, over what the rows so far promise.
_SPARE = 1.1


class GatheredRows:
    """Some rows of every minibatch below each other, written where they stay, in float32.

    Parameters
    ----------
    n_rows
        Rows to expect at most.

    Examples
    --------
    >>> import torch
    >>> gathered = GatheredRows(4)
    >>> gathered.add(torch.eye(2), np.array([1]))
    >>> gathered.add(torch.ones(2, 2), np.array([0, 1]))
    >>> gathered.matrix()
    array([[0., 1.],
           [1., 1.],
           [1., 1.]], dtype=float32)
    """

    def __init__(self, n_rows: int):
        self._n_rows, self._n_dense = n_rows, 0
        self._dense: NDArray[np.float32] | None = None
        self._values, self._columns = np.empty(0, np.float32), np.empty(0, np.int32)
        self._lengths, self._n_columns, self._n_stored = np.empty(0, np.int64), 0, 0

    def add(self, x: Tensor, rows: NDArray[np.integer]) -> None:
        """Take rows of a minibatch, dense or CSR."""
        if is_sparse(x):
            self._add_sparse(lean_csr(x.cpu())[rows])
            return
        if self._dense is None:
            self._dense = np.empty((self._n_rows, x.shape[1]), dtype=np.float32)
        stop = self._n_dense + len(rows)
        self._dense[self._n_dense : stop] = x[torch.as_tensor(rows, device=x.device)].cpu().numpy()
        self._n_dense = stop

    def _add_sparse(self, part: sparse.csr_array) -> None:
        self._lengths = np.concatenate([self._lengths, np.diff(part.indptr)])
        self._n_columns = part.shape[1]
        stored = slice(self._n_stored, self._n_stored + part.nnz)
        if stored.stop > len(self._values):
            # room for as many as the rows so far promise: what nobody writes to takes no memory
            room = max(stored.stop, int(_SPARE * stored.stop / len(self._lengths) * self._n_rows))
            self._values, self._columns = (_longer(a, room, stored.start) for a in (self._values, self._columns))
        self._values[stored], self._columns[stored], self._n_stored = part.data, part.indices, stored.stop

    def matrix(self) -> NDArray[np.float32] | sparse.csr_array:
        """All rows taken."""
        if self._dense is not None:
            return self._dense[: self._n_dense]
        index = np.int32 if self._n_stored <= np.iinfo(np.int32).max else np.int64
        starts = np.concatenate([[0], np.cumsum(self._lengths)]).astype(index)
        entries = self._values[: self._n_stored], self._columns[: self._n_stored], starts
        return sparse.csr_array(entries, shape=(len(self._lengths), self._n_columns))


def _longer(array: NDArray, length: int, n_kept: int) -> NDArray:
    """A longer array that begins with the first entries of another."""
    longer = np.empty(length, array.dtype)
    longer[:n_kept] = array[:n_kept]
    return longer


def lean_csr(x: Tensor) -> sparse.csr_array:
    """A CSR tensor on a CPU as a matrix with small indices: many minibatches are held at once."""
    parts = (x.values().numpy(), x.col_indices().numpy().astype(np.int32), x.crow_indices().numpy().astype(np.int32))
    return sparse.csr_array(parts, shape=tuple(x.shape))
