"""Checks of a MuData before anything is registered, changed or written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray
from torch.nn import ModuleDict

from vennvi.data._dataset import obs_rows

logger = logging.getLogger("scvi.vennvi")


def check_mudata(mdata: object) -> None:
    """Refuse what is not a MuData with one row a cell.

    Raises
    ------
    TypeError
        For anything but a MuData.
    ValueError
        For a view, for modalities that share variables instead of cells, and where the MuData's index is out of date.
    """
    if not isinstance(mdata, MuData):
        raise TypeError(
            f"Expected a MuData, got {type(mdata).__name__}: build one with `mudata.MuData({{'rna': adata, ...}})`."
        )
    if mdata.is_view:
        raise ValueError("This MuData is a view: call `.copy()` on it first.")
    if getattr(mdata, "axis", 0) != 0:
        raise ValueError(f"This MuData has axis={mdata.axis}: modalities must share cells (axis=0), not variables.")


def check_modalities(mdata: MuData, layers: Mapping[str, str | None]) -> None:
    """Refuse modalities and layers that are not there, and names that scvi-tools and torch cannot hold.

    Raises
    ------
    KeyError
        For a modality or a layer that the MuData does not have.
    ValueError
        For an empty choice, a name with a dot or a plus, an empty modality, a view of another AnnData, and an index that is
        out of date.
    """
    if not layers:
        raise ValueError("`layers` chooses no modality: give at least one, for example `layers={'rna': None}`.")
    for m, layer in layers.items():
        if m not in mdata.mod:
            raise KeyError(f"`layers` names modality {m!r}, which is not in the MuData: it has {', '.join(mdata.mod)}.")
        if "." in m or "+" in m or not m:
            raise ValueError(f"Modality name {m!r} must not hold '.' or '+': rename it before building the MuData.")
        if hasattr(ModuleDict(), m):
            raise ValueError(f"Modality name {m!r} is taken in torch: rename it before building the MuData.")
        adata = mdata[m]
        if adata.is_view:
            raise ValueError(
                f"Modality {m!r} is a view of another AnnData: copy it before building the MuData, "
                f"`MuData({{{m!r}: adata[:, chosen].copy(), ...}})`."
            )
        check_layer(mdata, m, layer)
        if 0 in adata.shape:
            raise ValueError(f"Modality {m!r} is empty, shape {adata.shape}: remove it or leave it out of `layers`.")
        check_index(mdata, m)


def check_layer(mdata: MuData, modality: str, layer: str | None) -> None:
    """Refuse a modality without the layer (``None``: without ``.X``).

    Raises
    ------
    KeyError, ValueError
        If there is none.
    """
    adata = mdata[modality]
    if layer is not None and layer not in adata.layers:
        known = ", ".join(repr(key) for key in adata.layers if key is not None) or "none"
        raise KeyError(f"Modality {modality!r} has no layer {layer!r} (its layers: {known}); use None for `.X`.")
    if layer is None and adata.X is None:
        raise ValueError(f"Modality {modality!r} has no `.X`: name one of its layers in `layers`.")


def check_index(mdata: MuData, modality: str) -> None:
    """Refuse a MuData whose rows cannot be told apart by name, or no longer point to the cells of a modality.

    Raises
    ------
    ValueError
        For duplicated cell names, and where a modality was changed after the MuData was built.
    """
    if not mdata[modality].obs_names.is_unique:
        raise ValueError(
            f"Modality {modality!r} has duplicated cell names: call `.obs_names_make_unique()` on it first."
        )
    rows = obs_rows(mdata, modality)
    present = rows >= 0
    names = mdata[modality].obs_names
    stale = present.sum() != len(names) or (
        not np.array_equal(np.asarray(names)[rows[present]], np.asarray(mdata.obs_names)[present])
    )
    if stale:
        raise ValueError(
            f"The MuData's index does not match the cells of modality {modality!r}, which changed since: call `mdata.update()`."
        )


def key_list(keys: Sequence[str] | None) -> list[str] | None:
    """Names as a list of strings, the only collection that scvi-tools' fields read; a string stays what it is.

    Examples
    --------
    >>> key_list(np.array(["sex", "age"])), key_list(("sex",)), key_list(None)
    (['sex', 'age'], ['sex'], None)
    """
    if keys is None or isinstance(keys, str):
        return keys  # type: ignore[return-value]
    return [str(key) if isinstance(key, str) else key for key in keys]


def check_obs_keys(
    mdata: MuData, argument: str, keys: str | Sequence[str] | None, modality: str | None, *, allow_missing: bool = False
) -> None:
    """Refuse obs columns that are not where the user says, or that hold missing values.

    Raises
    ------
    KeyError
        For a column that is not in the global obs (or in the modality's own, if ``modalities`` says so).
    TypeError
        For a name instead of a list of names, and the other way round.
    ValueError
        For a column with missing values, or one of a modality that lacks some cells: those cells would have no value; for
        categories of several types, continuous values that are no finite numbers, and a column that comes twice.
    """
    if keys is None:
        return
    several = argument.endswith("covariate_keys")
    if several == isinstance(keys, str):
        expected = "a list of column names" if several else "the name of a column"
        raise TypeError(f"`{argument}` is {'the string ' * several}{keys!r}: give {expected}.")
    if several and len(set(keys)) < len(keys):
        raise ValueError(f"`{argument}` names a column twice: {', '.join(map(repr, keys))}.")
    if modality is not None and modality not in mdata.mod:
        raise KeyError(f"`modalities` puts {argument!r} in modality {modality!r}, which is not in the MuData.")
    obs = mdata.obs if modality is None else mdata[modality].obs
    where = "mdata.obs" if modality is None else f"mdata[{modality!r}].obs"
    for key in [keys] if isinstance(keys, str) else keys:
        if key not in obs:
            homes = [m for m in mdata.mod if key in mdata[m].obs]
            if modality is not None and key in mdata.obs:
                remedy = f" It is in mdata.obs: leave {argument!r} out of `modalities`."
            elif homes:
                remedy = (
                    f" It is in mdata[{homes[0]!r}].obs: pass `modalities={{{argument!r}: {homes[0]!r}}}`, or at the command "
                    f"line '{homes[0]}:{key}'."
                )
            else:
                remedy = ""
            raise KeyError(f"`{argument}` names {key!r}, which is not in {where}.{remedy}")
        if modality is not None and mdata[modality].n_obs < mdata.n_obs:
            absent = mdata.n_obs - mdata[modality].n_obs
            raise ValueError(
                f"`{argument}` reads {key!r} from {where}, but {absent} cells are absent from modality {modality!r} and "
                f"would have no value: put the column into mdata.obs, for all cells."
            )
        missing = int(obs[key].isna().sum())
        if missing and not allow_missing:
            remedy = (
                f"fill them with a category of their own (`mdata.obs[{key!r}] = mdata.obs[{key!r}].astype('object')"
                f".fillna('unknown').astype('category')`)"
            )
            if argument == "labels_key":
                remedy += " and pass it as `unlabeled_category='unknown'`"
            elif argument == "continuous_covariate_keys":
                remedy = "impute them or leave the covariate out"
            raise ValueError(f"`{argument}`: {where}[{key!r}] has {missing} missing values; {remedy}.")
        if argument == "continuous_covariate_keys":
            _numbers(obs[key], f"`{argument}`: {where}[{key!r}]")
        elif not _sortable(obs[key].dropna().unique()):
            raise ValueError(
                f"`{argument}`: {where}[{key!r}] has values of several types: make them strings, "
                f"`mdata.obs[{key!r}].astype(str)`."
            )


def check_unlabeled(mdata: MuData, key: str, modality: str | None, category: object) -> None:
    """Refuse a label for "not known" that is of another type than the labels, in the global obs or in a modality's own.

    One that no cell has is warned of.

    Raises
    ------
    ValueError
        If it is a label only as a string.
    """
    values = (mdata if modality is None else mdata[modality]).obs[key].dropna().unique()
    if category not in values and str(category) in map(str, values):
        raise ValueError(
            f"`unlabeled_category` is {category!r}, but the labels in {key!r} are of another type: make them strings, "
            f"`mdata.obs[{key!r}].astype(str)`."
        )
    if category not in values:
        shown = ", ".join(map(repr, list(values)[:10])) + ", ..." * (len(values) > 10)
        logger.warning("No cell is unlabelled: no label in %r is %r; they are %s.", key, category, shown)


def _sortable(values: Iterable) -> bool:
    try:
        sorted(values)
    except TypeError:
        return False
    return True


def _numbers(column: pd.Series, name: str) -> NDArray[np.float64]:
    """A column as finite numbers (NaN where a value is missing)."""
    try:
        if column.dtype.kind in "mM":  # nanoseconds
            raise TypeError
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not numeric: it holds {column.iloc[0]!r}, for example.") from None
    if np.isinf(values).any():
        raise ValueError(f"{name} has {int(np.isinf(values).sum())} infinite values: impute them or leave it out.")
    return values


def check_size_factors(mdata: MuData, modality: str, column: str) -> str | None:
    """Find a modality's size factors: its own obs first, then the global one. Returns the modality that has them.

    Raises
    ------
    KeyError
        If the column is in neither.
    ValueError
        If a cell of the modality has a size factor that is missing or not positive.
    """
    own = column in mdata[modality].obs
    if not own and column not in mdata.obs:
        raise KeyError(
            f"`size_factor_key` names {column!r} for modality {modality!r}: it is neither in mdata[{modality!r}].obs nor "
            "in mdata.obs."
        )
    rows = obs_rows(mdata, modality)
    values = mdata[modality].obs[column] if own else mdata.obs[column][rows >= 0]
    values = _numbers(values, f"Size factors {column!r} of modality {modality!r}: the column")
    bad = int((~np.isfinite(values) | (values <= 0)).sum())
    if bad:
        raise ValueError(
            f"Size factors {column!r} of modality {modality!r}: {bad} cells have one that is not positive."
        )
    return modality if own else None


def check_library_size(library_size: object, *, observed: bool = False) -> None:
    """Refuse a depth to predict at that is not a positive number; with ``observed``, ``"observed"`` is one too.

    Raises
    ------
    ValueError
        For other strings, and for numbers that are not positive.

    Examples
    --------
    >>> check_library_size("latent", observed=True)
    Traceback (most recent call last):
    ...
    ValueError: `library_size` is 'latent': it must be a positive number, "observed" or None.
    """
    if library_size is None or (observed and isinstance(library_size, str) and library_size == "observed"):
        return
    if not isinstance(library_size, Real) or not 0 < float(library_size) < np.inf:
        choices = 'a positive number, "observed" or None' if observed else "a positive number or None"
        raise ValueError(f"`library_size` is {library_size!r}: it must be {choices}.")


def check_feature_fraction(fractions: Mapping[str, float] | None, module) -> dict[str, float]:
    """Fraction of the features to decode, by modality.

    Raises
    ------
    KeyError
        If a modality is not the model's.
    ValueError
        If a fraction is outside (0, 1], or the likelihood needs all features at once.
    """
    fractions = dict(fractions or {})
    for modality, fraction in fractions.items():
        if modality not in module.modalities:
            raise KeyError(
                f"`feature_fraction` names {modality!r}, which the model has not: it has {', '.join(module.modalities)}."
            )
        if not 0 < fraction <= 1:
            raise ValueError(f"`feature_fraction[{modality!r}]` is {fraction!r}: it must be above 0 and at most 1.")
        if fraction < 1 and not module.likelihood(modality).factorises:
            raise ValueError(
                f"`feature_fraction` decodes some features of {modality!r} only, but its likelihood shares the cell's "
                "depth out among all of them. Build the model with "
                f"`likelihoods={{{modality!r}: 'poisson'}}` (or 'bernoulli', for 0/1 data), or leave {modality!r} out."
            )
    return fractions


def check_precision(precision: object) -> None:
    """Refuse a precision of the training in which parameters and data are not in single precision.

    Raises
    ------
    ValueError
        For all but Lightning's 32 bits and its two mixed precisions.

    Examples
    --------
    >>> check_precision("64-true")
    Traceback (most recent call last):
    ...
    ValueError: `precision` is '64-true', ...
    """
    if precision is None or str(precision) in ("32", "32-true", "bf16", "bf16-mixed", "16", "16-mixed"):
        return
    raise ValueError(
        f"`precision` is {precision!r}, but parameters and data are kept in single precision: use 'bf16-mixed', on a GPU "
        "'16-mixed', to compute in half of it where that is safe, or else '32-true'."
    )
