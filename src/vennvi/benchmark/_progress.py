"""What a running experiment shows on the terminal."""

from __future__ import annotations

from types import TracebackType

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from vennvi.benchmark._experiment import Experiment


class Progress:
    """A progress bar over the cells, with the last cell's first number beside it and a line for each that failed.

    Parameters
    ----------
    experiment
        The experiment.
    n_done
        Cells that were there before.
    n_all
        All cells.
    shown
        Whether to show anything.
    console
        Where to.
    """

    def __init__(
        self, experiment: Experiment, *, n_done: int, n_all: int, shown: bool = True, console: Console | None = None
    ):
        self._headline = experiment.headlines[0]
        self._seen: set[tuple[str, str]] = set()
        console = console or Console(stderr=True)
        room = max(10, console.width - len(experiment.name) - 46)  # beside the bar, the count and the times
        self._bar = RichProgress(
            TextColumn(f"[bold]{escape(experiment.name)}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("left", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[last]}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=room)),
            console=console,
            disable=not shown,
        )
        resumed = f"{n_done} found, not run again" if n_done else ""
        self._task = self._bar.add_task("", total=n_all, completed=n_done, last=resumed)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, frame: pd.DataFrame) -> None:
        """Count a finished cell, given its rows."""
        first = frame.iloc[0]
        what = f"{first.model} {first.condition} {first.latents} seed {first.seed}"
        what += " supervised" if first.supervised else ""
        if first.status == "ok":
            space, target, metric = self._headline.key
            rows = frame[(frame["space"] == space) & (frame["target"] == target) & (frame["metric"] == metric)]
            value = f" {metric} {rows['value'].iloc[0]:.2f}" if len(rows) else ""
            last = f"{what}{value} ({first.seconds:.1f} s)"
        else:
            last = f"{what} {first.status}"
            if (first.model, first.reason) not in self._seen:
                self._seen.add((first.model, first.reason))
                word = "cannot run" if first.status == "cannot" else "failed"
                self._bar.console.print(f"[yellow]{escape(first.model)} {word}:[/] {escape(first.reason)}")
        self._bar.update(self._task, advance=1, last=escape(last))
