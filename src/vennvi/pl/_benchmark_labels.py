"""Names of the lines of a sweep: beside their ends, or in a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vennvi.pl._benchmark_table import Series, name_of

#: Inches between two labels.
LABEL_GAP = 0.128
_LEGEND_COLUMN = 1.35  # inches


def add_legend(figure: Figure, unlabelled: Mapping[str, Artist]) -> None:
    """Name above the panels what is not named at its end: lines that do not reach the end of the last column."""
    if unlabelled:
        figure.legend(
            list(unlabelled.values()),
            list(unlabelled),
            loc="outside upper center",
            ncols=max(1, int(figure.get_figwidth() / _LEGEND_COLUMN)),
            fontsize=7,
            frameon=False,
        )


def label_ends(
    ax: Axes, ends: Mapping[Series, float], gap: float, colors: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Write each line's name beside the panel, at the height of its end, moved apart where names would overlap.

    What leads from the height to the name stays outside of the panel, where it could be taken for a line of the data.
    """
    if not ends:
        return
    bottom, top = ax.get_ylim()
    order = sorted(ends, key=lambda line: ends[line])
    heights = spread_apart([(ends[line] - bottom) / (top - bottom) for line in order], gap)
    for line, height in zip(order, heights, strict=True):
        color = colors[line[0]]
        leader = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
        ax.annotate(
            name_of(line, labels),
            xy=(1.01, ends[line]),
            xytext=(1.08, height),
            xycoords=ax.get_yaxis_transform(),
            textcoords="axes fraction",
            color=color,
            fontsize=7,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops=leader,
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
