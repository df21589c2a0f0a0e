"""Arithmetic on CSR minibatches without making them dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vennvi._runs import Runs, take_runs


def is_sparse(x: Tensor) -> bool:
    """Whether a minibatch is a CSR tensor."""
    return x.layout == torch.sparse_csr


@dataclass(frozen=True)
class ByColumn:
    """The stored entries of a matrix, column after column."""

    order: Tensor
    """Place of each entry in the order of the rows, shape ``(n_stored,)``."""
    rows: Tensor
    """Row of each entry, shape ``(n_stored,)``."""
    starts: NDArray[np.integer]
    """First entry of each column, and the number of all, shape ``(n_columns + 1,)``."""


class Pattern:
    """Where the stored entries of a CSR tensor are (its ``starts`` and ``columns``), looked up once a minibatch.

    Examples
    --------
    >>> from vennvi.data._dataset import csr_tensor
    >>> x = csr_tensor([0, 2, 3], [0, 2, 1], torch.tensor([5.0, 6.0, 7.0]), 3)
    >>> pattern_of(x).rows
    tensor([0, 0, 1])
    >>> by_column = pattern_of(x).by_column
    >>> x.values()[by_column.order], by_column.starts.tolist()
    (tensor([5., 7., 6.]), [0, 1, 2, 3])
    """

    def __init__(self, x: Tensor):
        self.starts, self.columns, self._shape = x.crow_indices(), x.col_indices(), tuple(x.shape)

    @cached_property
    def rows(self) -> Tensor:
        """Row of every stored entry, row after row, shape ``(n_stored,)``."""
        with torch.inference_mode(False):  # what is looked up while reading may be needed in training
            return torch.repeat_interleave(self.starts.diff(), output_size=len(self.columns))

    @cached_property
    def by_column(self) -> ByColumn:
        """The entries column after column; of a CPU."""
        # a minibatch is small: indices of 32 bits do, of which the result is then
        numbers = np.arange(len(self.columns), dtype=np.int32)
        parts = (numbers, *(each.numpy().astype(np.int32) for each in (self.columns, self.starts)))
        matrix = sparse.csr_array(parts, shape=self._shape).tocsc()
        with torch.inference_mode(False):
            return ByColumn(torch.from_numpy(matrix.data), torch.from_numpy(matrix.indices), matrix.indptr)


_PATTERNS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@torch.compiler.disable  # a look-up: nothing to trace
def pattern_of(x: Tensor) -> Pattern:
    """Where the entries of a CSR tensor are; the same object as long as there is a tensor of this pattern."""
    if (pattern := _PATTERNS.get(x)) is None:
        pattern = _PATTERNS[x] = Pattern(x)
    return pattern


@torch.compiler.disable
def with_values(x: Tensor, values: Tensor) -> Tensor:
    """A CSR tensor with the same pattern and other values."""
    other = torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, size=x.shape, check_invariants=False)
    _PATTERNS[other] = pattern_of(x)
    return other


def entries_of_rows(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Where the stored entries of some rows are, given the first entry of each row and its number of entries, ``(n,)`` both.

    Returns
    -------
    Bounds of the rows among the entries found, ``(n + 1,)``; and the places of these, row after row, ``(n_found,)``.

    Examples
    --------
    >>> entries_of_rows(torch.tensor([5, 0]), torch.tensor([2, 1]))
    (tensor([0, 2, 3]), tensor([5, 6, 0]))
    """
    bounds = torch.zeros(len(starts) + 1, dtype=torch.int64, device=starts.device)
    torch.cumsum(lengths, 0, out=bounds[1:])
    n_stored = int(bounds[-1])
    shift = torch.repeat_interleave(starts - bounds[:-1], lengths, output_size=n_stored)
    return bounds, shift.add_(torch.arange(n_stored, device=starts.device))


@torch.compiler.disable
def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """CSR tensor ``(len(rows), n_columns)`` of some rows of another, in their order.

    Examples
    --------
    >>> from vennvi.data._dataset import csr_tensor
    >>> x = csr_tensor([0, 2, 2, 3], [0, 2, 1], torch.tensor([5.0, 6.0, 7.0]), 3)
    >>> take_rows(x, torch.tensor([2, 0])).to_dense()
    tensor([[0., 7., 0.],
            [5., 0., 6.]])
    """
    starts = x.crow_indices()
    bounds, entries = entries_of_rows(starts[rows], starts.diff()[rows])
    columns, values = (each.index_select(0, entries) for each in (x.col_indices(), x.values()))
    return torch.sparse_csr_tensor(bounds, columns, values, size=(len(rows), x.shape[1]), check_invariants=False)


def row_sums(x: Tensor) -> Tensor:
    """Sum of each row, NaN entries left out, shape ``(n, 1)``; dense or CSR."""
    if is_sparse(x):
        return torch.segment_reduce(x.values(), "sum", offsets=x.crow_indices()).unsqueeze(-1)
    return x.nansum(-1, keepdim=True)


def to_dense(x: Tensor, runs: Runs | None = None) -> Tensor:
    """Dense minibatch, or some columns of it; dense or CSR."""
    dense = x.to_dense() if is_sparse(x) else x
    return dense if runs is None else take_runs(dense, runs, -1)


