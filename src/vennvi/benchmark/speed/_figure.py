"""The figure: seconds over the reference's, peak memory, and growth curves where they were measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vennvi.benchmark.speed._contestants import CONTESTANTS
from vennvi.benchmark.speed._growth import AXES
from vennvi.benchmark.speed._workload import Workload


def draw_speed(summary: pd.DataFrame, growth: pd.DataFrame, workloads: Mapping[str, Workload]) -> Figure:
    """One panel a workload with the seconds of every contestant (bars: median, lines: range), and one a growth curve."""
    timed = summary[summary["status"] == "ok"] if len(summary) else summary
    names = list(dict.fromkeys(timed["workload"])) if len(timed) else []
    axes_of = [axis for axis in AXES if len(growth) and (growth["axis"] == axis.name).any()]
    n_columns = max(1, len(names), len(axes_of))
    n_rows = 1 + bool(axes_of)
    figure = Figure(figsize=(3.6 * n_columns, 2.8 * n_rows), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax in panels.ravel():
        ax.set_visible(False)
    for ax, name in zip(panels[0], names, strict=False):
        _bars(ax, timed[timed["workload"] == name], workloads[name])
    for ax, axis in zip(panels[-1], axes_of, strict=False):
        _curve(ax, growth[growth["axis"] == axis.name], axis.title)
    return figure


def _bars(ax: Axes, rows: pd.DataFrame, workload: Workload) -> None:
    ax.set_visible(True)
    threads = list(dict.fromkeys(rows["threads"]))
    models = list(dict.fromkeys(rows["model"]))
    height = 0.8 / len(threads)
    for i, n in enumerate(threads):
        own = rows[rows["threads"] == n].set_index("model").reindex(models)
        at = np.arange(len(models)) + i * height
        median = own["seconds"].to_numpy(dtype=np.float64)
        spread = np.abs(np.stack([own["min"], own["max"]]).astype(np.float64) - median)
        ax.barh(
            at,
            median,
            height=0.9 * height,
            xerr=spread,
            color=[_color(model) for model in models],
            alpha=1.0 if i == 0 else 0.55,
            error_kw={"linewidth": 0.7},
        )
        for y, seconds, ratio in zip(at, own["max"], own["seconds ratio"], strict=True):  # beyond the range
            if np.isfinite(seconds):
                word = f" {n} thread{'' if n == '1' else 's'}" + ("" if pd.isna(ratio) else f", x {ratio:.2f}")
                ax.text(seconds, y, word, fontsize=5.5, va="center")
    ax.set_yticks(np.arange(len(models)) + height * (len(threads) - 1) / 2, [CONTESTANTS[m].label for m in models])
    ax.invert_yaxis()
    ax.tick_params(labelsize=6)
    ax.margins(x=0.35)
    ax.spines[["top", "right"]].set_visible(False)
    unit = f"seconds for {workload.n_epochs} epochs" if workload.unit == "training" else "seconds an epoch"
    ax.set_xlabel(unit, fontsize=7)
    ax.set_title(f"{workload.n_obs:,} cells x\n{workload.title}", fontsize=7)


def _curve(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    ax.set_visible(True)
    for model, own in rows.groupby("model", sort=False):
        own = own.sort_values("value")
        ax.plot(own["value"], own["seconds"], color=_color(str(model)), marker="o", markersize=3, linewidth=1.3)
        last = own.iloc[-1]
        ax.annotate(
            CONTESTANTS[str(model)].label, (last["value"], last["seconds"]), fontsize=6, color=_color(str(model))
        )
    ax.set_xlabel(title, fontsize=7)
    ax.set_ylabel("seconds an epoch", fontsize=7)
    ax.tick_params(labelsize=6)
    ax.set_ylim(bottom=0)
    ax.spines[["top", "right"]].set_visible(False)


def _color(model: str) -> str:
    return CONTESTANTS[model].color if model in CONTESTANTS else "#555555"
