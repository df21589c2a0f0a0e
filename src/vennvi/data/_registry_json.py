"""A registry as JSON, arrays included."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def to_json(value, name: str = "registry"):
    """Nested dicts, lists and scalars of a value that may hold arrays.

    Raises
    ------
    TypeError
        For anything else, such as categories that are intervals; its place is named.

    Examples
    --------
    >>> to_json({"n": np.int64(2), "names": np.array(["a", "b"], dtype=object)})
    {'n': 2, 'names': {'array': ['a', 'b'], 'dtype': 'object'}}
    >>> from_json(_)["names"]
    array(['a', 'b'], dtype=object)
    """
    if isinstance(value, Mapping):
        return {str(key): to_json(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, np.ndarray):
        dtype = "object" if value.dtype.kind in "OUST" else value.dtype.name
        return {"array": to_json(value.tolist(), name), "dtype": dtype}
    if isinstance(value, list | tuple):
        return [to_json(item, name) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{name} holds {value!r} of type {type(value).__name__}, which cannot be stored: make it a string.")


def from_json(value):
    """What :func:`to_json` was given, tuples as lists."""
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return np.array(value["array"], dtype=value["dtype"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value
