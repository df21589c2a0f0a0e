"""Minibatches by cell from a MuData whose modalities may differ in row order and in the cells they hold."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnTorchDataset
from torch import Tensor

from vennvi._keys import data_key, mask_key

logger = logging.getLogger("scvi.vennvi")

#: Backed rows are read as one slice if it holds no more than this many rows for each row wanted.
_DENSE_ROWS = 4
#: Rows looked at at a time for whether anything in them was measured.
_SUSPECTS = 4096


def obs_rows(mdata, modality: str) -> NDArray[np.int64]:
    """Row of every cell of the MuData in one modality, -1 where the cell is absent; shape ``(n_obs,)``.

    MuData's ``obsmap`` holds 1-based rows and 0 for absent cells.
    """
    return np.asarray(mdata.obsmap[modality]).ravel().astype(np.int64) - 1


def presence(mdata, modality: str, layer: str | None = None) -> NDArray[np.bool_]:
    """Whether each cell of the MuData has a modality: a row, and not one that is all NaN; shape ``(n_obs,)``."""
    rows = obs_rows(mdata, modality)
    has = rows >= 0
    adata = mdata[modality]
    matrix = adata.X if layer is None else adata.layers[layer]
    if sparse.issparse(matrix) or hasattr(matrix, "format") or np.dtype(matrix.dtype).kind != "f":
        return has
    suspects = np.flatnonzero(np.isnan(np.asarray(matrix[:, 0])))
    empty = np.zeros(adata.n_obs, dtype=bool)
    for start in range(0, len(suspects), _SUSPECTS):
        some = suspects[start : start + _SUSPECTS]
        empty[some] = np.isnan(np.asarray(matrix[some])).all(axis=1)
    has[has] = ~empty[rows[has]]
    return has


def cell_positions(n_obs: int, indices: Sequence[int] | NDArray | None) -> NDArray[np.int64]:
    """Positions of chosen cells, ``(n_chosen,)``: all of them, or by positions (negative ones from the end) or a boolean mask.

    Raises
    ------
    IndexError
        If a position is out of range, or a mask has not one entry a cell.

    Examples
    --------
    >>> cell_positions(4, [-1, 0]), cell_positions(4, [])
    (array([3, 0]), array([], dtype=int64))
    """
    everyone = np.arange(n_obs)
    if indices is None:
        return everyone
    chosen = np.asarray(indices)
    return np.atleast_1d(everyone[chosen if chosen.size else chosen.astype(np.int64)])


class MuDataset(AnnTorchDataset):
    """Minibatches by *cell*: row ``i`` of every tensor is the same cell, whatever the row order of its modality.

    A cell absent from a modality (or with NaN in all of it) is a row of zeros there, with ``mask_<modality>`` 0. A sparse modality stays
    sparse (a CSR tensor), a dense one keeps its NaN entries.

    Parameters
    ----------
    manager
        Manager with a registered MuData.
    indices
        Cells that make up the dataset; all of them by default.
    getitem_tensors
        Registry keys to load, all by default (see :class:`~scvi.data.AnnTorchDataset`).
    """

    def __init__(
        self,
        manager: AnnDataManager,
        indices: Sequence[int] | NDArray | None = None,
        getitem_tensors: list[str] | dict[str, type] | None = None,
    ):
        super().__init__(manager, getitem_tensors=getitem_tensors)
        _acknowledge_sparse_beta()  # here, where workers load the minibatches, this process makes no CSR tensor itself
        mdata = manager.adata
        self._cells = cell_positions(mdata.n_obs, indices)
        self._modality = {key: getattr(manager.data_registry[key], "mod_key", None) for key in self.keys_and_dtypes}
        modalities = manager.registry["setup_args"]["layers"]
        self._row = {m: obs_rows(mdata, m) for m in modalities}
        self._row |= {m: obs_rows(mdata, m) for m in self._modality.values() if m is not None and m not in self._row}
        self.modalities = tuple(modalities)
        self._unlabelled = _n_labels(manager)
        self._store = {key: _as_store(self.data[key], dtype) for key, dtype in self.keys_and_dtypes.items()}

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, indexes: int | slice | Sequence[int]) -> dict[str, NDArray | Tensor]:
        cells = np.atleast_1d(self._cells[indexes])
        batch: dict[str, NDArray | Tensor] = {}
        for key, dtype in self.keys_and_dtypes.items():
            modality = self._modality[key]
            rows = cells if modality is None else self._row[modality][cells]
            batch[key] = _take(self._store[key], rows, dtype)
            if key == REGISTRY_KEYS.LABELS_KEY and (rows < 0).any():  # in a modality that the cell lacks
                batch[key][rows < 0] = self._unlabelled
        for modality in self.modalities:
            present = self._row[modality][cells] >= 0
            x = batch.get(data_key(modality))
            if isinstance(x, np.ndarray) and (empty := _all_missing(x)).any():
                x[empty], present = 0.0, present & ~empty
            batch[mask_key(modality)] = present.astype(np.float32)[:, None]
        return batch

    def __getitems__(self, indexes: Sequence[int]) -> dict[str, NDArray | Tensor]:
        return self[indexes]


def _n_labels(manager: AnnDataManager) -> int:
    """Number of labels, which is the code of "not known"; 0 without labels."""
    if REGISTRY_KEYS.LABELS_KEY not in manager.data_registry:
        return 0
    state = manager.get_state_registry(REGISTRY_KEYS.LABELS_KEY)
    unlabelled = state.get("unlabeled_category")
    return sum(unlabelled is None or category != unlabelled for category in state["categorical_mapping"])


def _all_missing(x: NDArray) -> NDArray[np.bool_]:
    """Rows without any measured entry: such a cell lacks the modality, although it has a row there."""
    suspects = np.flatnonzero(np.isnan(x[:, 0]))
    missing = np.zeros(len(x), dtype=bool)
    missing[suspects] = np.isnan(x[suspects]).all(axis=1)
    return missing


def _as_store(data, dtype: type):
    """Make row access cheap: data frames as arrays, sparse matrices as CSR; backed data stay on disk."""
    if isinstance(data, pd.DataFrame | pd.Series):
        return data.to_numpy().astype(dtype, copy=False)
    return by_rows(data)


def by_rows(matrix):
    """A matrix whose rows are cheap to read: a sparse one in memory as CSR, a backed one as it is unless it is CSC."""
    if sparse.issparse(matrix):
        return matrix.tocsr()
    if getattr(matrix, "format", None) == "csc":
        logger.warning(
            "A backed matrix of shape %s is stored by column (CSC) and has to be read into memory as a whole: write it "
            "as CSR (`adata.X = adata.X.tocsr()`) to read it from disk.",
            matrix.shape,
        )
        return matrix.to_memory().tocsr()
    return matrix


def _take(store, rows: NDArray[np.int64], dtype: type) -> NDArray | Tensor:
    """Rows of a store as an array or a CSR tensor; a negative row reads as zeros."""
    present = rows >= 0
    complete = bool(present.all())
    values = _read(store, rows if complete else rows[present])
    if sparse.issparse(values):
        lengths = np.zeros(len(rows) + 1, dtype=np.int64)
        lengths[1:][present] = np.diff(values.indptr)
        return csr_tensor(np.cumsum(lengths), values.indices, values.data.astype(dtype, copy=False), values.shape[1])
    if complete:
        return values.astype(dtype, copy=False)
    out = np.zeros((len(rows), *values.shape[1:]), dtype=dtype)
    out[present] = values
    return out


def _read(store, rows: NDArray[np.int64]):
    """Rows of a store in the order asked for; HDF5 wants them increasing, each once."""
    if isinstance(store, np.ndarray) or sparse.issparse(store):
        return store[rows]
    wanted, inverse = np.unique(rows, return_inverse=True)
    if len(wanted) and wanted[-1] - wanted[0] < _DENSE_ROWS * len(wanted):  # one slice is read faster than many rows
        values, inverse = store[int(wanted[0]) : int(wanted[-1]) + 1], wanted[inverse] - wanted[0]
    else:
        values = store[wanted]
    values = values.tocsr() if sparse.issparse(values) else np.asarray(values)
    return values[inverse]


def csr_tensor(indptr: NDArray | Tensor, indices: NDArray | Tensor, values: NDArray | Tensor, n_columns: int) -> Tensor:
    """CSR tensor of shape ``(len(indptr) - 1, n_columns)`` around three arrays or tensors, without copying them."""
    _acknowledge_sparse_beta()
    return torch.sparse_csr_tensor(
        torch.as_tensor(indptr, dtype=torch.int64),
        torch.as_tensor(indices, dtype=torch.int64),
        torch.as_tensor(values),
        size=(len(indptr) - 1, n_columns),
        check_invariants=False,
    )


@cache
def _acknowledge_sparse_beta() -> None:
    """Torch warns once a process that CSR tensors are in beta; take that warning where nobody is looking."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1), check_invariants=False)
