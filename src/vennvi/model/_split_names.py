"""The split by the names of the cells, so that it holds for whatever data the model is given later."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray
from scvi.model.base import BaseModelClass

from vennvi.data._name_hashes import name_hashes, positions_of
from vennvi.model._query import check_as_set_up
from vennvi.model._validate import check_modalities, check_mudata

if TYPE_CHECKING:
    from vennvi.data import AnnbatchMuDataModule

logger = logging.getLogger("scvi.vennvi")

_SPLITS = ("train", "validation", "test")


class SplitNamesMixin:
    """Training, validation and test cells are remembered by name, and found again in other data."""

    #: Hashes of the names of each split's cells and of those ``"left_out"`` of all, saved with the model.
    split_names_: dict[str, NDArray[np.uint64]] | None = None
    #: Names of the cells that the positions of the split are of.
    _split_index: pd.Index | None = None

    def _name_split(self, data: MuData | AnnbatchMuDataModule) -> None:
        """Remember the split of the data that the model was trained on."""
        hashes = name_hashes(data.obs_names) if isinstance(data, MuData) else data.name_hashes()
        left_out = np.ones(len(hashes), dtype=bool)
        names = {}
        for split, cells in self._split_positions().items():
            left_out[cells] = False
            names[split] = hashes[cells]
        if self.split_names_ is not None:
            self._warn_of_cells_seen(np.concatenate([names["validation"], names["test"], hashes[left_out]]))
        self.split_names_ = {**names, "left_out": hashes[left_out]}
        self._split_index = data.obs_names if isinstance(data, MuData) else None

    def _warn_of_cells_seen(self, held_out: NDArray[np.uint64]) -> None:
        """Say so if cells that are held out now were trained on before."""
        seen = int(np.isin(held_out, self.split_names_["train"]).sum())  # type: ignore[index]
        if seen:
            logger.warning(
                "%d of the %d held-out cells were trained on before, with another split, and flatter the model. To keep a split, "
                "pass `datasplitter_kwargs={'external_indexing': [model.train_indices, model.validation_indices, "
                "model.test_indices]}`.",
                seen,
                len(held_out),
            )

    def _follow_cells(self) -> None:
        """Find the split again if cells of the model's own data were removed, added or reordered since."""
        data = self.adata
        if data is not None and self._split_index is not None and not self._split_index.equals(data.obs_names):
            self._find_split()

    def _find_split(self) -> None:
        """Turn the split into positions in the data that the model now has; cells that are new to it are test cells."""
        data, names = self.adata, self.split_names_
        if data is None or self.train_indices is None:  # type: ignore[attr-defined]
            return
        if names is None:
            found = self._split_by_position(data.n_obs)
        else:
            hashes = name_hashes(data.obs_names)
            found = {split: positions_of(wanted, hashes) for split, wanted in names.items()}
        new = np.setdiff1d(np.arange(data.n_obs), np.concatenate(list(found.values())))
        found["test"] = np.concatenate([found["test"], new])
        if len(new):
            logger.info("%d of the %d cells are new to the model, by their names.", len(new), data.n_obs)
        for split in _SPLITS:
            setattr(self, f"{split}_indices", found[split])
        self._split_index = data.obs_names

    def _split_positions(self) -> dict[str, NDArray[np.int64]]:
        splits = {split: getattr(self, f"{split}_indices") for split in _SPLITS}
        return {
            split: np.asarray([] if cells is None else cells, dtype=np.int64).ravel() for split, cells in splits.items()
        }

    def _split_by_position(self, n_obs: int) -> dict[str, NDArray[np.int64]]:
        """The split of a model that was saved without names: as it is, if it is of as many cells."""
        found = self._split_positions()
        n_split = sum(map(len, found.values()))
        if n_split == n_obs:
            return found
        logger.warning(
            "The model was saved without the names of its %d cells, by an earlier vennvi: which of these %d it was trained "
            "on is not known, and all of them count as held out.",
            n_split,
            n_obs,
        )
        return {split: np.empty(0, dtype=np.int64) for split in found}

    @property
    def adata(self) -> MuData | None:
        """The model's own data; setting others finds the held-out cells among them by name."""
        return super().adata  # type: ignore[misc]

    @adata.setter
    def adata(self, mdata: MuData) -> None:
        check_mudata(mdata)
        check_modalities(mdata, self.registry["setup_args"]["layers"])  # type: ignore[attr-defined]
        BaseModelClass.adata.fset(self, mdata)
        self._find_split()

    @classmethod
    def load(cls, dir_path, adata=None, accelerator="auto", device="auto", prefix=None, *args, **kwargs):
        """Load a model, as :meth:`scvi.model.base.BaseModelClass.load`.

        Cells of ``adata`` count as trained on or held out by their names, in whatever order they come; cells with other
        names are test cells. Without data (``adata=False``), methods take a MuData each and never keep it.

        Parameters
        ----------
        dir_path, adata, accelerator, device, prefix, *args, **kwargs
            As in scvi-tools, ``backup_url`` among the others.

        Raises
        ------
        TypeError
            If ``adata`` is no MuData; for a ``datamodule``, of which a model takes minibatches later.
        KeyError, ValueError
            If ``adata`` is not organised as the data that the model was set up with, its variables in their order.
        """
        if kwargs.pop("datamodule", None) is not None:
            raise TypeError(
                "`load` takes no `datamodule`: load the model with `adata=False`, and give its methods "
                "`dataloader=datamodule.inference_dataloader()`."
            )
        if adata is not None and adata is not False:
            check_mudata(adata)
        if isinstance(adata, MuData) and Path(dir_path).is_dir():
            registry = BaseModelClass.load_registry(dir_path, prefix)
            check_modalities(adata, registry["setup_args"]["layers"])
            check_as_set_up(adata, registry, list(registry["setup_args"]["layers"]))
        model = super().load(dir_path, adata, accelerator, device, prefix, *args, **kwargs)  # type: ignore[misc]
        model._find_split()
        return model
