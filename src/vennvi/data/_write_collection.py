"""From a MuData to a collection on disk that annbatch reads: the cells of all modalities, row by row."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from vennvi._files import atomic_folder
from vennvi._keys import COLLECTION, data_key, mask_key
from vennvi.data._annbatch import require_annbatch
from vennvi.data._collection_root import open_root
from vennvi.data._dataset import MuDataset, obs_rows
from vennvi.data._lazy import lazy_mudata
from vennvi.data._registry_json import to_json
from vennvi.data._statistics import as_plain, read_statistics

logger = logging.getLogger("scvi.vennvi")

#: Version of the layout.
VERSION = 1
#: Cells read at a time.
_READ = 4096
#: Contiguous cells that stay together until their dataset is shuffled.
_BLOCK = 256
#: Bytes that a compressed chunk of a matrix aims at.
_CHUNK_BYTES = 1 << 16


def write_collection(
    data: MuData | Path | str,
    out: Path | str,
    *,
    layers: Mapping[str, str | None] | Sequence[str] | None = None,
    batch_key: str | None = None,
    labels_key: str | None = None,
    unlabeled_category: str | None = None,
    size_factor_key: str | Mapping[str, str] | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    continuous_covariate_keys: Sequence[str] | None = None,
    modalities: Mapping[str, str] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    cells_per_dataset: int = 32_768,
    overwrite: bool = False,
) -> Path:
    """Write a MuData as a collection that :class:`AnnbatchMuDataModule` trains from.

    One row a cell of the MuData, in every modality; a cell that a modality lacks is an empty row there and 0 in the
    modality's mask. Beside the matrices go the masks, labels, covariates, size factors and names, what ``setup_mudata``
    learns of the data, and what a model reads off them before it is trained, so that nothing else is needed again.
    The data are checked as by ``setup_mudata``.

    A file is read twice, a few thousand cells at a time; at most ``cells_per_dataset`` cells are in memory, however many
    there are. The collection is either whole or not there.

    The folder holds an annbatch collection (:class:`annbatch.DatasetCollection`) for each modality, ``mod/<modality>``,
    and one of the numbers of each cell, ``cells``: sharded zarr, version 3.

    Parameters
    ----------
    data
        MuData, in memory or backed, or the path of one (``.h5mu``). Of a path, nothing is in memory as a whole, layers
        neither; of a backed MuData, layers are. A modality stored by column (CSC) is read as a whole.
    out
        Folder to write, for example ``data.zarr``.
    layers, batch_key, labels_key, unlabeled_category, size_factor_key
        As in ``setup_mudata``.
    categorical_covariate_keys, continuous_covariate_keys, modalities
        As in ``setup_mudata``.
    shuffle
        Whether to write the cells in random order, in blocks of 256 and then within ``cells_per_dataset``; by default they keep
        the MuData's. Training shuffles blocks of cells anyway: worth it where neighbours resemble each other.
    seed
        Seed of the order.
    cells_per_dataset
        Cells in one dataset of the collection, which are in memory together.
    overwrite
        Whether to replace ``out`` if it exists and is a collection, or empty.

    Returns
    -------
    ``out`` as a path.

    Raises
    ------
    ImportError
        If annbatch is not installed: it is the extra ``ondisk``, for Python 3.12 or newer.
    FileExistsError
        If ``out`` exists and is not to be overwritten, or is not a collection, or holds the data that are read.
    KeyError, TypeError, ValueError
        As ``setup_mudata`` of the data, and for infinite values or NaN in a sparse matrix, and for columns of dates.

    Examples
    --------
    >>> import tempfile, vennvi
    >>> mdata = vennvi.data.simulate_multiome(n_obs=100, n_genes=20, n_peaks=50)
    >>> path = vennvi.data.write_collection(mdata, tempfile.mkdtemp() + "/multiome.zarr", batch_key="batch")
    >>> vennvi.data.AnnbatchMuDataModule(path).modalities
    ('rna', 'atac')
    """
    require_annbatch("writing a collection")
    from vennvi.model._base import SharedPrivateModel  # which imports vennvi.data
    from vennvi.model._validate import check_index, check_mudata, key_list

    if cells_per_dataset < 1:
        raise ValueError(f"`cells_per_dataset` is {cells_per_dataset}: it must be at least 1.")
    if isinstance(data, MuData):
        check_mudata(data)
        for m in data.mod if layers is None else layers:
            if m in data.mod:
                check_index(data, m)
    elif not isinstance(data, Path | str):
        raise TypeError(f"Expected a MuData or the path of one, got {type(data).__name__}.")
    setup = {
        "layers": layers,
        "batch_key": batch_key,
        "labels_key": labels_key,
        "unlabeled_category": unlabeled_category,
        "size_factor_key": size_factor_key,
        "categorical_covariate_keys": key_list(categorical_covariate_keys),
        "continuous_covariate_keys": key_list(continuous_covariate_keys),
        "modalities": modalities,
    }
    out = Path(out)
    _check_target(out, data.filename if isinstance(data, MuData) else data, overwrite)
    # the folder first: what exists is refused before anything is read
    with atomic_folder(out, overwrite=overwrite) as folder, lazy_mudata(data, _obs_columns(setup)) as mdata:
        SharedPrivateModel.setup_mudata(mdata, **setup)
        manager = SharedPrivateModel._get_most_recent_anndata_manager(mdata, required=True)
        # the class would hold on to the file
        SharedPrivateModel._setup_adata_manager_store.pop(manager.adata_uuid)
        statistics = as_plain(read_statistics(manager))
        n_obs = mdata.n_obs
        parts = _parts(n_obs, cells_per_dataset, np.random.default_rng(seed) if shuffle else None)
        columns = _write_cells(folder, manager.create_torch_dataset(), mdata, parts, _obs_frame(mdata, setup))
        _write_root(folder, manager.registry, statistics, columns, n_obs, shuffle)
    logger.info("Wrote %d cells of %s to %s.", n_obs, ", ".join(statistics), out)
    return out


def _check_target(out: Path, source: Path | str | None, overwrite: bool) -> None:
    """Refuse to overwrite the data themselves, a folder that they are in, and what is no collection."""
    if not (overwrite and out.exists()):
        return
    if source is not None and out.resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
        raise FileExistsError(f"{out} holds the data that are to be read, {source}: choose another name.")
    if not (out.is_dir() and (open_root(out) is not None or not any(out.iterdir()))):
        raise FileExistsError(
            f"{out} exists and is not a collection of vennvi's, so it is not overwritten: choose another name, or remove it."
        )


def _parts(n_obs: int, size: int, rng: np.random.Generator | None) -> list[NDArray[np.int64]]:
    """Cells of each dataset in the order they are written in: their own, or blocks and then cells shuffled."""
    order = np.arange(n_obs)
    if rng is not None:
        blocks = np.split(order, np.arange(_BLOCK, n_obs, _BLOCK))
        order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    parts = np.split(order, np.arange(size, n_obs, size))
    return parts if rng is None else [rng.permutation(part) for part in parts]


# --------------------------------------------------------------------------------------------------------- the cells
def _write_cells(
    folder: Path, dataset: MuDataset, mdata: MuData, parts: Sequence[NDArray], obs: pd.DataFrame
) -> list[tuple[str, str, int]]:
    """Write every part as a dataset of each collection; returns name, dtype and width of the columns of ``cells``."""
    import zarr
    from annbatch.io import V1_ENCODING

    modalities = dataset.modalities
    # each has a store of its own: what consolidates its metadata must not consolidate the root's, which is not there yet;
    # a name with a slash in front would lead out of the folder
    parts_of = {m: folder / "mod" / m.strip("/") for m in modalities}
    of_modality = {m: zarr.open_group(path, mode="w", zarr_format=3) for m, path in parts_of.items()}
    of_cells = zarr.open_group(folder / "cells", mode="w", zarr_format=3)
    columns: list[tuple[str, str, int]] = []
    for i, part in enumerate(parts):
        rows = np.sort(part)
        matrices, others = _read_part(dataset, rows, modalities)
        columns = [(key, values.dtype.name, values.shape[1]) for key, values in others.items()]
        written = slice(None) if np.array_equal(rows, part) else np.searchsorted(rows, part)
        for m in modalities:
            names = pd.DataFrame(index=mdata.obs_names[part])
            var = pd.DataFrame(index=mdata[m].var_names)
            _write_part(of_modality[m], i, AnnData(matrices.pop(m)[written], obs=names, var=var))
        values = np.concatenate([v.astype(np.float64) for v in others.values()], axis=1)[written]
        var = pd.DataFrame(index=[f"{key}:{j}" for key, _, width in columns for j in range(width)])
        _write_part(of_cells, i, AnnData(values, obs=obs.iloc[part], var=var))
    for group in (of_cells, *of_modality.values()):
        group.update_attributes(V1_ENCODING)
    return columns


def _read_part(
    dataset: MuDataset, rows: NDArray[np.int64], modalities: Sequence[str]
) -> tuple[dict[str, NDArray | sparse.csr_matrix], dict[str, NDArray]]:
    """Matrices of some cells by modality, and all else that a minibatch of them holds."""
    found: dict[str, list] = {}
    for chunk in _chunks(rows):
        for key, values in dataset[chunk].items():  # type: ignore[index]
            found.setdefault(key, []).append(_as_scipy(values) if isinstance(values, Tensor) else values)
    whole = {
        key: sparse.vstack(v, format="csr") if sparse.issparse(v[0]) else np.concatenate(v) for key, v in found.items()
    }
    matrices = {m: whole.pop(data_key(m)) for m in modalities}
    order = [*(mask_key(m) for m in modalities), *sorted(whole.keys() - {mask_key(m) for m in modalities})]
    return matrices, {key: whole[key] for key in order}


def _chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _READ):
        yield rows[start : start + _READ]


def _as_scipy(x: Tensor) -> sparse.csr_matrix:
    index = np.int32 if max(x.values().shape[0], x.shape[1]) < np.iinfo(np.int32).max else np.int64
    parts = (x.values().numpy(), x.col_indices().numpy().astype(index), x.crow_indices().numpy().astype(index))
    return sparse.csr_matrix(parts, shape=tuple(x.shape))


def _write_part(group, i: int, adata: AnnData) -> None:
    from annbatch import write_sharded

    x = adata.X
    bytes_per_row = 8 * x.nnz / x.shape[0] if sparse.issparse(x) else x.itemsize * x.shape[1]
    rows = int(np.clip(_CHUNK_BYTES / max(bytes_per_row, 1), 64, 1024))
    with warnings.catch_warnings():  # annbatch's choice, which it reads itself
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        write_sharded(group, adata, key=f"dataset_{i}", n_obs_per_chunk=rows)


# ---------------------------------------------------------------------------------------------------------- the rest
def _write_root(
    folder: Path, registry: Mapping, statistics: Mapping, columns: list, n_obs: int, shuffled: bool
) -> None:
    """Write the registry, without the names of the variables, which are in the collections, and the statistics."""
    import zarr

    root = zarr.open_group(folder, mode="a", zarr_format=3)
    fields = {}
    for key, field in registry["field_registries"].items():
        state = {name: value for name, value in field["state_registry"].items() if name != "column_names"}
        fields[key] = {**field, "state_registry": state}
    kept = {key: value for key, value in registry.items() if key not in ("field_registries", "_scvi_uuid")}
    arrays: dict[str, dict] = {m: {} for m in statistics}
    scalars: dict[str, dict] = {m: {} for m in statistics}
    for m, values in statistics.items():
        for name, value in values.items():
            (arrays if isinstance(value, np.ndarray) else scalars)[m][name] = value
            if isinstance(value, np.ndarray):
                root.create_array(f"statistics/{m}/{name}", data=value)
    root.attrs[COLLECTION] = {
        "version": VERSION,
        "n_obs": n_obs,
        "shuffled": shuffled,
        "columns": columns,
        "registry": to_json({**kept, "field_registries": fields}),
        "statistics": {m: {"arrays": list(arrays[m]), "scalars": to_json(scalars[m])} for m in statistics},
    }


def _obs_columns(setup: Mapping) -> list[str]:
    """Columns of obs that the setup names."""
    given = [setup[name] for name in ("batch_key", "labels_key", "size_factor_key")]
    given += [setup["categorical_covariate_keys"], setup["continuous_covariate_keys"]]
    columns: dict[str, None] = {}
    for keys in given:
        keys = [keys] if isinstance(keys, str) else keys.values() if isinstance(keys, Mapping) else keys or []
        columns |= dict.fromkeys(keys)
    return list(columns)


def _obs_frame(mdata: MuData, setup: Mapping) -> pd.DataFrame:
    """The columns themselves, cell by cell of the MuData, wherever they are."""
    where = setup["modalities"] or {}
    frame = pd.DataFrame(index=mdata.obs_names)
    for argument in ("batch_key", "labels_key", "categorical_covariate_keys", "continuous_covariate_keys"):
        keys = setup[argument] or []
        home = where.get(argument)
        for key in [keys] if isinstance(keys, str) else keys:
            column = mdata.obs[key] if home is None else mdata[home].obs[key].iloc[obs_rows(mdata, home)]
            _check_no_dates(column, argument, key, home)
            frame[key] = column.array
    return frame


def _check_no_dates(column: pd.Series, argument: str, key: str, home: str | None) -> None:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if values.dtype.kind in "mM":
        obs = "mdata.obs" if home is None else f"mdata[{home!r}].obs"
        raise TypeError(
            f"`{argument}`: {key!r} holds dates or times, which a collection cannot hold: make them text, "
            f"`{obs}[{key!r}] = {obs}[{key!r}].astype(str)`."
        )
