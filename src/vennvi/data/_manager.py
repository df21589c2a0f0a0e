"""The AnnDataManager of a MuData that may lack cells in some modalities."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mudata import MuData
from numpy.typing import NDArray
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck

from vennvi.data._dataset import MuDataset
from vennvi.data._device import DeviceMuDataset, fits


class MuDataManager(AnnDataManager):
    """An :class:`~scvi.data.AnnDataManager` whose minibatches are cells of the union of all modalities."""

    def __init__(self, fields=None, setup_method_args=None, validation_checks=None):
        checks = validation_checks or AnnDataManagerValidationCheck(check_fully_paired_mudata=False)
        super().__init__(fields, setup_method_args, checks)
        self._device: torch.device | None = None
        self._on_device: DeviceMuDataset | None = None

    def register_fields(self, adata: MuData, source_registry: dict | None = None, **transfer_kwargs) -> None:
        """Register the fields with a MuData; CSC matrices are welcome, since :class:`MuDataset` turns them into CSR."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Training will be faster when sparse matrix is formatted as CSR")
            super().register_fields(adata, source_registry, **transfer_kwargs)

    @contextmanager
    def kept_on(self, device: torch.device) -> Iterator[None]:
        """Within this context, datasets keep their data on the device if they fit there, all in one copy."""
        self._device = device
        try:
            yield
        finally:
            if self._on_device is not None:
                self._on_device.release()
            self._device = self._on_device = None

    def create_torch_dataset(
        self,
        indices: Sequence[int] | NDArray | None = None,
        data_and_attributes: list[str] | dict[str, type] | None = None,
        load_sparse_tensor: bool = False,
    ) -> MuDataset:
        """Dataset of the given cells; sparse modalities are always loaded sparse, so ``load_sparse_tensor`` is moot."""
        if self._on_device is not None and data_and_attributes is None:
            return self._on_device.with_cells(indices)
        dataset = MuDataset(self, indices, data_and_attributes)
        if self._device is None or data_and_attributes is not None or not fits(dataset, self._device):
            return dataset
        self._on_device = DeviceMuDataset(self, indices, device=self._device)
        return self._on_device
