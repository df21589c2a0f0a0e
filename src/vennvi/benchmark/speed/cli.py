"""``vennvi benchmark run speed``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vennvi.benchmark.speed._contestants import CONTESTANTS, get_contestant
from vennvi.benchmark.speed._growth import axes_named
from vennvi.benchmark.speed._quality import read_quality
from vennvi.benchmark.speed._run import n_threads, run_speed
from vennvi.benchmark.speed._targets import TARGETS
from vennvi.benchmark.speed._workload import WORKLOADS, get_workload

#: Its name on the command line.
SPEED = "speed"


def speed_table() -> Table:
    """What ``vennvi benchmark list`` shows of it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("timing", no_wrap=True, style="bold")
    table.add_column("question, workloads, models")
    table.add_column("targets", justify="right")
    labels = ", ".join(contestant.label for contestant in CONTESTANTS.values())
    question = "How many seconds does an epoch take, how much memory, and what bounds them?"
    table.add_row(SPEED, f"{question}\n[dim]{', '.join(WORKLOADS)}\n{labels}[/]\n", str(len(TARGETS)))
    return table


def run_from_command_line(
    console: Console,
    folder: Path,
    *,
    workloads: Sequence[str] | None,
    models: Sequence[str] | None,
    threads: Sequence[str],
    **options: Any,
) -> None:
    """Run, say what happens, and what was written; a mistake in the arguments ends with its explanation."""
    try:
        chosen = [get_workload(name) for name in workloads] if workloads else None
        for name in models or ():
            get_contestant(name)
        for name in threads:
            n_threads(name)
        axes_named(options.get("growth", ()))
    except ValueError as error:
        console.print(f"[red]{escape(str(error))}")
        raise typer.Exit(2) from None
    with console.status("") as status:
        verdicts, results = run_speed(
            folder,
            workloads=chosen,
            models=models,
            threads=threads,
            said=lambda what: status.update(escape(what)),
            **options,
        )
    parts = (results, read_quality(folder))
    if broken := sorted({model for ran in parts for model in ran.loc[ran["status"] == "failed", "model"]}):
        console.print(
            f"[yellow]Failed: {', '.join(broken)}; see the end of {escape(str(folder / 'table.md'))}. With --retry they are run again."
        )
    if len(verdicts):
        counts = verdicts["met"].value_counts()
        console.print(
            f"{folder / 'table.md'}: {counts.get('yes', 0)} of {len(verdicts)} targets met, "
            f"{counts.get('not measured', 0)} not measured",
            markup=False,
            soft_wrap=True,
        )
