"""What a caller of ``train`` says, be it in a mapping or in one of scvi-tools' configuration objects."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from scvi.train._config import KwargsLike, merge_kwargs


def given_by(config: KwargsLike | None, name: str) -> dict[str, Any]:
    """Arguments that a mapping or a configuration object gives.

    Of a dataclass, those that are not its defaults: it holds a value for everything, and scvi-tools' defaults, such as a
    KL weight that rises over 400 epochs, are not vennvi's.

    Parameters
    ----------
    config
        Mapping, object with ``to_kwargs()``, or ``None``.
    name
        What an error calls it.

    Raises
    ------
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from scvi.train import TrainingPlanConfig
    >>> given_by(TrainingPlanConfig(lr=1e-4, loss_kwargs={"a": 1}), "plan_config")
    {'lr': 0.0001, 'a': 1}
    """
    given = merge_kwargs(None, config, name=name)
    if not is_dataclass(config):
        return given
    usual = {field.name: field.default for field in fields(config) if field.default is not MISSING}
    return {key: value for key, value in given.items() if key not in usual or not _same(value, usual[key])}


def _same(value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) and bool(value == other))
