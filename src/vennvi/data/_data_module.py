"""Training from disk: the Lightning data module over a collection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from scvi import settings
from torch import Tensor

from vennvi.data._collection import Collection
from vennvi.data._dataset import cell_positions

if TYPE_CHECKING:
    from vennvi.data._row_sampler import RowSampler


class AnnbatchMuDataModule(LightningDataModule):
    """Minibatches of all modalities straight from disk, read by annbatch from a collection.

    The memory it needs is that of ``chunk_size * preload_nchunks`` cells, and 8 bytes a cell and sparse modality for where its
    entries are. Minibatches are those of a MuData in memory: one row a cell in every modality, sparse where the data
    are, with their masks, labels, covariates and size factors.

    Pass it to ``Model(registry=datamodule.registry)`` and to ``model.train(datamodule=datamodule)``, which also splits
    it: whole blocks of neighbouring cells are held out, one in a hundred cells or ``chunk_size`` long, whichever is
    shorter. ``train_idx``, ``val_idx`` and ``test_idx`` are rows of the collection, which are the MuData's cells in the order of
    :attr:`obs_names`.

    Parameters
    ----------
    path
        Folder that :func:`write_collection` wrote.
    batch_size
        Cells in a minibatch.
    shuffle
        Whether to shuffle the training cells, differently in each epoch: blocks of ``chunk_size`` neighbours come in random
        order, and minibatches are drawn from as many as are in memory.
    external_indexing
        Rows to train on, to validate on and to test on, instead of a split; as in :class:`~scvi.dataloaders.DataSplitter`,
        ``None`` and what is left out are no rows.
    chunk_size
        Neighbouring cells that are read together.
    preload_nchunks
        Blocks of cells in memory at a time.
    seed
        Seed of the split and of the shuffling, ``scvi.settings.seed`` by default.

    Raises
    ------
    ImportError
        If annbatch is not installed: it is the extra ``ondisk``, for Python 3.12 or newer.
    FileNotFoundError, ValueError
        If ``path`` is no collection.
    IndexError, ValueError
        If ``external_indexing`` names a cell that there is not, or one twice, or has more than three parts.

    Examples
    --------
    >>> import tempfile, vennvi
    >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
    >>> path = vennvi.data.write_collection(mdata, tempfile.mkdtemp() + "/multiome.zarr", batch_key="batch")
    >>> datamodule = vennvi.data.AnnbatchMuDataModule(path)
    >>> model = vennvi.VennVI(registry=datamodule.registry, n_shared=3, n_private=2)
    >>> model.train(max_epochs=1, datamodule=datamodule, accelerator="cpu", enable_progress_bar=False)
    >>> model.get_latent_representation(dataloader=datamodule.inference_dataloader()).shape
    (100, 3)
    """

    def __init__(
        self,
        path: Path | str,
        batch_size: int = 128,
        shuffle: bool = True,
        external_indexing: Sequence[Sequence[int] | NDArray | None] | None = None,
        chunk_size: int = 128,
        preload_nchunks: int = 32,
        seed: int | None = None,
    ):
        super().__init__()
        for name, value in (
            ("batch_size", batch_size),
            ("chunk_size", chunk_size),
            ("preload_nchunks", preload_nchunks),
        ):
            if value < 1:
                raise ValueError(f"`{name}` is {value}: it must be at least 1.")
        self._collection = Collection(path)
        self.batch_size, self.shuffle, self.chunk_size, self.preload_nchunks = (
            batch_size,
            shuffle,
            chunk_size,
            preload_nchunks,
        )
        self._seed = int(seed if seed is not None else (settings.seed or 0))
        self._external = None if external_indexing is None else _three_parts(external_indexing, self.n_obs)
        self.set_split(train_size=1.0)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._collection.n_obs

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return self._collection.modalities

    @property
    def registry(self) -> dict:
        """What a model is made from: ``Model(registry=datamodule.registry)``."""
        return self._collection.registry

    @property
    def obs(self) -> pd.DataFrame:
        """Labels and covariates, cell by cell; read anew each time."""
        return self._collection.obs()

    @property
    def obs_names(self) -> pd.Index:
        """Names of the cells, in the order of the rows; read anew each time."""
        return self._collection.obs_names()

    def name_hashes(self) -> NDArray[np.uint64]:
        """Hashes of the names of the cells, by which a model remembers its split; read anew each time."""
        return self._collection.name_hashes()

    def presence(self, modality: str) -> NDArray[np.bool_]:
        """Whether each cell has the modality, shape ``(n_obs,)``."""
        return self._collection.presence(modality)

    # ------------------------------------------------------------------------------------------------------ splitting
    def set_split(
        self,
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        batch_size: int | None = None,
    ) -> None:
        """Split the cells, unless ``external_indexing`` did; ``model.train`` calls it with its own arguments.

        Parameters
        ----------
        train_size, validation_size
            Fractions of the cells, by default 0.9 and what is left; cells in neither are test cells.
        shuffle_set_split
            Whether to hold out blocks at random, or else the first cells.
        batch_size
            Cells in a minibatch, unchanged by default.

        Raises
        ------
        ValueError
            If the fractions are not between 0 and 1, or are more than 1 together.
        """
        self.set_batch_size(batch_size)
        if self._external is not None:
            self.train_idx, self.val_idx, self.test_idx = self._external
        else:
            train_size = 0.9 if train_size is None else train_size
            rest = 1 - train_size if validation_size is None else validation_size
            if not 0 < train_size <= 1 or not 0 <= rest <= 1 or train_size + rest > 1 + 1e-9:
                raise ValueError(
                    f"`train_size` {train_size} and `validation_size` {validation_size} must be fractions of the cells, "
                    "not more than 1 together."
                )
            n_train = math.ceil(train_size * self.n_obs)
            n_val = self.n_obs - n_train if validation_size is None else math.floor(rest * self.n_obs)
            n_val = min(n_val, self.n_obs - n_train)
            order = np.arange(self.n_obs)
            if shuffle_set_split:
                block = min(self.chunk_size, max(self.n_obs // 100, 1))
                blocks = np.split(order, np.arange(block, self.n_obs, block))
                chosen = np.random.default_rng(self._seed).permutation(len(blocks))
                order = np.concatenate([blocks[i] for i in chosen])
            self.val_idx, self.train_idx, self.test_idx = (
                np.sort(part) for part in np.split(order, [n_val, n_val + n_train])
            )
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)
        self.train_size = self.n_train / max(self.n_obs, 1)

    @property
    def data_loader_kwargs(self) -> dict[str, int]:
        """What minibatches are made by: what scvi-tools' MLflow logger writes down of a data module."""
        return {name: getattr(self, name) for name in ("batch_size", "chunk_size", "preload_nchunks")}

    @property
    def has_training_cells(self) -> bool:
        """Whether there is any cell to train on."""
        return self._external is None or len(self._external[0]) > 0

    def set_batch_size(self, batch_size: int | None = None) -> None:
        """Change the number of cells in a minibatch."""
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size}: it must be at least 1.")
        self.batch_size = self.batch_size if batch_size is None else batch_size

    # -------------------------------------------------------------------------------------------------------- loading
    def train_dataloader(self) -> _Batches:
        """Minibatches of the training cells."""
        return self._batches(self.train_idx, self.batch_size, self._seed if self.shuffle else None, shared=True)

    def val_dataloader(self) -> _Batches | list:
        """Minibatches of the validation cells, in order."""
        return self._batches(self.val_idx, self.batch_size, shared=True) if self.n_val else []

    def inference_dataloader(
        self, indices: Sequence[int] | NDArray | None = None, batch_size: int | None = None
    ) -> _Batches:
        """Minibatches of given rows in their order, all by default: the ``dataloader`` of ``get_latent_representation``.

        Parameters
        ----------
        indices
            Rows of the collection, as positions or a mask.
        batch_size
            Cells in a minibatch, ``scvi.settings.batch_size`` by default.
        """
        return self._batches(cell_positions(self.n_obs, indices), batch_size or settings.batch_size)

    def _batches(
        self, rows: NDArray[np.int64], batch_size: int, seed: int | None = None, shared: bool = False
    ) -> _Batches:
        from vennvi.data._row_sampler import RowSampler

        pool = self.chunk_size * self.preload_nchunks
        return _Batches(self._collection, RowSampler(rows, batch_size, self.chunk_size, pool, seed, shared))


