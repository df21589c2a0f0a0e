"""Whether a collection on disk was set up as the one that a model was made for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

#: Parts of a field's state that minibatches are read by, in positions or codes, and what to call them.
_POSITIONS_AND_CODES = {
    "column_names": "variables",
    "categorical_mapping": "categories",
    "mappings": "categories",
    "field_keys": "columns",
    "columns": "columns",
}


def check_same_setup(registry: Mapping, given: Mapping, what: str, *, but: Collection[str] = ()) -> None:
    """Refuse a collection whose variables, categories or columns are not those that a model was set up with.

    Parameters
    ----------
    registry
        The model's registry.
    given
        The collection's.
    what
        The argument that it was given as.
    but
        Fields that do not matter.

    Raises
    ------
    ValueError
        If it has not what the model reads, or has it in another order or with other codes.
    """
    theirs = given["field_registries"]
    for key, field in registry["field_registries"].items():
        if key in but:
            continue
        name, state = _name(key, field), field["state_registry"]
        if key not in theirs:
            raise ValueError(f"`{what}` has no {name}, which the model was set up with: write the collection with it.")
        for part, of_what in _POSITIONS_AND_CODES.items():
            if part in state and not _equal(state[part], theirs[key]["state_registry"].get(part, ())):
                raise ValueError(
                    f"The {of_what} of {name} in `{what}` are not those that the model was made for, in their order."
                )
        if not state and theirs[key]["state_registry"]:  # covariates of which the model has none
            raise ValueError(f"`{what}` has {name}, which the model was not set up with.")


def _name(key: str, field: Mapping) -> str:
    modality = field["data_registry"].get("mod_key")
    return f"modality {modality!r}" if "column_names" in field["state_registry"] else f"field {key!r}"


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(_equal(a[key], b[key]) for key in a)
    return np.array_equal(np.asarray(a, dtype=object), np.asarray(b, dtype=object))
