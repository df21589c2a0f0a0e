"""Arithmetic on CSR minibatches without making them dense."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from vennvi._runs import Runs, take_runs


def is_sparse(x: Tensor) -> bool:
    """Whether a minibatch is a CSR tensor."""
    return x.layout == torch.sparse_csr


def row_of_entry(x: Tensor) -> Tensor:
    """Row index of every stored entry of a CSR tensor, shape ``(nnz,)``."""
    starts = x.crow_indices()
    return torch.repeat_interleave(starts.diff(), output_size=x.values().shape[0])


def row_sums(x: Tensor) -> Tensor:
    """Sum of each row, NaN entries left out, shape ``(n, 1)``; dense or CSR."""
    if is_sparse(x):
        return x.values().new_zeros(x.shape[0]).index_add_(0, row_of_entry(x), x.values()).unsqueeze(-1)
    return x.nansum(-1, keepdim=True)


def with_values(x: Tensor, values: Tensor) -> Tensor:
    """A CSR tensor with the same pattern and other values."""
    return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, size=x.shape, check_invariants=False)


def to_dense(x: Tensor, runs: Runs | None = None) -> Tensor:
    """Dense minibatch, or some columns of it; dense or CSR."""
    dense = x.to_dense() if is_sparse(x) else x
    return dense if runs is None else take_runs(dense, runs, -1)


def as_scipy(x: Tensor) -> sparse.csr_array:
    """The same minibatch for scipy, without a copy of its values; of a CPU."""
    parts = (x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy())
    return sparse.csr_array(parts, shape=tuple(x.shape))


@dataclass(frozen=True)
class Entries:
    """Stored entries of a matrix on a CPU, none twice."""

    rows: Tensor
    """Row of each entry, shape ``(n_stored,)``."""
    place: Tensor
    """Its place in the dense matrix, row after row, shape ``(n_stored,)``."""
    values: Tensor
    """Shape ``(n_stored,)``."""
    shape: tuple[int, int]
    """Of the matrix."""

    def dense(self) -> Tensor:
        """The matrix."""
        return self.add_to(torch.zeros(self.shape))

    def add_to(self, x: Tensor) -> Tensor:
        """Add the matrix to each of some contiguous ones, shape ``(..., n, d)``, in place."""
        for flat in self._flat(x):
            flat.index_add_(0, self.place, self.values)
        return x

    def row_sums(self) -> Tensor:
        """Sum of each row, shape ``(n,)``."""
        return self.values.new_zeros(self.shape[0]).index_add_(0, self.rows, self.values)

    def dot(self, x: Tensor) -> Tensor:
        """Inner product of each row with that of other, contiguous matrices: ``(..., n, d)`` to ``(..., n)``."""
        products = [
            x.new_zeros(self.shape[0]).index_add_(0, self.rows, flat.index_select(0, self.place) * self.values)
            for flat in self._flat(x)
        ]
        return torch.stack(products).view(x.shape[:-1])

    def _flat(self, x: Tensor) -> tuple[Tensor, ...]:
        """Each of some matrices as one row, also where they have none."""
        return x.view(x.shape[:-2].numel(), self.shape[0] * self.shape[1]).unbind()


class SparseColumns:
    """A CSR minibatch on a CPU, of which blocks of columns are made dense one after the other.

    Parameters
    ----------
    matrix
        Sparse by column, shape ``(n, n_features)``.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> columns = SparseColumns(sparse.csc_array(np.eye(3, dtype=np.float32)))
    >>> columns[:, 1:3]
    tensor([[0., 0.],
            [1., 0.],
            [0., 1.]])
    """

    def __init__(self, matrix: sparse.csc_array):
        self.matrix = matrix
        self._column = np.repeat(np.arange(matrix.shape[1], dtype=matrix.indices.dtype), np.diff(matrix.indptr))

    @classmethod
    def of(cls, x: Tensor, runs: Runs | None = None) -> SparseColumns:
        """Read a CSR tensor by columns: by all, or by some."""
        matrix = as_scipy(x).tocsc()
        return cls(matrix if runs is None else sparse.hstack([matrix[:, run] for run in runs], format="csc"))

    def __getitem__(self, key: tuple[slice, slice]) -> Tensor:
        """All rows of some adjacent columns, dense."""
        return self.block(key[1]).dense()

    def block(self, columns: slice) -> Entries:
        """All rows of some adjacent columns, as the entries that are stored."""
        start, stop, _ = columns.indices(self.matrix.shape[1])
        stored = slice(self.matrix.indptr[start], self.matrix.indptr[stop])
        rows = self.matrix.indices[stored].astype(np.int64)
        place = rows * (stop - start)
        place += self._column[stored]
        place -= start
        values = torch.from_numpy(self.matrix.data[stored])
        return Entries(torch.from_numpy(rows), torch.from_numpy(place), values, (self.matrix.shape[0], stop - start))

    def rows(self, chosen: Tensor) -> SparseColumns:
        """Some cells only."""
        return SparseColumns(self.matrix[chosen.numpy()])
