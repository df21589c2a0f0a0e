"""One matrix from minibatches, without a second copy of a dense one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from vennvi._sparse import is_sparse


class GatheredRows:
    """Some rows of every minibatch: dense ones are written where they stay, in float32, sparse ones stacked at the end.

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
        self._sparse: list[sparse.csr_array] = []

    def add(self, x: Tensor, rows: NDArray[np.integer]) -> None:
        """Take rows of a minibatch, dense or CSR."""
        if is_sparse(x):
            self._sparse.append(lean_csr(x.cpu())[rows])
            return
        if self._dense is None:
            self._dense = np.empty((self._n_rows, x.shape[1]), dtype=np.float32)
        stop = self._n_dense + len(rows)
        self._dense[self._n_dense : stop] = x[torch.as_tensor(rows, device=x.device)].cpu().numpy()
        self._n_dense = stop

    def matrix(self) -> NDArray[np.float32] | sparse.csr_array:
        """All rows taken; asked for once."""
        if self._dense is not None:
            return self._dense[: self._n_dense]
        return self._stacked()

    def _stacked(self) -> sparse.csr_array:
        """The sparse rows below each other; each minibatch is let go when its entries have moved, so that none is held twice."""
        parts, self._sparse = self._sparse[::-1], []
        lengths = np.concatenate([np.diff(part.indptr) for part in reversed(parts)])
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        n_columns, values, columns = parts[0].shape[1], np.empty(starts[-1], np.float32), np.empty(starts[-1], np.int32)
        done = 0
        while parts:
            part = parts.pop()
            place = slice(done, done + part.nnz)
            values[place], columns[place], done = part.data, part.indices, place.stop
        if starts[-1] <= np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        return sparse.csr_array((values, columns, starts), shape=(len(lengths), n_columns))


def lean_csr(x: Tensor) -> sparse.csr_array:
    """A CSR tensor on a CPU as a matrix with small indices: many minibatches are held at once."""
    parts = (x.values().numpy(), x.col_indices().numpy().astype(np.int32), x.crow_indices().numpy().astype(np.int32))
    return sparse.csr_array(parts, shape=tuple(x.shape))
