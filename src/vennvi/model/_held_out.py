"""Which cells a model's quality is read on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from mudata import MuData
from numpy.typing import NDArray

from vennvi.data._dataset import cell_positions
from vennvi.data._name_hashes import name_hashes, positions_of

logger = logging.getLogger("scvi.vennvi")


def held_out_cells(
    model, mdata: MuData | None, indices: Sequence[int] | NDArray | None, purpose: str
) -> NDArray[np.int64]:
    """Positions of the cells to read a score on: those given, else all of new data, else the held-out ones.

    Held out are the cells of the validation and the test split, in the order of the data. New data in which most cells have
    the names of training cells are warned of: a copy of the training data is none that the model has not seen.

    Raises
    ------
    ValueError
        If the model was trained on all cells and neither new data nor cells are given, or ``indices`` chooses no cell.
    """
    data = model.adata if mdata is None else mdata
    if data is None:
        raise ValueError(f"This model has no MuData of its own: pass `mdata` to {purpose}.")
    if indices is not None:
        cells = cell_positions(data.n_obs, indices)
        if not len(cells):
            raise ValueError("`indices` chooses no cell.")
        return cells
    if data is not model.adata:
        _warn_of_training_cells(model, data, purpose)
        return cell_positions(data.n_obs, None)
    held_out = held_out_split(model)
    if not held_out.size:
        raise ValueError(
            f"The model was trained on all cells, and on those an encoder has memorised the pairing: to {purpose}, train "
            "with `train_size=0.8`, or pass new cells as `mdata`. Passing `indices` of trained-on cells flatters the model."
        )
    return held_out


def _warn_of_training_cells(model, data: MuData, purpose: str) -> None:
    """Say so if other data than the model's own look like a copy of what it was trained on, by the names of the cells."""
    names = model.split_names_
    if names is None or not data.n_obs:
        return
    n_seen = len(np.unique(positions_of(names["train"], name_hashes(data.obs_names))))
    if n_seen > data.n_obs / 2:
        logger.warning(
            "By their names, the model was trained on %d of these %d cells. Those that it was trained on flatter it: to %s, "
            "leave them out of `mdata`, or `load` the model with `adata=` these data (at the command line, leave out --new-data), in "
            "which it finds the others by name.",
            n_seen,
            data.n_obs,
            purpose,
        )


def held_out_split(model) -> NDArray[np.int64]:
    """Positions of the cells of the validation and the test split, in the order of the data; none without data."""
    model._follow_cells()
    splits = [cells for cells in (model.validation_indices, model.test_indices) if cells is not None]
    if model.adata is None or not splits:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.concatenate(splits).astype(np.int64))


def training_cells(model) -> NDArray[np.int64]:
    """Positions of the cells that the model was trained on, in its own data; none if these are all new to it."""
    model._follow_cells()
    cells = model.train_indices
    return np.sort(np.asarray([] if cells is None else cells, dtype=np.int64))


def n_training_cells(model) -> int:
    """Number of cells that the model was trained on, at hand or not."""
    names = model.split_names_
    return len(training_cells(model) if names is None else names["train"])


def obs_column(mdata: MuData, key: str, argument: str):
    """Column of the global obs, as a series.

    Raises
    ------
    KeyError
        If there is none; the message names the modality that has one.
    """
    if key in mdata.obs:
        return mdata.obs[key]
    homes = [m for m in mdata.mod if key in mdata[m].obs]
    remedy = f" It is in mdata[{homes[0]!r}].obs: copy it to mdata.obs." if homes else ""
    raise KeyError(f"`{argument}` names {key!r}, which is not in mdata.obs.{remedy}")
