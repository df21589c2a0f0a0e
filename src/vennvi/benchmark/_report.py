"""What an experiment leaves behind for people: tables and a figure."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from vennvi.benchmark._experiment import Experiment
from vennvi.benchmark._figure import draw
from vennvi.benchmark._results import write_atomically, write_frame
from vennvi.benchmark._summary import summarise
from vennvi.benchmark._table import markdown_report


def write_report(experiment: Experiment, results: pd.DataFrame, out: Path) -> None:
    """Write ``results.csv``, ``summary.csv``, ``table.md`` and ``figure.png`` into a folder."""
    write_frame(out / "results.csv", results)
    write_frame(out / "summary.csv", summarise(results, experiment))
    write_atomically(out / "table.md", markdown_report(results, experiment))
    temporary = out / f".figure.{os.getpid()}.png"
    figure = draw(results, experiment)
    figure.savefig(temporary, dpi=200)
    plt.close(figure)
    os.replace(temporary, out / "figure.png")
