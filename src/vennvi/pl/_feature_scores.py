"""Bars of the features that each latent dimension moves most."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vennvi.pl._spaces import PALETTE

#: Dimensions that are drawn unless they are named.
_MOST_PANELS = 12


def feature_scores(
    scores: pd.DataFrame, *, n_features: int = 8, dimensions: Sequence[int] | None = None, n_columns: int = 4
) -> Figure:
    """Draw one panel a latent dimension with the scores of its top features, the largest on top.

    Parameters
    ----------
    scores
        What :meth:`feature_scores` of a model returns: features by dimensions.
    n_features
        Number of features with the largest absolute scores.
    dimensions
        Columns to draw, in this order; by default those with the largest sums of squares, at most 12.
    n_columns
        Panels in a row.

    Returns
    -------
    The figure, one of its axes a dimension. Blue moves up with the dimension, orange down.

    Raises
    ------
    KeyError
        If a dimension is not a column of the scores.

    Examples
    --------
    >>> import pandas as pd
    >>> figure = feature_scores(pd.DataFrame({0: [1.0, -2.0, 0.1]}, index=["a", "b", "c"]), n_features=2)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['b', 'a']
    """
    if dimensions is None:
        strength = (scores**2).sum(axis=0)
        dimensions = list(strength.sort_values(ascending=False, kind="stable").index[:_MOST_PANELS])
    if unknown := [d for d in dimensions if d not in scores.columns]:
        raise KeyError(f"Dimension {unknown[0]!r} is not among the scores' {len(scores.columns)}.")
    n_columns = min(n_columns, max(len(dimensions), 1))
    n_rows = -(-len(dimensions) // n_columns)
    height = 0.7 + 0.19 * min(n_features, len(scores))
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(2.5 * n_columns, height * n_rows), squeeze=False, layout="constrained"
    )
    space = str(scores.columns.name or "dimension")
    for ax, d in zip(axes.flat, dimensions, strict=False):
        top = scores[d].reindex(scores[d].abs().sort_values(ascending=False, kind="stable").index[:n_features])
        y = np.arange(len(top))
        ax.barh(y, top, 0.7, color=[PALETTE[0] if v >= 0 else PALETTE[5] for v in top])
        ax.set_yticks(y, [str(name) for name in top.index], fontsize=7)
        ax.invert_yaxis()
        ax.axvline(0, color="0.3", linewidth=0.8)
        ax.tick_params(axis="x", labelsize=7)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=3)
        ax.set_title(f"{space} {d}", fontsize=9)
        ax.spines[["top", "right", "left"]].set_visible(False)
    for ax in axes.flat[len(dimensions) :]:
        ax.remove()
    return figure
