"""The figure of an experiment: headlines over the sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vennvi.benchmark._experiment import Experiment, Headline
from vennvi.benchmark._summary import Series, label_of, of_headline, of_series, series_in
from vennvi.benchmark._table import _ordered, latent_sizes
from vennvi.benchmark.adapters import MODELS

_OTHER_COLOR = "#555555"
_LABEL_GAP = 0.062  # of the panel's height, between two direct labels
_LOWEST = -0.35  # R² far below the level of no information is cut off here


def draw(results: pd.DataFrame, experiment: Experiment) -> Figure:
    """One panel a headline (rows) and latent size (columns): medians over seeds as lines, ranges as bands.

    Every model keeps its colour in all figures; models trained with labels are dashed, with open markers. Lines are
    labelled at their end.
    """
    headlines = [h for h in experiment.headlines if h.in_figure and len(of_headline(results, h))]
    latents = latent_sizes(results)
    conditions = _ordered(results["condition"], [condition.name for condition in experiment.full.conditions])
    series = series_in(results[results["status"] == "ok"], experiment)
    n_rows, n_columns = max(1, len(headlines)), max(1, len(latents))
    figure = Figure(figsize=(2.9 * n_columns + 1.9, 2.5 * n_rows + 0.6), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey="row")
    for row, headline in zip(axes, headlines, strict=False):
        for column, (ax, sizes) in enumerate(zip(row, latents, strict=True)):
            own = results[results["latents"] == sizes]
            ends = _panel(ax, of_headline(own, headline), conditions, series)
            _no_information(ax, own, headline, conditions)
            _tidy(ax, conditions)
            if column == 0:
                _set_range(ax, headline)
            if headline is headlines[0]:
                ax.set_title(f"latents {sizes}", fontsize=9)
            if column == 0:
                ax.set_ylabel(_wrap(headline.title), fontsize=8)
            if column == n_columns - 1:
                ax.set_xlim(-0.2, len(conditions) - 0.8)
                _label_ends(ax, ends)
    figure.supxlabel(experiment.sweep, fontsize=8)
    return figure


def _panel(
    ax: Axes, rows: pd.DataFrame, conditions: Sequence[str], series: Sequence[Series]
) -> dict[Series, tuple[int, float]]:
    """Draw all lines; where each ends, ``(condition, median)``."""
    ends = {}
    for line in series:
        supervised = line[1]
        values = of_series(rows, line).groupby("condition")["value"]
        median, low, high = (
            getattr(values, statistic)().reindex(conditions).to_numpy(dtype=np.float64)
            for statistic in ("median", "min", "max")
        )
        drawn = np.flatnonzero(np.isfinite(median))
        if not drawn.size:
            continue
        color = _color(line)
        x = np.arange(len(conditions))
        median, low, high = (np.maximum(v, _LOWEST) for v in (median, low, high))
        ax.fill_between(x, low, high, color=color, alpha=0.08 if supervised else 0.15, linewidth=0)
        ax.plot(
            x,
            median,
            color=color,
            linewidth=1.5,
            linestyle=(0, (4, 2)) if supervised else "-",
            marker="o",
            markersize=3.5,
            markerfacecolor="white" if supervised else color,
            label=label_of(line),
        )
        ends[line] = (int(drawn[-1]), float(median[drawn[-1]]))
    return ends


def _no_information(ax: Axes, results: pd.DataFrame, headline: Headline, conditions: Sequence[str]) -> None:
    null = of_headline(results, headline, "_null")
    if len(null):
        level = null.groupby("condition")["value"].median().reindex(conditions).to_numpy(dtype=np.float64)
    elif headline.chance is not None:
        level = np.full(len(conditions), headline.chance)
    else:
        return
    ax.plot(np.arange(len(conditions)), level, color="#777777", linewidth=0.9, linestyle=":", zorder=0)


def _tidy(ax: Axes, conditions: Sequence[str]) -> None:
    long = max(map(len, conditions)) * len(conditions) > 30
    ax.set_xticks(
        range(len(conditions)), conditions, fontsize=7, rotation=35 if long else 0, ha="right" if long else "center"
    )
    ax.tick_params(axis="y", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


def _set_range(ax: Axes, headline: Headline) -> None:
    """Scale on which a small difference looks small: at least from no information to perfect."""
    whole = {"auc": (0.4, 1.0), "accuracy": (0.0, 1.0), "foscttm": (0.0, 0.55)}
    low, high = next((v for name, v in whole.items() if headline.metric.startswith(name)), (-0.2, 1.0))
    drawn_low, drawn_high = ax.get_ylim()
    margin = 0.03 * (high - low)
    ax.set_ylim(min(low - margin, drawn_low), max(high + margin, drawn_high))


def _label_ends(ax: Axes, ends: dict[Series, tuple[int, float]]) -> None:
    """Write each line's name beside its end, moved apart where they would overlap."""
    if not ends:
        return
    bottom, top = ax.get_ylim()
    order = sorted(ends, key=lambda line: ends[line][1])
    heights = spread_apart([(ends[line][1] - bottom) / (top - bottom) for line in order], _LABEL_GAP)
    for line, height in zip(order, heights, strict=True):
        position, value = ends[line]
        ax.annotate(
            label_of(line),
            xy=(position, value),
            xytext=(1.04, height),
            xycoords="data",
            textcoords="axes fraction",
            color=_color(line),
            fontsize=7,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": _color(line),
                "linewidth": 0.5,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 3,
            },
        )


def spread_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights apart to at least ``gap``, each as little as the others allow, kept around their mean.

    Examples
    --------
    >>> [round(h, 2) for h in spread_apart([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    # Pool neighbours that overlap into blocks (isotonic regression on the heights less their offsets).
    blocks: list[list[float]] = []  # sums and counts
    for i, height in enumerate(heights):
        blocks.append([height - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    levels = [total / n for total, n in blocks for _ in range(int(n))]
    return [level + i * gap for i, level in enumerate(levels)]


def _color(line: Series) -> str:
    return MODELS[line[0]].color if line[0] in MODELS else _OTHER_COLOR


def _wrap(text: str, width: int = 34) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
