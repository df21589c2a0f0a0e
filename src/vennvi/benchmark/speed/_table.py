"""The Markdown report: targets, one table a workload, what bounds each row, profiles, growth, seconds to a quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from vennvi.benchmark._table import markdown_row, run_with
from vennvi.benchmark.speed._contestants import CONTESTANTS
from vennvi.benchmark.speed._growth import AXES
from vennvi.benchmark.speed._profile import CATEGORIES
from vennvi.benchmark.speed._quality import TASKS, QualityTask, model_of
from vennvi.benchmark.speed._workload import Workload

#: Columns about memory: title, column of the summary, digits.
_MEMORY = (
    ("peak, MB", "peak MB", 0),
    ("ratio", "memory ratio", 2),
    ("beyond imports and data, MB", "training MB", 0),
    ("ratio", "training memory ratio", 2),
)
_GPU_MEMORY = (("GPU peak, MB", "GPU peak MB", 0), ("ratio", "GPU memory ratio", 2))


def speed_report(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    targets: pd.DataFrame,
    profile: pd.DataFrame,
    growth: pd.DataFrame,
    quality: pd.DataFrame,
    workloads: Mapping[str, Workload],
    *,
    quick: bool = False,
) -> str:
    """All tables as one Markdown text."""
    lines = ["# speed", ""]
    if quick:
        lines += ["**A short version: few cells. It shows that everything runs, not how fast it is.**", ""]
    parts = [part for part in (results, quality.rename(columns={"task": "race"})) if len(part)]
    ran = pd.concat(parts, ignore_index=True)
    machines = " | ".join(dict.fromkeys(ran["machine"]))
    lines += [f"{machines}. {run_with(ran)}", ""]
    lines += _targets(targets)
    for name, own in summary.groupby("workload", sort=False) if len(summary) else ():
        lines += _workload(workloads[str(name)], own)
    lines += _bounds(summary)
    lines += _profiles(profile)
    lines += _growth(growth)
    lines += _quality(quality)
    lines += _reasons(ran)
    return "\n".join(lines).rstrip() + "\n"


def label(model: str) -> str:
    """How a contestant is written."""
    return CONTESTANTS[model].label if model in CONTESTANTS else model


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    # the first column is text, as are all that hold any
    return [markdown_row(head), markdown_row(["---", *["---:"] * (len(head) - 1)]), *map(markdown_row, rows), ""]


def _number(value: float, digits: int = 2) -> str:
    return "–" if pd.isna(value) else f"{value:,.{digits}f}"


def _seconds(value: float) -> str:
    return _number(value, 3 if value < 1 else 2)


def _targets(targets: pd.DataFrame) -> list[str]:
    if targets.empty:
        return []
    rows = [
        (t.what, label(t.model), t.threads, t.quantity, f"{t.n_obs:,}" if t.n_obs else "", f"≤ {t.bound:g}", _number(t.found), t.met)
        for t in targets.itertuples()
    ]  # fmt: skip
    return ["## Targets", "", *_table(["", "model", "threads", "quantity", "cells", "target", "found", "met"], rows)]


def _workload(workload: Workload, summary: pd.DataFrame) -> list[str]:
    what = f"a whole training of {workload.n_epochs} epochs" if workload.unit == "training" else "one epoch"
    cells = f"{workload.n_obs:,} cells"
    if workload.n_whole:
        cells += f" (of the workload's {workload.n_whole:,}: what holds by the cell holds for all, what holds by the epoch does not)"
    over = f" Ratios are over {label(workload.reference)}, medians over rounds." if workload.reference else ""
    lines = [f"## {workload.title}", "", f"{cells}; a turn is {what}.{over}", ""]
    memory = _GPU_MEMORY if summary["GPU peak MB"].notna().any() else _MEMORY
    rows = []
    for row in summary.to_dict("records"):
        if row["status"] != "ok":
            word = "cannot run" if row["status"] == "cannot" else "failed"
            rows.append([label(row["model"]), row["threads"], word, "", "", *[""] * len(memory)])
            continue
        ratio = _number(row["seconds ratio"])
        if not pd.isna(row["ratio min"]):
            ratio += f" [{row['ratio min']:.2f}, {row['ratio max']:.2f}]"
        rows.append(
            [
                label(row["model"]),
                row["threads"],
                f"{_seconds(row['seconds'])} [{_seconds(row['min'])}, {_seconds(row['max'])}]",
                ratio,
                _seconds(row["setup seconds"]) if workload.unit == "epoch" else "in the turn",
                *[_number(row[column], digits) for _, column, digits in memory],
            ]
        )
    head = ["", "threads", "seconds", "ratio", "setup, s", *[title for title, _, _ in memory]]
    return [*lines, *_table(head, rows)]


def _bounds(summary: pd.DataFrame) -> list[str]:
    if summary.empty or "gflop" not in summary:
        return []
    rows = []
    for row in summary[summary["status"] == "ok"].to_dict("records"):
        parts = {name: row.get(f"bound {name}", np.nan) for name in ("products", "likelihood", "optimiser", "sparse")}
        rows.append(
            [
                f"{row['workload']}, {label(row['model'])}",
                row["threads"],
                _number(row["gflop"], 1),
                _number(row["gflop/s"], 1),
                _number(row.get("machine gflop/s", np.nan), 1),
                _number(100 * row.get("share", np.nan), 0),
                *[_seconds(value) for value in parts.values()],
                _number(row.get("bound ratio", np.nan)),
            ]
        )
    head = ["", "threads", "GFLOP an epoch", "GFLOP/s", "machine's", "share, %", "products, s", "likelihood, s", "optimiser, s", "sparse, s", "measured / sum"]  # fmt: skip
    note = (
        "Matrix products of an epoch (of our models: what the objective needs; of peers: counted in one step), how many "
        "a second were done, and how many the machine does in a large product. Then the least seconds of each part "
        "of an epoch at the machine's own rates, and what was measured over their sum."
    )
    return ["## What bounds each row", "", note, "", *_table(head, rows)]


def _profiles(profile: pd.DataFrame) -> list[str]:
    if profile.empty:
        return []
    held = [name for name in CATEGORIES if name in profile]
    rows = [
        [
            f"{row['workload']}, {label(row['model'])}",
            row["threads"],
            *[_number(row[name], 2) for name in held],
            _number(sum(row[name] for name in held), 2),
        ]
        for row in profile.to_dict("records")
    ]
    note = "Milliseconds a step under the profiler, which makes what is not a kernel look slower than it is."
    return ["## Where a step goes", "", note, "", *_table(["", "threads", *held, "all"], rows)]


def _growth(growth: pd.DataFrame) -> list[str]:
    if growth.empty:
        return []
    lines = ["## Growth", ""]
    for axis in AXES:
        own = growth[growth["axis"] == axis.name]
        if own.empty:
            continue
        rows = [
            [label(r["model"]), r["threads"], f"{r['value']:,}", _seconds(r["seconds"]), _number(r["microseconds a cell"], 0), _number(r["peak MB"], 0)]
            for r in own.to_dict("records")
        ]  # fmt: skip
        head = ["", "threads", axis.title, "seconds an epoch", "microseconds a cell", "peak, MB"]
        lines += [f"### {axis.title[0].upper()}{axis.title[1:]}", "", *_table(head, rows)]
    return lines


def _quality(quality: pd.DataFrame) -> list[str]:
    ran = quality[quality["status"] == "ok"] if len(quality) else quality
    if not len(ran):
        return []
    lines = [
        "## Seconds to a quality",
        "",
        "One thread; whole trainings of that many epochs, medians over seeds; the seconds are those of setting up, training "
        "and reading latents and predictions.",
        "",
    ]
    for task in TASKS:
        own = ran[ran["task"] == task.name]
        if own.empty:
            continue
        rows = [
            [model_of(str(model)).label, str(epochs), str(len(part)), _seconds(part["seconds"].median()), _number(part["value"].median(), 3)]
            for (model, epochs), part in own.groupby(["model", "epochs"], sort=False)
        ]  # fmt: skip
        title = f"{task.title[0].upper()}{task.title[1:]}"
        lines += [f"### {title}", "", *_table(["", "epochs", "seeds", "seconds", task.reading[2]], rows)]
        if task.level is not None:
            lines += [_reached(task, own), ""]
    return lines


def _reached(task: QualityTask, rows: pd.DataFrame) -> str:
    """One sentence: who reaches the level, in how many seconds."""
    seconds = {str(model): task.seconds(rows, str(model)) for model in rows["model"].unique()}
    said = [
        f"{model_of(model).label} {'not' if np.isnan(s) else f'in {_seconds(s)} s'}" for model, s in seconds.items()
    ]
    return f"{task.level:g} is reached: {'; '.join(said)}."


def _reasons(results: pd.DataFrame) -> list[str]:
    broken = results[results["status"] != "ok"].drop_duplicates(["race", "model", "reason"])
    if broken.empty:
        return []
    return ["## What could not run", "", *_said(broken), ""]


def _said(broken: pd.DataFrame) -> Iterator[str]:
    for (model, status, reason), rows in broken.groupby(["model", "status", "reason"], sort=False):
        word = "cannot run" if status == "cannot" else "failed"
        yield f"- {label(str(model))} {word} at {', '.join(dict.fromkeys(rows['race']))}: {reason}"
