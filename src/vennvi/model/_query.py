"""New data for a trained model: checked as the training data were, and completed where a modality is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray

from vennvi.model._validate import check_index, check_obs_keys, check_size_factors

#: Arguments of ``setup_mudata`` that name columns which new data must have too.
_COLUMNS = ("batch_key", "categorical_covariate_keys", "continuous_covariate_keys")


class QueryMixin:
    """Validation of the MuData that a method is given."""

    modalities: tuple[str, ...]
    registry: dict

    def _validate_anndata(self, adata: MuData | None = None, copy_if_view: bool = True) -> MuData:
        """Check new data against the setup, before scvi-tools registers them; cells by variables are never reordered.

        Raises
        ------
        TypeError
            For anything but a MuData.
        KeyError
            If a column that the model reads is not there.
        ValueError
            If a modality's variables are not those of the setup, in their order; if the MuData is out of date; if a
            column has missing values; if no modality of the model is there.
        """
        if adata is None:
            adata = self.adata  # type: ignore[attr-defined]
            if adata is None:
                raise ValueError("This model was loaded without data: pass a MuData.")
        if not isinstance(adata, MuData):
            raise TypeError(f"Expected a MuData, got {type(adata).__name__}.")
        there = [m for m in self.modalities if m in adata.mod]
        if not there:
            raise ValueError(f"The MuData has none of the model's modalities {', '.join(map(repr, self.modalities))}.")
        for m in there:
            check_index(adata, m)
            _check_variables(adata, m, self._var_names(m))  # type: ignore[attr-defined]
        arguments = self.registry["setup_args"]
        where = arguments.get("modalities") or {}
        for argument in _COLUMNS:
            check_obs_keys(adata, argument, arguments.get(argument), where.get(argument))
        keys = arguments.get("size_factor_key") or {}
        keys = dict.fromkeys(self.modalities, keys) if isinstance(keys, str) else keys
        for m, column in keys.items():
            if m in there:
                check_size_factors(adata, m, column)
        if len(there) < len(self.modalities):
            adata = _completed(adata, {m: self._var_names(m) for m in self.modalities}, arguments["layers"])  # type: ignore[attr-defined]
        return super()._validate_anndata(adata, copy_if_view)  # type: ignore[misc]


def _check_variables(mdata: MuData, modality: str, expected: NDArray) -> None:
    found = mdata[modality].var_names
    if len(found) == len(expected) and np.array_equal(np.asarray(found), expected):
        return
    missing = [name for name in expected if name not in found]
    if missing:
        raise ValueError(
            f"Modality {modality!r} lacks {len(missing)} of the {len(expected)} variables that the model was set up "
            f"with, for example {', '.join(map(repr, missing[:3]))}."
        )
    raise ValueError(
        f"The variables of modality {modality!r} are not in the order of the setup: take "
        f"`mdata[{modality!r}][:, model.get_var_names()[{modality!r}]].copy()`."
    )


def _completed(mdata: MuData, var_names: dict[str, NDArray], layers: dict[str, str | None]) -> MuData:
    """A new MuData of the same cells in which a modality that was not there is empty: all cells lack it."""
    mods = {}
    for m, names in var_names.items():
        if m in mdata.mod:
            mods[m] = mdata[m]
            continue
        nothing = np.zeros((0, len(names)), dtype=np.float32)
        mods[m] = AnnData(nothing, var=pd.DataFrame(index=pd.Index(names)))
        if layers[m] is not None:
            mods[m].layers[layers[m]] = nothing
    completed = MuData(mods)
    if not np.array_equal(np.asarray(completed.obs_names), np.asarray(mdata.obs_names)):
        missing = len(set(mdata.obs_names) - set(completed.obs_names))
        if missing:
            raise ValueError(f"{missing} cells have none of the model's modalities: subset the MuData to the others.")
        completed = completed[mdata.obs_names].copy()
    for column in mdata.obs:
        completed.obs[column] = mdata.obs[column].to_numpy()
    return completed
