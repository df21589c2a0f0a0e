"""Nominal level of predictive intervals against what they hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._palette import LINES, MARKERS, source_name
from vennvi.pl._plain_text import plain_text

#: Distance from the nominal level that is shaded.
_TOLERANCE = 0.05
#: Lines in one panel, unless the caller gives the axes.
_MOST_LINES = 8
#: Entries of the legend in a column.
_MOST_ROWS = 18


@plain_text
def coverage(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the fraction of values inside their predictive intervals against the intervals' level.

    Parameters
    ----------
    table
        What :meth:`predictive_coverage` of a model returns; several, for other targets or sources, below each other by
        :func:`pandas.concat`.
    ax
        Axes to draw all lines into; by default a new figure, of one panel up to 8 lines, of one a target beyond.

    Returns
    -------
    The axes: a line for each target and source; of several panels the first (``.figure`` has them all). The band is five
    points about the nominal level; below it intervals are too narrow. ``"the others"`` are all modalities of the table but
    the target.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"target": "atac", "source": "rna", "level": [0.5, 0.9], "coverage": [0.52, 0.88]})
    >>> coverage(table).get_legend().get_texts()[0].get_text()
    'atac from rna'
    """
    pairs = list(table.groupby(["target", "source"], sort=False))
    targets = list(table["target"].unique())
    modalities = dict.fromkeys([*targets, *(m for source in table["source"].unique() for m in source.split("+"))])
    names = [source_name(source, modalities, target) for (target, source), _ in pairs]
    if ax is None and len(pairs) > _MOST_LINES and len(targets) > 1:
        return _by_target(pairs, targets, names, list(modalities))
    labels = [f"{target} from {name}" for ((target, _), _), name in zip(pairs, names, strict=True)]
    columns = 1 + (len(pairs) - 1) // _MOST_ROWS
    if ax is None:
        width = 3.4 + columns * (0.5 + 0.07 * max(map(len, labels), default=0))
        ax = plt.subplots(figsize=(width, 3.4), layout="constrained")[1]
    _draw_frame(ax)
    for k, ((_, rows), label) in enumerate(zip(pairs, labels, strict=True)):
        _draw_line(ax, rows, k, label)
    _name_axes(ax, True, True)
    ax.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns)
    return ax


def _by_target(pairs: list, targets: list, names: list[str], modalities: list[str]) -> Axes:
    """One panel a target; a source looks the same in all of them."""
    columns = 2 if len(targets) <= 4 else 3
    rows = -(-len(targets) // columns)
    size = (2.2 * columns + 1.3, 2.2 * rows + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    known = ["the others", "itself", *modalities]
    in_order = sorted(dict.fromkeys(names), key=lambda name: known.index(name) if name in known else len(known))
    style = {name: k for k, name in enumerate(in_order)}
    handles = {}
    for k, (ax, target) in enumerate(zip(axes.flat, targets, strict=False)):
        _draw_frame(ax)
        ax.set_title(target, fontsize=10)
        _name_axes(ax, k + columns >= len(targets), k % columns == 0)
        for ((of, _), lines), name in zip(pairs, names, strict=True):
            if of == target:
                handles[name] = _draw_line(ax, lines, style[name], f"from {name}")
    for ax in axes.flat[len(targets) :]:
        ax.remove()
    labels = [f"from {name}" for name in in_order]
    figure.legend([handles[name] for name in in_order], labels, fontsize=8, frameon=False, loc="outside right center")
    return axes[0, 0]


def _draw_frame(ax: Axes) -> None:
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    ax.fill_between([0, 1], [-_TOLERANCE, 1 - _TOLERANCE], [_TOLERANCE, 1 + _TOLERANCE], color="0.93", zorder=-1)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_line(ax: Axes, rows: pd.DataFrame, k: int, label: str):
    rows = rows.sort_values("level")
    style = {"color": LINES[k % len(LINES)], "marker": MARKERS[k % len(MARKERS)], "markersize": 4, "linewidth": 1.3}
    return ax.plot(rows["level"], rows["coverage"], label=label, clip_on=False, **style)[0]  # type: ignore[arg-type]


def _name_axes(ax: Axes, x: bool, y: bool) -> None:
    if x:
        ax.set_xlabel("level of the interval", fontsize=9)
    if y:
        ax.set_ylabel("held-out values inside", fontsize=9)
