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
from vennvi.pl._benchmark_labels import LABEL_GAP, add_legend, label_ends
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

_BESIDE_AXES = 0.45  # inches: of a row of panels beside its axes
_PER_LETTER = 0.068  # inches, of the label below the panels
_MANY = 10  # lines: the bands of more would hide each other
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

    Models trained with labels are dashed, with open markers. Lines are labelled at their end, those that end early in a
    legend. A dotted line is the level of no information. Conditions that are single positive numbers stand at their
    logarithms. The ranges of more than ten lines, and of points without a neighbour, are bars side by side instead of bands.
    Where nothing is swept, one panel a score with a row a model: medians as dots, ranges as bars.

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
    latent size after each other). Of a sweep, what is below -0.35 is drawn there.

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
    height = max(2.5, LABEL_GAP * (len(series) + 1) + _BESIDE_AXES)
    gap = LABEL_GAP / (height - _BESIDE_AXES)
    x = _positions(conditions)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=((2.9 if n_columns > 1 else 4.0) * n_columns + 1.9, height * n_rows + 0.6),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
    )
    unlabelled: dict[str, Artist] = {}
    for row, (score, title) in zip(axes, scores.items(), strict=False):
        for ax, sizes in zip(row, latents, strict=True):
            here = results[results["latents"] == sizes]
            ends = _draw_lines(ax, of_score(here, score), conditions, x, series, colors, labels or {})
            _draw_chance(ax, here, score, conditions, x, (chance or {}).get(score))
            _tidy(ax, conditions, x)
            if ax is row[0]:
                _set_range(ax, score[2])
                ax.set_ylabel(wrap(title), fontsize=8)
            if ax in axes[0] and sizes:
                ax.set_title(f"latents {sizes}", fontsize=9)
            if ax is row[-1]:
                ax.set_xlim(x[0] - 0.7 * _room(x), x[-1] + 0.7 * _room(x))
                label_ends(ax, ends, gap, colors, labels or {})
                named = {name_of(line, labels or {}) for line in ends}
                for handle, name in (
                    pair for panel in row for pair in zip(*panel.get_legend_handles_labels(), strict=True)
                ):
                    if name not in named:
                        unlabelled.setdefault(name, handle)
    figure.supxlabel(wrap(xlabel, int(figure.get_figwidth() / _PER_LETTER)), fontsize=8)
    add_legend(figure, unlabelled)
    return figure


def _positions(conditions: Sequence[str]) -> np.ndarray:
    """Where the conditions stand: at their logarithms if all are positive numbers in order, else evenly."""
    even = np.arange(len(conditions), dtype=np.float64)
    try:
        numbers = np.array([float(condition.replace(",", "")) for condition in conditions])
    except ValueError:
        return even
    if not (np.isfinite(numbers).all() and (numbers > 0).all() and (np.diff(numbers) > 0).all()):
        return even
    return np.log10(numbers)


def _room(x: np.ndarray) -> float:
    """Width around a condition in which the bars of the models stand side by side."""
    return min(0.55 * float(np.diff(x).min()), 0.25 * float(x[-1] - x[0])) if len(x) > 1 else 1.0


def _draw_lines(
    ax: Axes,
    rows: pd.DataFrame,
    conditions: Sequence[str],
    x: np.ndarray,
    series: Sequence[Series],
    colors: Mapping[str, str],
    labels: Mapping[str, str],
) -> dict[Series, float]:
    """Draw all lines; at what height those that reach the last condition end."""
    ends: dict[Series, float] = {}
    faint = min(0.15, 0.9 / len(series)) if series else 0.0  # or many bands would cover the lines
    crowded = len(series) > _MANY
    aside = _room(x) * np.linspace(-0.5, 0.5, len(series) + 2)[1:-1]
    for line, offset in zip(series, aside, strict=True):
        name, supervised = line
        own = rows[(rows["model"] == name) & (rows["supervised"] == supervised)]
        median, low, high = (np.maximum(v, _LOWEST) for v in levels(own, conditions))
        drawn = np.isfinite(median)
        if not drawn.any():
            continue
        color = colors[name]
        beside = np.pad(drawn, 1)
        with_bars = drawn if crowded else drawn & ~beside[:-2] & ~beside[2:]  # a band needs a neighbour
        at = x + offset * with_bars
        if not crowded:
            ax.fill_between(x, low, high, color=color, alpha=faint / 2 if supervised else faint, linewidth=0)
        if with_bars.any():
            ax.vlines(at[with_bars], low[with_bars], high[with_bars], color=color, alpha=0.5, linewidth=1.5)
        ax.plot(
            at,
            median,
            color=color,
            linewidth=1.0 if crowded else 1.5,
            linestyle=(0, (4, 2)) if supervised else "-",
            marker="o",
            markersize=3.5,
            markerfacecolor="white" if supervised else color,
            label=name_of(line, labels),
        )
        if drawn[-1]:
            ends[line] = float(median[-1])
    return ends


def _draw_chance(
    ax: Axes, results: pd.DataFrame, score: Score, conditions: Sequence[str], x: np.ndarray, chance: float | None
) -> None:
    null = of_score(results, score, "_null")
    if len(null):
        level = levels(null, conditions)[0]
    elif chance is not None:
        level = np.full(len(conditions), chance)
    else:
        return
    known = np.isfinite(level)
    ax.plot(x[known], level[known], color="#777777", linewidth=0.9, linestyle=":", zorder=0)


def _tidy(ax: Axes, conditions: Sequence[str], x: np.ndarray) -> None:
    long = max(map(len, conditions), default=0) * len(conditions) > 30
    ax.set_xticks(x, conditions, fontsize=7, rotation=35 if long else 0, ha="right" if long else "center")
    ax.tick_params(axis="y", labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


def _set_range(ax: Axes, metric: str) -> None:
    low, high = scale_of(metric)
    drawn_low, drawn_high = ax.get_ylim()
    margin = 0.03 * (high - low)
    ax.set_ylim(min(low - margin, drawn_low), max(high + margin, drawn_high))
