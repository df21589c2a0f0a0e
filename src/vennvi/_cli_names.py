"""Names of modalities, layers and columns as options of the command line give them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import typer


def columns_of(source: Path) -> dict[str, set[str]]:
    """Columns of each modality's own obs in a ``.h5mu`` file, by modality."""
    with h5py.File(source, "r") as file:
        return {m: set(group["obs"]) if "obs" in group else set() for m, group in file["mod"].items()}


def pairs(
    option: str, given: Sequence[str] | None, modalities: Collection[str], *, needs_value: bool = True
) -> dict[str, str | None]:
    """Values by modality.

    Raises
    ------
    typer.BadParameter
        If a modality comes twice, or has no value where it needs one.

    Examples
    --------
    >>> pairs("layer", ["rna=counts", "atac", "a=b=log"], ["rna", "atac", "a=b"], needs_value=False)
    {'rna': 'counts', 'atac': None, 'a=b': 'log'}
    """
    found: dict[str, str | None] = {}
    for text in given or []:
        known = [m for m in modalities if text == m or text.startswith(f"{m}=")]
        modality = max(known, key=len) if known else text.partition("=")[0]
        value = text[len(modality) + 1 :]
        if modality in found:
            raise typer.BadParameter(f"{modality!r} comes twice.", param_hint=f"--{option}")
        if needs_value and not value:
            raise typer.BadParameter(f"{text!r} is not MODALITY=VALUE.", param_hint=f"--{option}")
        found[modality] = value or None
    return found


def columns(given: Mapping[str, str | Sequence[str] | None], known: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Arguments of ``setup_mudata``: columns by argument, and ``modalities``, where those ``MODALITY:COLUMN`` are.

    What is no column of that modality's own obs is the name of one in the global obs, colon and all.

    Raises
    ------
    typer.BadParameter
        If the columns of an argument are not all in one obs.

    Examples
    --------
    >>> columns({"batch_key": "rna:donor", "labels_key": "cell:type"}, {"rna": {"donor"}, "atac": set()})
    {'batch_key': 'donor', 'labels_key': 'cell:type', 'modalities': {'batch_key': 'rna'}}
    """
    found: dict[str, Any] = {}
    homes: dict[str, str] = {}
    for argument, keys in given.items():
        each = [home_and_column(key, known) for key in ([keys] if isinstance(keys, str) else keys or [])]
        if len({home for home, _ in each}) > 1:
            raise typer.BadParameter(
                f"{', '.join(map(repr, keys or ()))} are not all in one .obs: copy them to the global one.",
                param_hint="--" + argument.removesuffix("_covariate_keys").replace("_", "-"),
            )
        if each and each[0][0] is not None:
            homes[argument] = each[0][0]
        names = [column for _, column in each]
        found[argument] = None if keys is None else names[0] if isinstance(keys, str) else names
    return found | {"modalities": homes}


def home_and_column(key: str, known: Mapping[str, Collection[str]]) -> tuple[str | None, str]:
    """Modality and column of ``MODALITY:COLUMN``; no modality, and the whole name, if there is none such."""
    homes = [m for m, names in known.items() if key.startswith(f"{m}:") and key[len(m) + 1 :] in names]
    return (homes[0], key[len(homes[0]) + 1 :]) if homes else (None, key)
