"""Result rows on disk: one small CSV a cell, written whole or not at all, and their merge."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from vennvi._files import check_writable
from vennvi.benchmark._experiment import Cell, Experiment

#: ``ok``; ``cannot``: the model does not apply or is not installed; ``failed``: it raised an error.
Status = Literal["ok", "cannot", "failed"]

COLUMNS = (
    "experiment",
    "condition",
    "model",
    "latents",
    "seed",
    "supervised",
    "status",
    "space",
    "target",
    "metric",
    "value",
    "seconds",
    "reason",
    "max_epochs",
    "lr",
    "batch_size",
    "date",
    "versions",
)

#: What identifies a cell among the columns.
CELL_COLUMNS = ("experiment", "condition", "model", "latents", "seed", "supervised")

_PACKAGES = ("vennvi", "scvi-tools", "torch", "numpy", "scikit-learn", "mofapy2", "multivae")


_CLAIM = "experiment.json"


class OtherResultsError(ValueError):
    """The output folder holds the results of an experiment with other settings or data."""


def cell_frame(
    experiment: Experiment, cell: Cell, rows: pd.DataFrame, *, status: Status, seconds: float, reason: str = ""
) -> pd.DataFrame:
    """Result rows of one cell (space, target, metric, value) with what was run, when and with which versions."""
    if rows.empty:
        rows = pd.DataFrame({"space": [""], "target": [""], "metric": [""], "value": [float("nan")]})
    settings = experiment.settings
    return rows.assign(
        experiment=cell.experiment,
        condition=cell.condition,
        model=cell.model,
        latents=experiment.latents_label(cell.latents),
        seed=cell.seed,
        supervised=cell.supervised,
        status=status,
        seconds=round(seconds, 3),
        reason=reason,
        max_epochs=settings.max_epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        date=datetime.now(UTC).date().isoformat(),
        versions=versions(),
    )[list(COLUMNS)]


@cache
def versions() -> str:
    """Versions of everything that numbers depend on, for example ``python 3.11.9; vennvi 0.1.0; torch 2.13.0``."""
    found = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "; ".join(found)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, whatever interrupts the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cell_path(out: Path, cell: Cell) -> Path:
    """Where a cell's results lie."""
    return out / "cells" / f"{cell.slug}.csv"


def read_frame(path: Path) -> pd.DataFrame:
    """Read a result CSV with the column types that it was written with."""
    text = dict.fromkeys(
        ("experiment", "condition", "model", "latents", "status", "space", "target", "metric", "reason"), "str"
    )
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": ["", "nan"]})


def read_cell(path: Path) -> pd.DataFrame | None:
    """Rows of one cell; ``None`` if there are none, or they were cut short, by a full disk for instance."""
    try:
        frame = read_frame(path)
    except (FileNotFoundError, pd.errors.EmptyDataError, pd.errors.ParserError):
        return None
    return frame if len(frame) and set(COLUMNS) <= set(frame.columns) else None


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write result rows as CSV, six significant digits, whole or not at all."""
    write_atomically(path, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def merge_cells(out: Path, experiment: Experiment) -> pd.DataFrame:
    """All finished cells in the folder as one table, in the experiment's order; empty if there are none."""
    frames = [frame for path in sorted((out / "cells").glob("*.csv")) if (frame := read_cell(path)) is not None]
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    merged = pd.concat(frames, ignore_index=True)
    ranks = {
        "condition": {condition.name: i for i, condition in enumerate(experiment.full.conditions)},
        "model": {name: i for i, name in enumerate(experiment.full.models)},
        "latents": {experiment.latents_label(latents): i for i, latents in enumerate(experiment.full.latents)},
    }

    def order(column: pd.Series) -> pd.Series:
        known = ranks.get(str(column.name))
        # what is not in this run of the experiment comes last, by name
        return column if known is None else column.map(lambda v: f"{known.get(v, len(known)):04d} {v}")

    by = ["condition", "latents", "supervised", "model", "seed"]
    return merged.sort_values(by, key=order, kind="stable", ignore_index=True)


def claim_folder(out: Path, experiment: Experiment) -> None:
    """Write down what the folder's results are of, after :func:`check_folder`."""
    write_atomically(out / _CLAIM, json.dumps(check_folder(out, experiment), indent=2) + "\n")


def leave_folder(out: Path) -> None:
    """Take back the claim to a folder in which nothing was finished."""
    (out / _CLAIM).unlink(missing_ok=True)


def check_folder(out: Path, experiment: Experiment) -> dict[str, Any]:
    """Check that the folder's results, if it has any, are of this experiment; what they are of then.

    Raises
    ------
    OtherResultsError
        If the folder holds results of another experiment, other settings or other conditions of the same name.
    OSError
        If nothing can be written there.
    """
    path = out / _CLAIM
    check_writable(path)
    ours: dict[str, Any] = json.loads(json.dumps(experiment.fingerprint()))
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        differences = list(_differences(theirs, ours))
        if differences:
            raise OtherResultsError(
                f"{out} holds other results: {'; '.join(differences)}. Choose another folder with --out, or delete this one."
            )
        ours["conditions"] = {**theirs["conditions"], **ours["conditions"]}
    return ours


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    found = []
    if theirs["experiment"] != ours["experiment"]:
        found.append(f"experiment {theirs['experiment']}, not {ours['experiment']}")
    for key, value in ours["settings"].items():
        if theirs["settings"].get(key) != value:
            found.append(f"{key} {theirs['settings'].get(key)}, not {value}")
    for name, params in ours["conditions"].items():
        if theirs["conditions"].get(name, params) != params:
            found.append(f"condition {name} made with {theirs['conditions'][name]}, not {params}")
    return found
