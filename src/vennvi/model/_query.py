"""New data for a trained model: checked against its setup, and completed where a modality is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data._constants import _SCVI_UUID_KEY
from scvi.data._utils import _assign_adata_uuid, _check_if_view

from vennvi._keys import data_key
from vennvi.data._manager import MuDataManager
from vennvi.data._summary import summarise
from vennvi.likelihoods import name_of, resolve_likelihood
from vennvi.model._setup_fields import setup_fields, size_factor_columns
from vennvi.model._validate import check_index, check_layer, check_obs_keys, check_size_factors

#: Arguments of ``setup_mudata`` that name columns which new data must have too.
_COLUMNS = ("batch_key", "categorical_covariate_keys", "continuous_covariate_keys")
#: What a registry says of the setup.
_ABOUT = ("model_name", "setup_method_name", "setup_args")
#: Name of a modality that is made for a moment.
_EVERYONE = "_vennvi_everyone"
#: Rows of new data whose values are looked at.
_N_LOOKED_AT = 100


class QueryMixin:
    """Validation of the MuData that a method is given, and its registration as this model's was."""

    id: str
    modalities: tuple[str, ...]
    registry: dict
    _per_instance_manager_store: dict[str, dict[str, MuDataManager]]
    _last_completed: str | None = None

    def _validate_anndata(self, adata: MuData | None = None, copy_if_view: bool = True) -> MuData:
        """Check new data against the setup and register them by it; cells by variables are never reordered.

        A model without data of its own does not take new data for its own.

        Raises
        ------
        TypeError
            For anything but a MuData.
        KeyError
            If a column or a layer that the model reads is not there.
        ValueError
            If a modality's variables are not those of the setup, in their order; if the MuData is out of date; if a
            column has missing values or new categories; if no modality of the model, or no cell, is there; if backed data
            would have to be copied, or a copy of a view would have its cells in another order; if the first rows of a
            modality do not fit its likelihood.
        """
        if adata is None:
            adata = self.adata  # type: ignore[attr-defined]
            if adata is None:
                raise ValueError("This model has no MuData of its own: pass one.")
        if not isinstance(adata, MuData):
            raise TypeError(f"Expected a MuData, got {type(adata).__name__}.")
        there = [m for m in self.modalities if m in adata.mod]
        if not there:
            raise ValueError(f"The MuData has none of the model's modalities {', '.join(map(repr, self.modalities))}.")
        if not adata.n_obs:
            raise ValueError("The MuData has no cells.")
        check_as_set_up(adata, self.registry, there)
        incomplete = len(there) < len(self.modalities)
        if adata.is_view:
            _check_in_memory(adata, "a view of it would have to be copied: pass the whole, with `indices`, or")
        if incomplete:
            var_names = {m: self._var_names(m) for m in self.modalities}  # type: ignore[attr-defined]
            adata = _completed(adata, var_names, self.registry["setup_args"])
        _copy_view(adata, copy_if_view)
        self._register_query(adata)
        if incomplete:  # made for this call: the one made for the last is let go
            self._per_instance_manager_store[self.id].pop(self._last_completed or "", None)
            self._last_completed = adata.uns[_SCVI_UUID_KEY]
        return super()._validate_anndata(adata, copy_if_view)  # type: ignore[misc]

    def _register_query(self, mdata: MuData) -> None:
        """Register new data by the registry, which a model without data has too; anew each time, since they may change."""
        managers = self._per_instance_manager_store.setdefault(self.id, {})
        known = managers.get(mdata.uns.get(_SCVI_UUID_KEY))
        its_own = known is not None and known.adata is mdata
        if its_own and mdata is self.adata:  # type: ignore[attr-defined]
            return
        about = {key: self.registry[key] for key in _ABOUT if key in self.registry}
        manager = MuDataManager(setup_fields(mdata, about["setup_args"]), about)
        _assign_adata_uuid(mdata, overwrite=known is not None and not its_own)  # that of a copy is the original's
        manager.register_fields(mdata, self.registry)
        for m in self.modalities:
            _check_values(manager.get_from_registry(data_key(m)), name_of(self.module.likelihood(m)), m)  # type: ignore[attr-defined]
        managers[manager.adata_uuid] = manager


def _check_in_memory(mdata: MuData, why: str) -> None:
    if any(adata.isbacked for adata in mdata.mod.values()):
        raise ValueError(f"This MuData is on disk (backed), and {why} read it into memory, `mudata.read_h5mu(path)`.")


