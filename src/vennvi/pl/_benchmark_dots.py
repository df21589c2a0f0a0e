"""Scores of models under one condition: a row a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vennvi.pl._benchmark_table import Score, Series, levels, name_of, of_score, scale_of, wrap

_ROW, _BESIDE_AXES = 0.2, 0.75  # inches: of a model, and of a row of panels beside its axes
_PANELS = 4  # side by side, at most


def draw_dots(
    results: pd.DataFrame,
    scores: Mapping[Score, str],
    condition: str,
    latents: Sequence[str],
    series: Sequence[Series],
    labels: Mapping[str, str],
    colors: Mapping[str, str],
    chance: Mapping[Score, float],
) -> Figure:
    """One panel a score, and a block of them a latent size: medians over seeds as dots, ranges as bars."""
    n_columns = min(_PANELS, max(1, len(scores)))
    n_blocks = -(-max(1, len(scores)) // n_columns)
    n_rows = n_blocks * max(1, len(latents))
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(1.75 * n_columns + 1.3, n_rows * (_ROW * len(series) + _BESIDE_AXES)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for block, sizes in enumerate(latents):
        here = results[results["latents"] == sizes]
        panels = axes[block * n_blocks : (block + 1) * n_blocks].ravel()
        if sizes:
            panels[0].set_title(f"latents {sizes}", fontsize=9, loc="left")
        for ax, (score, title) in zip(panels, scores.items(), strict=False):
            _draw_panel(ax, of_score(here, score), condition, series, colors)
            null = of_score(here, score, "_null")
            level = levels(null, [condition])[0][0] if len(null) else chance.get(score)
            if level is not None:
                ax.axvline(level, color="#777777", linewidth=0.9, linestyle=":", zorder=0)
            low, high = scale_of(score[2])
            drawn_low, drawn_high = ax.get_xlim()
            margin = 0.04 * (high - low)
            ax.set_xlim(min(low - margin, drawn_low), max(high + margin, drawn_high))
            ax.set_xlabel(wrap(title, 28), fontsize=7.5)
        for ax in panels[len(scores) :]:
            ax.set_visible(False)
    names = [name_of(line, labels) for line in series]
    axes[0, 0].set_yticks(range(len(series)), names)
    axes[0, 0].set_ylim(len(series) - 0.4, -0.6)
    return figure


def _draw_panel(
    ax: Axes, rows: pd.DataFrame, condition: str, series: Sequence[Series], colors: Mapping[str, str]
) -> None:
    for row, (name, supervised) in enumerate(series):
        own = rows[(rows["model"] == name) & (rows["supervised"] == supervised)]
        median, low, high = (values[0] for values in levels(own, [condition]))
        if not np.isfinite(median):
            continue
        color = colors[name]
        ax.plot([low, high], [row, row], color=color, linewidth=3, alpha=0.35, solid_capstyle="round")
        ax.plot(
            [median], [row], color=color, marker="o", markersize=5, markerfacecolor="white" if supervised else color
        )
    ax.tick_params(axis="x", labelsize=7)
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="both", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
