"""Nominal level of predictive intervals against what they hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._spaces import PALETTE

#: Distance from the nominal level that is shaded.
_TOLERANCE = 0.05


def coverage(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the fraction of values inside their predictive intervals against the intervals' level.

    Parameters
    ----------
    table
        What :meth:`predictive_coverage` of a model returns; several, for other targets or sources, below each other by
        :func:`pandas.concat`.
    ax
        Axes to draw into; by default a new figure.

    Returns
    -------
    The axes: a line for each target and source. The band is five points about the nominal level; below it intervals are
    too narrow.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"target": "atac", "source": "rna", "level": [0.5, 0.9], "coverage": [0.52, 0.88]})
    >>> coverage(table).get_legend().get_texts()[0].get_text()
    'atac from rna'
    """
    if ax is None:
        ax = plt.subplots(figsize=(3.4, 3.4), layout="constrained")[1]
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    ax.fill_between([0, 1], [-_TOLERANCE, 1 - _TOLERANCE], [_TOLERANCE, 1 + _TOLERANCE], color="0.93", zorder=-1)
    markers = "osD^vP*X"
    for k, ((target, source), rows) in enumerate(table.groupby(["target", "source"], sort=False)):
        rows = rows.sort_values("level")
        label = target if source == target else f"{target} from {source}"
        ax.plot(
            rows["level"], rows["coverage"], color=PALETTE[k % len(PALETTE)], marker=markers[k % len(markers)],
            markersize=4, linewidth=1.3, label=label,
        )  # fmt: skip
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("level of the interval", fontsize=9)
    ax.set_ylabel("held-out values inside", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=7.5, frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
