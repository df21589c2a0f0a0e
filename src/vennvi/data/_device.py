"""Data that fit are kept as tensors on the device that trains, so that a minibatch is a few gathers there."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from torch import Tensor

from vennvi._keys import data_key, mask_key
from vennvi._sparse import entries_of_rows
from vennvi.data._dataset import MuDataset, cell_positions, csr_tensor

#: Fraction of a device's free memory that the data may take.
_SHARE_OF_FREE = 0.4


@dataclass(frozen=True)
class CsrRows:
    """A sparse matrix on a device, of which rows are taken; row -1 is empty."""

    starts: Tensor
    lengths: Tensor
    columns: Tensor
    values: Tensor
    n_columns: int

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, dtype: type, device: torch.device) -> CsrRows:
        """Move a matrix to the device."""
        starts = np.append(matrix.indptr, matrix.indptr[-1:])[:-1]  # the last one belongs to row -1
        lengths = np.append(np.diff(matrix.indptr), 0)
        return cls(
            torch.as_tensor(starts, dtype=torch.int64, device=device),
            torch.as_tensor(lengths, dtype=torch.int64, device=device),
            torch.as_tensor(matrix.indices, dtype=torch.int64, device=device),
            torch.as_tensor(matrix.data.astype(dtype, copy=False), device=device),
            matrix.shape[1],
        )

    def take(self, rows: Tensor) -> Tensor:
        """CSR tensor of some rows, in their order."""
        bounds, entries = entries_of_rows(self.starts[rows], self.lengths[rows])
        columns, values = self.columns.index_select(0, entries), self.values.index_select(0, entries)
        return csr_tensor(bounds, columns, values, self.n_columns)


@dataclass(frozen=True)
class DenseRows:
    """An array on a device, of which rows are taken; row -1 is zeros."""

    values: Tensor

    @classmethod
    def of(cls, array: NDArray, dtype: type, device: torch.device) -> DenseRows:
        """Move an array to the device."""
        values = torch.as_tensor(np.require(array, dtype, ["C", "W"]), device=device)  # pandas gives read-only ones
        return cls(torch.cat([values, torch.zeros_like(values[:1])]))

    def take(self, rows: Tensor) -> Tensor:
        """Some rows, in their order."""
        return self.values[rows]


class DeviceMuDataset(MuDataset):
    """The minibatches of :class:`~vennvi.data._dataset.MuDataset`, made on a device from data that are kept there.

    Parameters
    ----------
    manager, indices, getitem_tensors
        As there. The data must be in memory.
    device
        Where the data are kept.
    """

    def __init__(
        self,
        manager: AnnDataManager,
        indices: Sequence[int] | NDArray | None = None,
        getitem_tensors: list[str] | dict[str, type] | None = None,
        *,
        device: torch.device,
    ):
        super().__init__(manager, indices, getitem_tensors)
        self._place = torch.as_tensor(self._cells, device=device)
        self._rows_of = {m: torch.as_tensor(rows, device=device) for m, rows in self._row.items()}
        self._kept = {
            key: (CsrRows if sparse.issparse(store) else DenseRows).of(store, self.keys_and_dtypes[key], device)
            for key, store in self._store.items()
        }
        self._store = {}
        if isinstance(labels := self._kept.get(REGISTRY_KEYS.LABELS_KEY), DenseRows):
            labels.values[-1] = self._unlabelled  # of cells that lack the modality of the labels
        self._present = {m: rows >= 0 for m, rows in self._rows_of.items()}
        for m in self.modalities:  # a cell with nothing but NaN lacks the modality
            kept = self._kept.get(data_key(m))
            if isinstance(kept, DenseRows):
                empty = kept.values.isnan().all(-1)
                kept.values[empty] = 0.0
                self._present[m] &= ~empty[self._rows_of[m]]

    def with_cells(self, indices: Sequence[int] | NDArray | None) -> DeviceMuDataset:
        """Dataset of other cells of the same data, which are not copied."""
        other = copy.copy(self)
        other._cells = cell_positions(len(self._rows_of[self.modalities[0]]), indices)
        other._place = torch.as_tensor(other._cells, device=self._place.device)
        return other

    def release(self) -> None:
        """Let the data go, of this dataset and of all others of the same data: a trainer holds its datasets for longer."""
        for held in (self._kept, self._rows_of, self._present):
            held.clear()

    def __getitem__(self, indexes: int | slice | Sequence[int]) -> dict[str, NDArray | Tensor]:
        chosen = (
            indexes if isinstance(indexes, slice) else torch.as_tensor(np.atleast_1d(indexes)).to(self._place.device)
        )
        cells = self._place[chosen]
        batch: dict[str, NDArray | Tensor] = {}
        for key, kept in self._kept.items():
            modality = self._modality[key]
            batch[key] = kept.take(cells if modality is None else self._rows_of[modality][cells])
        for m in self.modalities:
            batch[mask_key(m)] = self._present[m][cells].float().unsqueeze(-1)
        return batch


def fits(dataset: MuDataset, device: torch.device) -> bool:
    """Whether data in memory would leave most of a GPU's free memory free; never for a CPU, where nothing is gained."""
    if device.type != "cuda":
        return False
    stores = dataset._store.values()
    if not all(isinstance(store, np.ndarray) or sparse.issparse(store) for store in stores):
        return False
    n_bytes = sum(12 * store.nnz if sparse.issparse(store) else 4 * store.size for store in stores)
    return n_bytes < _SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]
