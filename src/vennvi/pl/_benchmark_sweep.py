"""Scores of models over a sweep, as `vennvi benchmark` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vennvi.pl._benchmark_dots import draw_dots
from vennvi.pl._benchmark_table import (
    Score,
    Series,
    in_order,
    latent_sizes,
    levels,
    name_of,
    of_score,
    scale_of,
    series_of,
    tidied,
    wrap,
)
from vennvi.pl._palette import PALETTE

_LABEL_GAP, _BESIDE_AXES = 0.128, 0.45  # inches: between two direct labels, and of a row of panels beside its axes
_LOWEST = -0.35  # R² far below the level of no information is cut off here


def benchmark_sweep(
    results: pd.DataFrame,
    scores: Mapping[Score, str] | Sequence[Score] | None = None,
    *,
    conditions: Sequence[str] = (),
    models: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
    chance: Mapping[Score, float] | None = None,
    xlabel: str = "",
) -> Figure:
    """Draw one panel a score (rows) and latent size (columns): medians over seeds as lines, ranges as bands.

    Models trained with labels are dashed, with open markers. Lines are labelled at their end. A dotted line is the level
    of no information. Where nothing is swept, one panel a score with a row a model: medians as dots, ranges as bars.

    Parameters
    ----------
    results
        ``results.csv`` or ``summary.csv`` of ``vennvi benchmark``, or any table with the columns ``model``,
        ``condition``, ``space``, ``target``, ``metric`` and ``value`` (one row a seed), or ``median``, ``min`` and
        ``max`` instead of ``value``; besides, if there are any, ``latents``, ``supervised`` and ``status``.
    scores
        What to draw, ``(space, target, metric)``, with titles or without; by default everything but the levels of no
        information, whose metrics end with ``_null``.
    conditions, models
        Order of the sweep and of the models; those that are not named follow.
    labels, colors
        Names and colours of the models, where others than their own and the palette's are wanted.
    chance
        Levels of no information of scores that have no ``_null`` rows.
    xlabel
        What is swept.

    Returns
    -------
    The figure, with an axes for each score and latent size, row by row (of a sweep; of one condition, all scores of a
    latent size after each other).

    Raises
    ------
    KeyError
        If a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"model": "a", "condition": ["low", "high"] * 2, "space": "shared", "target": "y",
    ...                       "metric": "auc_test", "value": [0.9, 0.7, 0.8, 0.6]})
    >>> figure = benchmark_sweep(table, {("shared", "y", "auc_test"): "AUC"}, xlabel="noise")
    >>> figure.axes[0].lines[0].get_ydata().round(2).tolist()
    [0.85, 0.65]
    """
    results = tidied(results)
    if scores is None:
        keys = results.loc[results["status"] == "ok", ["space", "target", "metric"]].dropna().drop_duplicates()
        scores = [tuple(key) for key in keys.astype(str).values if not key[2].endswith("_null")]
    if not isinstance(scores, Mapping):
        scores = {(space, target, metric): f"{metric} of {target} from {space}" for space, target, metric in scores}
    scores = {score: title for score, title in scores.items() if len(of_score(results, score))}
    conditions = in_order(results["condition"], conditions)
    latents = latent_sizes(results)
    series = series_of(results[results["status"] == "ok"], models)
    own = cycle((*PALETTE[:6], PALETTE[7], "0.55"))  # no yellow lines on white
    colors = dict(zip(dict(series), own, strict=False)) | dict(colors or {})
    if len(conditions) == 1:
        return draw_dots(results, scores, conditions[0], latents, series, labels or {}, colors, chance or {})
    n_rows, n_columns = max(1, len(scores)), max(1, len(latents))
    height = max(2.5, _LABEL_GAP * (len(series) + 1) + _BESIDE_AXES)
    gap = _LABEL_GAP / (height - _BESIDE_AXES)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2.9 * n_columns + 1.9, height * n_rows + 0.6),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    unlabelled: dict[str, Artist] = {}
    for row, (score, title) in zip(axes, scores.items(), strict=False):
        for ax, sizes in zip(row, latents, strict=True):
            here = results[results["latents"] == sizes]
            ends = _draw_lines(ax, of_score(here, score), conditions, series, colors, labels or {})
            _draw_chance(ax, here, score, conditions, (chance or {}).get(score))
            _tidy(ax, conditions)
            if ax is row[0]:
                _set_range(ax, score[2])
                ax.set_ylabel(wrap(title), fontsize=8)
            if ax in axes[0] and sizes:
                ax.set_title(f"latents {sizes}", fontsize=9)
            if ax is row[-1]:
                ax.set_xlim(-0.2, len(conditions) - 0.8)
                _label_ends(ax, ends, gap, colors, labels or {})
                here = {name_of(line, labels or {}) for line in ends}
                for handle, name in (
                    pair for panel in row[:-1] for pair in zip(*panel.get_legend_handles_labels(), strict=True)
                ):
                    if name not in here:
                        unlabelled.setdefault(name, handle)
    figure.supxlabel(xlabel, fontsize=8)
    _add_legend(figure, unlabelled)
    return figure


def _add_legend(figure: Figure, unlabelled: Mapping[str, Artist]) -> None:
    """Name what the last column, whose lines are labelled at their end, has not."""
    if unlabelled:
        figure.legend(
            list(unlabelled.values()), list(unlabelled), loc="outside upper center", ncols=6, fontsize=7, frameon=False
        )


def _draw_lines(
    ax: Axes,
    rows: pd.DataFrame,
    conditions: Sequence[str],
    series: Sequence[Series],
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> dict[Series, tuple[int, float]]:
    """Draw all lines; where each ends, ``(condition, median)``."""
    ends, x = {}, np.arange(len(conditions))
    faint = min(0.15, 0.9 / len(series)) if series else 0.0  # or many bands would cover the lines
    for line in series:
        name, supervised = line
        own = rows[(rows["model"] == name) & (rows["supervised"] == supervised)]
        median, low, high = (np.maximum(v, _LOWEST) for v in levels(own, conditions))
        drawn = np.flatnonzero(np.isfinite(median))
        if not drawn.size:
            continue
        color = colors[name]
        ax.fill_between(x, low, high, color=color, alpha=faint / 2 if supervised else faint, linewidth=0)
        ax.plot(
            x,
            median,
            color=color,
            linewidth=1.5,
            linestyle=(0, (4, 2)) if supervised else "-",
            marker="o",
            markersize=3.5,
            markerfacecolor="white" if supervised else color,
            label=name_of(line, labels),
        )
        ends[line] = (int(drawn[-1]), float(median[drawn[-1]]))
    return ends


def _draw_chance(
    ax: Axes, results: pd.DataFrame, score: Score, conditions: Sequence[str], chance: float | None
) -> None:
    null = of_score(results, score, "_null")
    if len(null):
        level = levels(null, conditions)[0]
    elif chance is not None:
        level = np.full(len(conditions), chance)
    else:
        return
    ax.plot(np.arange(len(conditions)), level, color="#777777", linewidth=0.9, linestyle=":", zorder=0)


def _tidy(ax: Axes, conditions: Sequence[str]) -> None:
    long = max(map(len, conditions), default=0) * len(conditions) > 30
    ax.set_xticks(
        range(len(conditions)), conditions, fontsize=7, rotation=35 if long else 0, ha="right" if long else "center"
    )
    ax.tick_params(axis="y", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


def _set_range(ax: Axes, metric: str) -> None:
    low, high = scale_of(metric)
    drawn_low, drawn_high = ax.get_ylim()
    margin = 0.03 * (high - low)
    ax.set_ylim(min(low - margin, drawn_low), max(high + margin, drawn_high))


def _label_ends(
    ax: Axes,
    ends: dict[Series, tuple[int, float]],
    gap: float,
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> None:
    """Write each line's name beside its end, moved apart where they would overlap."""
    if not ends:
        return
    bottom, top = ax.get_ylim()
    order = sorted(ends, key=lambda line: ends[line][1])
    heights = spread_apart([(ends[line][1] - bottom) / (top - bottom) for line in order], gap)
    for line, height in zip(order, heights, strict=True):
        color = colors[line[0]]
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3}
        ax.annotate(
            name_of(line, labels),
            xy=ends[line],
            xytext=(1.04, height),
            xycoords="data",
            textcoords="axes fraction",
            color=color,
            fontsize=7,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops=arrow,
        )


def spread_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights apart to at least ``gap``, each as little as the others allow; between 0 and 1, if they fit.

    Examples
    --------
    >>> [round(h, 2) for h in spread_apart([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    >>> [round(h, 2) for h in spread_apart([0.9, 1.0, 1.0], 0.1)]
    [0.8, 0.9, 1.0]
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
    highest = 1 - (len(levels) - 1) * gap
    return [min(max(level, min(0.0, highest)), max(0.0, highest)) + i * gap for i, level in enumerate(levels)]
