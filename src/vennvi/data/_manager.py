"""The AnnDataManager of a MuData that may lack cells in some modalities."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck

from vennvi.data._dataset import MuDataset


class MuDataManager(AnnDataManager):
    """An :class:`~scvi.data.AnnDataManager` whose minibatches are cells of the union of all modalities."""

    def __init__(self, fields=None, setup_method_args=None, validation_checks=None):
        checks = validation_checks or AnnDataManagerValidationCheck(check_fully_paired_mudata=False)
        super().__init__(fields, setup_method_args, checks)

    def create_torch_dataset(
        self,
        indices: Sequence[int] | NDArray | None = None,
        data_and_attributes: list[str] | dict[str, type] | None = None,
        load_sparse_tensor: bool = False,
    ) -> MuDataset:
        """Dataset of the given cells; sparse modalities are always loaded sparse, so ``load_sparse_tensor`` is moot."""
        return MuDataset(self, indices, data_and_attributes)
