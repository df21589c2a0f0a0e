"""The figure: seconds over the reference's, peak memory, and growth curves where they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vennvi.benchmark.speed._contestants import CONTESTANTS
from vennvi.benchmark.speed._growth import AXES
from vennvi.benchmark.speed._workload import Workload
from vennvi.pl._benchmark_labels import spread_apart

#: Columns of the summary that bars are drawn of: what it says, its range, its ratio.
_SECONDS = ("seconds", "min", "max", "seconds ratio")
_MEMORY = ("peak MB", "peak MB", "peak MB", "memory ratio")


def draw_speed(summary: pd.DataFrame, growth: pd.DataFrame, workloads: Mapping[str, Workload]) -> Figure:
    """One column a workload: seconds of every contestant (bars: median, lines: range), peak memory; then the growth curves.

    What is written beside a bar is its ratio over the workload's reference.
    """
    timed = summary[summary["status"] == "ok"] if len(summary) else summary
    held = set(timed["workload"]) if len(timed) else set()
    names = [name for name in workloads if name in held]
    axes_of = [axis for axis in AXES if len(growth) and (growth["axis"] == axis.name).any()]
    n_columns = max(1, len(names), len(axes_of))
    heights = [3.2, 2.4] if names else []
    heights += [2.6] if axes_of or not names else []
    figure = Figure(figsize=(3.6 * n_columns, sum(heights)), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), n_columns, squeeze=False, height_ratios=heights)
    for ax in panels.ravel():
        ax.set_visible(False)
    for column, name in enumerate(names):
        own, workload = timed[timed["workload"] == name], workloads[name]
        unit = f"seconds for {workload.n_epochs} epochs" if workload.unit == "training" else "seconds an epoch"
        _bars(panels[0, column], own, _SECONDS, unit)
        n_obs = f"{workload.n_obs:,}" + (f" of {workload.n_whole:,}" if workload.n_whole else "")
        panels[0, column].set_title(f"{n_obs} cells x\n{workload.title}", fontsize=7)
        fewest = own["threads"].iloc[0]
        _bars(panels[1, column], own[own["threads"] == fewest], _MEMORY, f"peak memory, MB ({_threads(fewest)})")
    for ax, axis in zip(panels[-1], axes_of, strict=False):
        _curve(ax, growth[growth["axis"] == axis.name], axis.title)
    return figure


def _threads(n: str) -> str:
    return f"{n} thread{'' if n == '1' else 's'}"


def _bars(ax: Axes, rows: pd.DataFrame, columns: tuple[str, str, str, str], title: str) -> None:
    ax.set_visible(True)
    value, low, high, ratio = columns
    threads = list(dict.fromkeys(rows["threads"]))
    models = list(dict.fromkeys(rows["model"]))
    height = 0.8 / len(threads)
    for i, n in enumerate(threads):
        own = rows[rows["threads"] == n].set_index("model").reindex(models)
        at = np.arange(len(models)) + i * height
        median = own[value].to_numpy(dtype=np.float64)
        spread = np.abs(np.stack([own[low], own[high]]).astype(np.float64) - median)
        ax.barh(
            at,
            median,
            height=0.9 * height,
            xerr=spread if low != high else None,
            color=[_color(model) for model in models],
            alpha=1.0 if i == 0 else 0.55,
            error_kw={"linewidth": 0.7},
        )
        for y, end, share in zip(at, own[high], own[ratio], strict=True):  # beyond the range
            if np.isfinite(end):
                words = [_threads(n)] if len(threads) > 1 else []
                words += [] if pd.isna(share) else [f"x {share:.2f}"]
                ax.text(end, y, " " + ", ".join(words), fontsize=5.5, va="center")
    ax.set_yticks(np.arange(len(models)) + height * (len(threads) - 1) / 2, [CONTESTANTS[m].label for m in models])
    ax.invert_yaxis()
    ax.tick_params(labelsize=6)
    ax.set_xlim(0, 1.4 * float(rows[high].max()))
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel(title, fontsize=7)


def _curve(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    ax.set_visible(True)
    ends, top = {}, 1.08 * float(rows["seconds"].max())
    for model, own in rows.groupby("model", sort=False):
        own = own.sort_values("value")
        ax.plot(own["value"], own["seconds"], color=_color(str(model)), marker="o", markersize=3, linewidth=1.3)
        ends[str(model)] = float(own["seconds"].iloc[-1]) / top
    order = sorted(ends, key=ends.__getitem__)
    for model, height in zip(order, spread_apart([ends[model] for model in order], 0.07), strict=True):
        label = CONTESTANTS[model].label
        ax.text(1.02, height, label, transform=ax.transAxes, fontsize=6, va="center", color=_color(model))
    ax.set_xlabel(fill(title, 36), fontsize=7)
    ax.set_ylabel("seconds an epoch", fontsize=7)
    ax.tick_params(labelsize=6)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_ylim(0, top)
    ax.spines[["top", "right"]].set_visible(False)


def _color(model: str) -> str:
    return CONTESTANTS[model].color if model in CONTESTANTS else "#555555"
