"""A collection on disk, as :func:`~vennvi.data.write_collection` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from vennvi._keys import COLLECTION, STATISTICS, data_key, mask_key
from vennvi.data._annbatch import fast_zarr, require_annbatch
from vennvi.data._collection_root import open_root
from vennvi.data._dataset import csr_tensor
from vennvi.data._name_hashes import name_hashes
from vennvi.data._registry_json import from_json
from vennvi.data._write_collection import VERSION

if TYPE_CHECKING:
    from annbatch import DatasetCollection, Loader

    from vennvi.data._row_sampler import Relay, RowSampler


class Collection:
    """What a collection holds; matrices are read by minibatch only.

    Parameters
    ----------
    path
        Folder of the collection.

    Raises
    ------
    ImportError
        If annbatch is not installed.
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the folder holds no collection, or one of a later version.
    """

    def __init__(self, path: Path | str):
        require_annbatch("reading a collection")
        from annbatch import DatasetCollection

        self.path = Path(path)
        if not self.path.is_dir():
            raise FileNotFoundError(f"There is no folder {self.path}.")
        root: Any = open_root(self.path)
        if root is None:
            raise ValueError(
                f"{self.path} is not a collection of vennvi's: make one with `vennvi.data.write_collection` or "
                "`vennvi convert`."
            )
        self._root, about = root, root.attrs[COLLECTION]
        if about["version"] > VERSION:
            raise ValueError(
                f"{self.path} has version {about['version']} of the layout; this vennvi reads up to {VERSION}."
            )
        self.n_obs = int(about["n_obs"])
        self._columns = [(str(key), np.dtype(dtype), int(width)) for key, dtype, width in about["columns"]]
        self._about = about
        self.modalities = tuple(about["registry"]["setup_args"]["layers"])
        self._of_modality = {m: DatasetCollection(self._root[f"mod/{m}"], mode="r") for m in self.modalities}
        self._of_cells = DatasetCollection(self._root["cells"], mode="r")

    @cached_property
    def registry(self) -> dict:
        """What ``setup_mudata`` learned of the data, and what a model reads off them before it is trained."""
        registry = from_json(self._about["registry"])
        for m in self.modalities:
            var = next(iter(self._of_modality[m]))["var"]
            names = np.asarray(read_elem(var[var.attrs["_index"]]), dtype=object)
            registry["field_registries"][data_key(m)]["state_registry"]["column_names"] = names
        registry[STATISTICS] = {
            m: {
                **{name: self._root[f"statistics/{m}/{name}"][:] for name in stored["arrays"]},
                **from_json(stored["scalars"]),
            }
            for m, stored in self._about["statistics"].items()
        }
        return registry

    def obs(self) -> pd.DataFrame:
        """Labels and covariates that the setup names, indexed by the names of the cells, row by row."""
        frames = [read_elem(group["obs"]) for group in self._of_cells]
        return frames[0] if len(frames) == 1 else pd.concat(frames)

    def obs_names(self) -> pd.Index:
        """Names of the cells, row by row."""
        return pd.Index(np.concatenate(list(self._parts_of_obs_names())))

    def name_hashes(self) -> NDArray[np.uint64]:
        """Hashes of the names of the cells, row by row; the names themselves are read some at a time."""
        return np.concatenate([name_hashes(part) for part in self._parts_of_obs_names()])

    def _parts_of_obs_names(self) -> Iterator[NDArray]:
        for group in self._of_cells:
            obs = group["obs"]
            yield read_elem(obs[obs.attrs["_index"]])

    def presence(self, modality: str) -> NDArray[np.bool_]:
        """Whether each cell has the modality."""
        column = [key for key, _, _ in self._columns].index(mask_key(modality))  # masks come first, one column each
        return np.concatenate([group["X"][:, column] > 0 for group in self._of_cells])

    def batches(self, sampler: RowSampler) -> Iterator[dict[str, Tensor]]:
        """Minibatches as a model reads them, in the order of a sampler."""
        relay, of_modality, of_cells = self._loaders
        relay.current = sampler
        together = zip(of_cells, *of_modality.values(), strict=True)
        with fast_zarr():  # the loaders open the parts of sparse matrices when they first read
            first = list(islice(together, 1))
        for numbers, *matrices in chain(first, together):
            found = dict(zip(of_modality, matrices, strict=True))
            batch, start = {data_key(m): _as_tensor(found[m]["X"]) for m in self.modalities}, 0
            for key, dtype, width in self._columns:
                values = numbers["X"][:, start : start + width]
                batch[key], start = torch.from_numpy(values.astype(dtype)), start + width
            yield batch

    @cached_property
    def _loaders(self) -> tuple[Relay, dict[str, Loader], Loader]:
        """The sampler of all loaders, and the loader of each collection: what they keep of a collection they keep once."""
        from annbatch import Loader
        from zarr import Array

        from vennvi.data._row_sampler import Relay

        relay = Relay()

        def loader(collection: DatasetCollection) -> Loader:
            with fast_zarr():
                matrices = [group["X"] for group in collection]
            made = Loader(batch_sampler=relay, preload_to_gpu=False)
            made.add_datasets([x if isinstance(x, Array) else sparse_dataset(x) for x in matrices])
            return made

        return relay, {m: loader(collection) for m, collection in self._of_modality.items()}, loader(self._of_cells)


def _as_tensor(x) -> Tensor:
    """Tensor around an array or a CSR matrix."""
    return csr_tensor(x.indptr, x.indices, x.data, x.shape[1]) if sparse.issparse(x) else torch.from_numpy(x)