@dataclass(frozen=True)
class SparseColumns:
    """The stored entries of a minibatch on a CPU, column after column, none twice.

    Examples
    --------
    >>> from vennvi.data._dataset import csr_tensor
    >>> x = csr_tensor([0, 2, 3], [0, 2, 1], torch.tensor([5.0, 6.0, 7.0]), 3)
    >>> SparseColumns.of(x, [slice(1, 3)]).dense()
    tensor([[0., 6.],
            [7., 0.]])
    """

    values: Tensor
    """Shape ``(n_stored,)``."""
    rows: Tensor
    """Row of each entry, shape ``(n_stored,)``."""
    starts: NDArray[np.integer]
    """First entry of each column, and the number of all, shape ``(n_columns + 1,)``."""
    shape: tuple[int, int]
    """Cells and columns."""

    @classmethod
    def of(cls, x: Tensor, runs: Runs | None = None) -> SparseColumns:
        """Read a CSR tensor by columns: all of them, or some."""
        every = pattern_of(x).by_column
        order, rows, starts = every.order, every.rows, every.starts
        if runs is not None:
            stored = [slice(starts[run.start], starts[run.stop]) for run in runs]
            order, rows = (torch.cat([entries[some] for some in stored]) for entries in (order, rows))
            lengths = np.diff(starts)
            starts = np.append(0, np.cumsum(np.concatenate([lengths[run] for run in runs])))
        return cls(x.values().index_select(0, order), rows, starts, (x.shape[0], len(starts) - 1))

    @property
    def columns(self) -> Tensor:
        """Column of each entry, shape ``(n_stored,)``."""
        lengths = torch.from_numpy(np.diff(self.starts))
        return torch.repeat_interleave(lengths, output_size=len(self.values))

    def dense(self) -> Tensor:
        """The minibatch, shape ``(n, n_columns)``."""
        dense = self.values.new_zeros(self.shape)
        dense[self.rows, self.columns] = self.values
        return dense

    @torch.compiler.disable
    def of_rows(self, chosen: Tensor) -> SparseColumns:
        """The entries of some rows, each named once."""
        place = torch.full((self.shape[0],), -1).index_copy_(0, chosen, torch.arange(len(chosen)))
        rows = place[self.rows]
        kept = rows >= 0
        n_before = np.append(0, np.cumsum(kept.numpy()))
        return SparseColumns(self.values[kept], rows[kept], n_before[self.starts], (len(chosen), self.shape[1]))

    def in_blocks(self, blocks: Sequence[slice], n_terms: int) -> EntriesInBlocks:
        """Find the entries in blocks of columns that follow each other."""
        return EntriesInBlocks(self, blocks, n_terms)


class EntriesInBlocks:
    """Stored entries where a pass over blocks of columns meets them: in outputs of shape ``(n_block, n_terms, n)``.

    Parameters
    ----------
    columns
        The entries.
    blocks
        Columns, all of them or some that follow each other, block by block.
    n_terms
        Outputs of each entry.
    """

    def __init__(self, columns: SparseColumns, blocks: Sequence[slice], n_terms: int):
        starts, self._n = columns.starts, columns.shape[0]
        first, last = (blocks[0].start, blocks[-1].stop) if blocks else (0, 0)
        stored = slice(int(starts[first]), int(starts[last]))
        self._first, self._starts = first, starts[first : last + 1] - stored.start
        self._values, self._rows = columns.values[stored], columns.rows[stored]
        before = np.repeat([block.start for block in blocks], [block.stop - block.start for block in blocks])
        place = (torch.arange(first, last) - torch.from_numpy(before)).mul_(n_terms * self._n)
        lengths = torch.from_numpy(np.diff(self._starts))
        self._place = torch.repeat_interleave(place, lengths, output_size=len(self._values)).add_(self._rows)
        self._read = self._values.new_empty(n_terms, len(self._values))

    def block(self, columns: slice) -> Entries:
        """The entries of one block."""
        start, stop = (int(self._starts[column - self._first]) for column in (columns.start, columns.stop))
        stored = slice(start, stop)
        return Entries(self._place[stored], self._values[stored], self._read[:, stored], self._n)

    def dot(self) -> Tensor:
        """Sum over a cell's entries of their values times what was read of the outputs, ``(n_terms, n)``."""
        products = self._read.mul_(self._values)
        total = products.new_zeros(len(products), self._n)
        # term by term: by indices of 32 bits, torch takes 20 times as long over all at once
        for of_term, product in zip(total, products, strict=True):
            of_term.index_add_(0, self._rows, product)
        return total


@dataclass(frozen=True)
class Entries:
    """Stored entries of a block of columns."""

    place: Tensor
    """Place of each in the outputs of the first term, shape ``(n_stored,)``."""
    values: Tensor
    """Shape ``(n_stored,)``."""
    outputs: Tensor
    """What :meth:`read` found, shape ``(n_terms, n_stored)``."""
    n: int
    """Cells."""

    def read(self, outputs: Tensor) -> None:
        """Remember the outputs at the entries, for :meth:`EntriesInBlocks.dot`; contiguous, ``(n_block, n_terms, n)``."""
        for found, flat in zip(self.outputs, self._of_terms(outputs), strict=True):
            torch.index_select(flat, 0, self.place, out=found)

    def add_to(self, outputs: Tensor) -> Tensor:
        """Add the values to the outputs of each term at the entries, in place."""
        for flat in self._of_terms(outputs):
            flat.index_add_(0, self.place, self.values)
        return outputs

    def _of_terms(self, outputs: Tensor) -> list[Tensor]:
        flat = outputs.view(-1)
        return [flat[term * self.n :] for term in range(len(self.outputs))]
