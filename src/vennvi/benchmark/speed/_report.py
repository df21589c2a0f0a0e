"""What the speed benchmark leaves behind for people: tables and a figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from vennvi.benchmark._results import write_atomically, write_frame
from vennvi.benchmark.speed._figure import draw_speed
from vennvi.benchmark.speed._summary import growth_of, profile_of, ran_on_gpu, summarise_speed
from vennvi.benchmark.speed._table import speed_report
from vennvi.benchmark.speed._targets import judge_speed
from vennvi.benchmark.speed._workload import Workload


def write_report(
    out: Path, results: pd.DataFrame, quality: pd.DataFrame, workloads: Mapping[str, Workload], *, quick: bool
) -> pd.DataFrame:
    """Write everything but the races themselves into a folder; the verdict on each target (none on a GPU: they are a CPU's)."""
    ran = {name: _as_run(workload, results) for name, workload in workloads.items() if name in set(results["race"])}
    summary, profile, growth = summarise_speed(results, ran), profile_of(results, ran), growth_of(results)
    targets = pd.DataFrame() if ran_on_gpu(results) else judge_speed(summary, results, quality)
    write_frame(out / "results.csv", results)
    for name, frame in (
        ("summary", summary),
        ("targets", targets),
        ("profile", profile),
        ("growth", growth),
        ("quality", quality),
    ):
        if len(frame):
            write_frame(out / f"{name}.csv", frame)
    text = speed_report(results, summary, targets, profile, growth, quality, ran, quick=quick)
    write_atomically(out / "table.md", text)
    if results.empty:  # trainings only
        return targets
    temporary = out / f".figure.{os.getpid()}.png"
    draw_speed(summary, growth, ran).savefig(temporary)
    os.replace(temporary, out / "figure.png")
    return targets


def _as_run(workload: Workload, results: pd.DataFrame) -> Workload:
    """Return the workload with the number of cells that the folder's timings are of."""
    sizes = results.loc[(results["race"] == workload.name) & (results["n_obs"] > 0), "n_obs"]
    return workload.shrunk(int(sizes.max())) if len(sizes) else workload
