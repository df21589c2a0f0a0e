"""A MuData whose matrices, layers too, stay where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset
from mudata import MuData


@contextmanager
def lazy_mudata(data: MuData | Path | str, columns: Iterable[str]) -> Iterator[MuData]:
    """MuData of the same cells and variables, with some columns of obs only, around the same matrices.

    Those of a file are read when they are indexed. Nothing that is done to its obs or uns reaches ``data``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no MuData.
    """
    columns = list(columns)
    if isinstance(data, MuData):
        modalities = {m: _lazy_modality(adata, columns) for m, adata in data.mod.items()}
        yield MuData(modalities, obs=_some(data.obs, columns), obsmap=dict(data.obsmap), axis=data.axis)
        return
    path = Path(data)
    check_h5mu(path)
    with h5py.File(path, "r") as file:
        groups = file["mod"]
        names = [str(m) for m in groups.attrs.get("mod-order", list(groups))]
        modalities = {m: _modality(groups[m], columns) for m in names}
        obsmap = {m: read_elem(node) for m, node in file["obsmap"].items()} if "obsmap" in file else {}
        axis = int(file.attrs.get("axis", 0))
        yield MuData(modalities, obs=_frame(file["obs"], columns), obsmap=obsmap, axis=axis)


def check_h5mu(path: Path) -> None:
    """Refuse a file that holds no MuData, before it is read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file is damaged.
    ValueError
        If the file is no MuData.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file: write the MuData with `mdata.write('data.h5mu')`.")
    try:
        with h5py.File(path, "r") as file:
            is_mudata = "mod" in file
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    if not is_mudata:
        raise ValueError(f"{path} is not a MuData: it has no group 'mod'.")


def _lazy_modality(adata: AnnData, columns: list[str]) -> AnnData:
    layers = {name: layer for name, layer in adata.layers.items() if name is not None}
    return AnnData(adata.X, obs=_some(adata.obs, columns), var=pd.DataFrame(index=adata.var_names), layers=layers)


def _modality(group: h5py.Group, columns: list[str]) -> AnnData:
    layers = {name: _matrix(node) for name, node in group.get("layers", {}).items()}
    return AnnData(
        _matrix(group["X"]) if "X" in group else None,
        obs=_frame(group["obs"], columns),
        var=_frame(group["var"], []),
        layers={name: layer for name, layer in layers.items() if layer is not None},
    )


def _matrix(node: h5py.Group | h5py.Dataset):
    """The matrix at a node of a file, unread; ``None`` if there is none that can be read by rows."""
    if isinstance(node, h5py.Dataset):
        return node if node.ndim == 2 else None
    return sparse_dataset(node) if str(node.attrs.get("encoding-type", "")) in ("csr_matrix", "csc_matrix") else None


def _frame(group: h5py.Group, columns: list[str]) -> pd.DataFrame:
    """Index and some columns of a data frame in a file."""
    index = pd.Index(read_elem(group[group.attrs["_index"]]), dtype=object).astype(str)
    return pd.DataFrame({c: read_elem(group[c]) for c in columns if c in group}, index=index)


def _some(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return frame[[c for c in columns if c in frame]].copy()
