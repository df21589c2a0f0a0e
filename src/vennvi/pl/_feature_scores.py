"""Bars of the features that each latent dimension moves most."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vennvi.pl._palette import PALETTE
from vennvi.pl._plain_text import plain_text
from vennvi.pl._short import shortened

#: Dimensions that are drawn unless they are named.
_MOST_PANELS = 12
#: Letters of a name; longer ones are shortened in the middle.
_MOST_LETTERS = 36
#: Width of a figure, beside which further panels go into the next row.
_WIDEST = 11.0
#: A dimension whose largest score is below this share of the largest of all is named in grey.
_WEAK = 0.05


@plain_text
def feature_scores(
    scores: pd.DataFrame,
    *,
    n_features: int = 8,
    dimensions: Sequence[int] | None = None,
    n_columns: int = 4,
    xlabel: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw one panel a latent dimension with the scores of its top features, the largest on top, all on one scale.

    Parameters
    ----------
    scores
        What :meth:`feature_scores` or :meth:`feature_attributions` of a model returns: features by dimensions.
    n_features
        Number of features with the largest absolute scores.
    dimensions
        Columns to draw, in this order; by default those with the largest sums of squares, at most 12.
    n_columns
        Panels in a row, at most: fewer where names are long. Those of more than 36 letters lose their middle, unless they would be the
        same.
    xlabel
        What a score is; by default what the scores say themselves, in ``scores.attrs["score"]``.
    ax
        Axes to draw a single dimension into; by default a new figure.

    Returns
    -------
    The figure (that of ``ax``), one of its axes a dimension. Blue moves up with the dimension, orange down; what
    moves less than 5 % of the largest score is named in grey. Where dimensions are left out, the title says so.

    Raises
    ------
    KeyError
        If a dimension is not a column of the scores.
    ValueError
        If there is no dimension to draw, or an ``ax`` and more than one.

    Examples
    --------
    >>> import pandas as pd
    >>> figure = feature_scores(pd.DataFrame({0: [1.0, -2.0, 0.1]}, index=["a", "b", "c"]), n_features=2)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['b', 'a']
    """
    strongest = dimensions is None
    if dimensions is None:
        strength = (scores**2).sum(axis=0)
        dimensions = list(strength.sort_values(ascending=False, kind="stable").index[:_MOST_PANELS])
    if not len(dimensions):
        raise ValueError("There is no dimension to draw: a private space may have none.")
    if unknown := [d for d in dimensions if d not in scores.columns]:
        raise KeyError(f"Dimension {unknown[0]!r} is not among the scores' {len(scores.columns)}.")
    if ax is not None and len(dimensions) != 1:
        raise ValueError(f"`ax` holds one dimension, not {len(dimensions)}: name it, such as `dimensions=[0]`.")
    xlabel = scores.attrs.get("score", "") if xlabel is None else xlabel
    tops = [_top(scores[d], n_features) for d in dimensions]
    names = shortened([str(name) for top in tops for name in top.index], _MOST_LETTERS)
    longest = max(map(len, names.values()), default=0)
    n_bars = min(n_features, len(scores))
    axes = np.array([[ax]]) if ax is not None else _panels(len(dimensions), n_columns, n_bars, longest)
    figure = axes[0, 0].get_figure(root=True)
    if len(dimensions) < len(scores.columns) and ax is None:
        which = f"{'the strongest ' if strongest else ''}{len(dimensions)} of {len(scores.columns)} dimensions"
        figure.suptitle(which, fontsize=9, x=0.01, ha="left")
    shown = np.nan_to_num([value for top in tops for value in top])
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    margin = 0.04 * (high - low) or 1.0
    space = str(scores.columns.name or "dimension")
    for panel, d, top in zip(axes.flat, dimensions, tops, strict=False):
        _draw(panel, top.set_axis([names[str(name)] for name in top.index]))
        if top.abs().max() < _WEAK * max(high, -low):
            panel.tick_params(axis="y", labelcolor="0.6")
            panel.title.set_color("0.6")
        panel.set_title(f"{space} {d}", fontsize=9)
        panel.set_xlim(low - margin if low < 0 else 0, high + margin if high > 0 or low == 0 else 0)
    for panel in axes.flat[len(dimensions) :]:
        panel.remove()
    if ax is None:
        figure.supxlabel(xlabel, fontsize=8)
    else:
        ax.set_xlabel(xlabel, fontsize=8)
    return figure


def _panels(n: int, n_columns: int, n_bars: int, longest: int) -> np.ndarray:
    width = max(2.5, 1.7 + 0.058 * longest)
    n_columns = max(1, min(n_columns, n, int(_WIDEST / width)))
    n_rows = -(-n // n_columns)
    size = (width * n_columns, (0.7 + 0.19 * n_bars) * n_rows + 0.3)
    return plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]


def _top(scores: pd.Series, n: int) -> pd.Series:
    """The largest, whatever their sign."""
    return scores.iloc[np.argsort(-scores.abs().to_numpy(), kind="stable")[:n]]


def _draw(ax: Axes, top: pd.Series) -> None:
    y = np.arange(len(top))
    ax.barh(y, top, 0.7, color=[PALETTE[0] if v >= 0 else PALETTE[5] for v in top])
    ax.set_yticks(y, list(top.index), fontsize=7)
    ax.invert_yaxis()
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.tick_params(axis="x", labelsize=7)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=3)
    ax.spines[["top", "right", "left"]].set_visible(False)
