"""Races on disk: one CSV a race and number of threads, and what the folder's numbers are of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from vennvi._files import check_writable
from vennvi.benchmark._results import OtherResultsError, versions, write_atomically, write_frame
from vennvi.benchmark.speed._machine import describe_machine
from vennvi.benchmark.speed._workload import Workload

#: Columns of ``results.csv``; see :func:`~._race.run_race` for the quantities.
COLUMNS = (
    "race",
    "threads",
    "workload",
    "n_obs",
    "model",
    "status",
    "quantity",
    "round",
    "value",
    "reason",
    "date",
    "versions",
    "machine",
)
_CLAIM = "speed.json"
_TEXT = ("race", "threads", "workload", "model", "status", "quantity", "reason", "date", "versions", "machine")


def race_path(out: Path, race: str, threads: str) -> Path:
    """Where a race's rows lie."""
    return out / "races" / f"{re.sub(r'[^a-zA-Z0-9.+-]', '-', race)}__{threads}.csv"


def write_race(
    out: Path, race: str, threads: str, rows: pd.DataFrame, workloads: Sequence[Workload], accelerator: str
) -> pd.DataFrame:
    """Write the rows of a race with when, with what and on which machine it was run."""
    n_obs = {workload.name: workload.n_obs for workload in workloads}
    frame = rows.assign(
        race=race,
        threads=threads,
        n_obs=rows["workload"].map(n_obs).fillna(0).astype(int),
        date=datetime.now(UTC).date().isoformat(),
        versions=versions(),
        machine=describe_machine(accelerator),
    )[list(COLUMNS)]
    write_frame(race_path(out, race, threads), frame)
    return frame


def read_race(path: Path) -> pd.DataFrame:
    """Read what :func:`write_race` wrote."""
    frame = pd.read_csv(
        path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values={"value": ["", "nan"]}
    )
    return frame[list(COLUMNS)]


def read_races(out: Path, order: Sequence[str] = ()) -> pd.DataFrame:
    """All races in the folder: those named first, in that order, then the others by name."""
    frames = [read_race(path) for path in sorted((out / "races").glob("*.csv"))]
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    merged = pd.concat(frames, ignore_index=True)
    rank = {name: i for i, name in enumerate(order)}
    return merged.sort_values(
        ["race", "threads"],
        key=lambda c: c.map(lambda v: f"{rank.get(v, len(rank)):04d} {v}"),
        kind="stable",
        ignore_index=True,
    )


def is_complete(path: Path, models: Sequence[str], workloads: Sequence[Workload], repeats: int, *, retry: bool) -> bool:
    """Whether a race on disk has all these contestants at all these workloads, and rounds enough.

    With ``retry``, also that none failed.
    """
    if not path.exists():
        return False
    frame = read_race(path)
    entered = set(zip(frame["model"], frame["workload"], strict=True))
    if not {(model, workload.name) for model in models for workload in workloads} <= entered:
        return False
    ran = frame[(frame["quantity"] == "seconds") & (frame["status"] == "ok")]
    if len(ran) and ran.groupby(["model", "workload"])["round"].max().min() < repeats:
        return False
    return not (retry and (frame["status"] != "ok").any())


def models_in(path: Path) -> list[str]:
    """Contestants of a race on disk; none if there is none."""
    return list(dict.fromkeys(read_race(path)["model"])) if path.exists() else []


def claim(out: Path, workloads: Sequence[Workload], accelerator: str) -> None:
    """Write down what the folder's timings are of, or check that it agrees.

    Raises
    ------
    OtherResultsError
        If the folder holds timings of a workload of the same name and another size, or on another accelerator.
    """
    path = out / _CLAIM
    check_writable(path)
    ours: dict[str, Any] = {
        "accelerator": accelerator,
        "workloads": {workload.name: json.loads(json.dumps(workload.fingerprint())) for workload in workloads},
    }
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        differences = list(_differences(theirs, ours))
        if differences:
            raise OtherResultsError(
                f"{out} holds other timings: {'; '.join(differences)}. Choose another folder with --out, or delete this one."
            )
        ours["workloads"] = {**theirs["workloads"], **ours["workloads"]}
    write_atomically(path, json.dumps(ours, indent=2) + "\n")


def leave(out: Path) -> None:
    """Take back the claim to a folder in which nothing was finished."""
    (out / _CLAIM).unlink(missing_ok=True)


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterable[str]:
    if theirs["accelerator"] != ours["accelerator"]:
        yield f"accelerator {theirs['accelerator']}, not {ours['accelerator']}"
    for name, fingerprint in ours["workloads"].items():
        other = theirs["workloads"].get(name, fingerprint)
        for key, value in fingerprint.items():
            if other.get(key) != value:
                yield f"{key} of {name} {other.get(key)}, not {value}"
