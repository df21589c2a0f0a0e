"""What the models must reach, as data, and whether the summary says that they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vennvi.benchmark.speed._growth import AXES, value_of
from vennvi.benchmark.speed._quality import EQUAL, RECOVERED
from vennvi.benchmark.speed._summary import growth_ratio


@dataclass(frozen=True)
class SpeedTarget:
    """A bound on one number of the summary: ``seconds ratio`` or ``memory ratio``, over the workload's reference."""

    workload: str
    threads: str
    model: str
    quantity: str
    bound: float


def _exact(workload: str, model: str, seconds: tuple[float, float], memory: float) -> Iterator[SpeedTarget]:
    for threads, bound in zip(("1", "all"), seconds, strict=True):
        yield SpeedTarget(workload, threads, model, "seconds ratio", bound)
    yield SpeedTarget(workload, "1", model, "memory ratio", memory)


def _sampled(workload: str, model: str, bound: float) -> Iterator[SpeedTarget]:
    for threads in ("1", "all"):
        yield SpeedTarget(workload, threads, f"{model}-quarter", "seconds ratio", bound)


_OURS = ("MMVAEPlusPlus", "VennVI")

#: All targets on workloads.
TARGETS: tuple[SpeedTarget, ...] = (
    *(target for model in _OURS for target in _exact("peaks-20k", model, (0.45, 0.5), 0.8)),
    *(target for model in _OURS for target in _sampled("peaks-20k", model, 0.25)),
    *(target for model in _OURS for target in _exact("peaks-100k", model, (0.35, 0.35), 0.5)),
    *(target for model in _OURS for target in _sampled("peaks-100k", model, 0.12)),
    SpeedTarget("gaussian", "1", "MMVAEPlusPlus", "seconds ratio", 2.0),
)
#: Seconds a cell and epoch, most over fewest cells of the growth curve from 10,000 on.
CELLS_BOUND = 1.15
#: Seconds to the recovery of the shared factor.
RECOVERY_BOUND = 30.0
#: Held-out deviance of the subsampled model over the exact one's.
DEVIANCE_BOUND = 1.01


def judge_speed(summary: pd.DataFrame, results: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Compare all targets with what was measured.

    Returns
    -------
    One row a target: ``what``, ``threads``, ``model``, ``quantity``, ``n_obs`` (cells that it was measured on; 0 where that is
    said in ``what``, or not measured), ``bound``, ``found`` (NaN if not measured), ``met`` (``yes``, ``no`` or ``not measured``).
    """
    rows = []
    if summary.empty:  # no race, trainings only
        summary = summary.reindex(columns=["workload", "threads", "model"])
    for target in TARGETS:
        own = summary[
            (summary["workload"] == target.workload)
            & (summary["threads"] == target.threads)
            & (summary["model"] == target.model)
        ]
        found = float(own[target.quantity].iloc[0]) if len(own) else np.nan
        cells = int(own["n_obs"].iloc[0]) if len(own) else 0
        rows.append((target.workload, target.threads, target.model, target.quantity, cells, target.bound, found))
    axis = next(axis for axis in AXES if axis.name == "cells")
    for model in _OURS:
        own = results[results["race"] == axis.race(model)]
        for threads in own["threads"].unique() if len(own) else ["1"]:
            curve = own[own["threads"] == threads]
            at = sorted({value_of(name) for name in curve["workload"] if name})
            ends = [value for value in at if value >= 10_000]
            few, many = (f"cells-{min(ends)}", f"cells-{max(ends)}") if len(ends) > 1 else ("", "")
            found = growth_ratio(curve, many, few) if many else np.nan
            what = (
                f"seconds a cell, {max(ends):,} over {min(ends):,} cells"
                if many
                else "seconds a cell, 200,000 over 10,000 cells"
            )
            rows.append((what, threads, model, "seconds ratio", 0, CELLS_BOUND, found))
    rows.append((RECOVERED.title, "1", "VennVI", "seconds", 0, RECOVERY_BOUND, RECOVERED.seconds(quality, "VennVI")))
    rows += [
        (EQUAL.title, "1", name, "deviance ratio", 0, DEVIANCE_BOUND, EQUAL.deviance_ratio(quality, name))
        for name in (f"{m}-quarter" for m in _OURS)
    ]
    frame = pd.DataFrame(rows, columns=["what", "threads", "model", "quantity", "n_obs", "bound", "found"])
    met = np.where(frame["found"] <= frame["bound"], "yes", "no")
    return frame.assign(met=np.where(frame["found"].isna(), "not measured", met))