def _copy_view(mdata: MuData, copy_if_view: bool) -> None:
    """Make a view a MuData of its own, as scvi-tools does, but never one whose cells are in another order.

    mudata 0.3 puts the cells of a copy back into the order of its modalities, where some lack one.
    """
    if mdata.is_view and copy_if_view:
        copied = mdata.copy()
        if not copied.obs_names.equals(mdata.obs_names):
            raise ValueError(
                "This MuData is a view with its cells in another order, which a copy of it would not keep: pass the whole "
                "MuData, and the cells in that order as `indices`."
            )
        mdata._init_as_actual(copied)
        _assign_adata_uuid(mdata, overwrite=True)
    _check_if_view(mdata, copy_if_view)


def _check_values(matrix, likelihood: str, modality: str) -> None:
    """Refuse values that contradict the likelihood, as log-normalised counts do, by the first rows.

    Not of a backed matrix that is stored by column: it would be read as a whole.
    """
    if matrix.shape[0] and (sparse.issparse(matrix) or getattr(matrix, "format", None) != "csc"):
        resolve_likelihood(likelihood, summarise(matrix[:_N_LOOKED_AT], modality), modality)


def check_as_set_up(mdata: MuData, registry: Mapping, modalities: Sequence[str]) -> None:
    """Refuse data whose modalities, variables or columns of obs are not those of a model's setup.

    Raises
    ------
    KeyError
        If a column or a layer is not there.
    ValueError
        If the MuData is out of date; if a modality's variables are not those of the setup, in their order; if a column has
        missing values, or categories that are new.
    """
    arguments, fields = registry["setup_args"], registry["field_registries"]
    for m in modalities:
        check_index(mdata, m)
        check_layer(mdata, m, arguments["layers"][m])
        _check_variables(mdata, m, fields[data_key(m)]["state_registry"]["column_names"])
    where = arguments.get("modalities") or {}
    for argument in _COLUMNS:
        check_obs_keys(mdata, argument, arguments.get(argument), where.get(argument))
    if (key := arguments.get("batch_key")) is not None:
        known = fields[REGISTRY_KEYS.BATCH_KEY]["state_registry"]["categorical_mapping"]
        _check_categories(mdata, "batch_key", key, where.get("batch_key"), known)
    for key in arguments.get("categorical_covariate_keys") or ():
        known = fields[REGISTRY_KEYS.CAT_COVS_KEY]["state_registry"]["mappings"][key]
        _check_categories(mdata, "categorical_covariate_keys", key, where.get("categorical_covariate_keys"), known)
    for m, column in size_factor_columns(arguments).items():
        if m in modalities:
            check_size_factors(mdata, m, column)


def _check_categories(mdata: MuData, argument: str, key: str, modality: str | None, known: NDArray) -> None:
    obs = mdata.obs if modality is None else mdata[modality].obs
    new = sorted(set(map(str, obs[key].unique())) - set(map(str, known)))
    if new:
        raise ValueError(
            f"`{argument}`: {key!r} has categories that the model was not set up with ({', '.join(map(repr, new[:3]))}); it "
            f"knows {', '.join(map(repr, map(str, known[:10])))}."
        )


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


def _completed(mdata: MuData, var_names: Mapping[str, NDArray], arguments: Mapping) -> MuData:
    """A new MuData of the same cells in which a modality that was not there is empty: all cells lack it."""
    # a modality of all cells comes first: the cells of a MuData are in the order of its first modality, then of the next
    mods = {_EVERYONE: AnnData(obs=pd.DataFrame(index=mdata.obs_names))}
    size_factors = size_factor_columns(arguments)
    for m, names in var_names.items():
        if m in mdata.mod:
            mods[m] = mdata[m]
            continue
        nothing = np.zeros((0, len(names)), dtype=np.float32)
        mods[m] = AnnData(nothing, var=pd.DataFrame(index=pd.Index(names)))
        if (layer := arguments["layers"][m]) is not None:
            mods[m].layers[layer] = nothing
        if m in size_factors:
            mods[m].obs[size_factors[m]] = np.empty(0)
    inside = np.zeros(mdata.n_obs, dtype=bool)
    for m in var_names.keys() & mdata.mod.keys():
        inside[mdata.obs_names.get_indexer(mdata[m].obs_names)] = True
    if missing := int((~inside).sum()):
        raise ValueError(f"{missing} cells have none of the model's modalities: subset the MuData to the others.")
    completed = MuData(mods)
    del completed.mod[_EVERYONE]
    for column in mdata.obs:
        completed.obs[column] = mdata.obs[column].to_numpy()
    return completed