class _Batches:
    """Minibatches of a collection in the order of a sampler, whose next epoch begins with every iteration."""

    def __init__(self, collection: Collection, sampler: RowSampler):
        self._collection, self.order, self._n_started = collection, sampler, 0

    @property
    def registry(self) -> dict:
        """What is known of the collection."""
        return self._collection.registry

    def __len__(self) -> int:
        return self.order.n_batches(self._collection.n_obs)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.order.epoch, self._n_started = self._n_started, self._n_started + 1
        yield from self._collection.batches(self.order)  # a generator: Lightning's mere asking for one is no epoch


def _three_parts(given: Sequence[Sequence[int] | NDArray | None], n_obs: int) -> list[NDArray[np.int64]]:
    """Rows to train, to validate and to test on, three arrays; see :class:`AnnbatchMuDataModule`."""
    if not 1 <= len(given) <= 3:
        raise ValueError(
            f"`external_indexing` has {len(given)} parts: give the rows to train on, to validate on and to test on."
        )
    parts = [np.empty(0, np.int64) if part is None else cell_positions(n_obs, part) for part in given]
    if len(np.unique(np.concatenate(parts))) < sum(map(len, parts)):
        raise ValueError("`external_indexing` names a cell twice: what a model is trained on cannot judge it.")
    return [*parts, *(np.empty(0, np.int64) for _ in range(3 - len(parts)))]
