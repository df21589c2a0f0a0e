"""Every latent space coloured by every quantity: one panel each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

#: Okabe & Ito's colours, told apart by all readers; the order puts neighbours far from each other.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
#: Categories beyond the palette's are drawn in a colour map instead.
_MANY = "turbo"


def spaces(
    embeddings: Mapping[str, ArrayLike],
    colors: Mapping[str, ArrayLike],
    *,
    notes: Mapping[tuple[str, str], str] | None = None,
    point_size: float | None = None,
    panel_size: float = 2.3,
) -> Figure:
    """Draw a grid of scatter plots: a row for each embedding, a column for each quantity that colours it.

    Parameters
    ----------
    embeddings
        Two-dimensional embedding of each latent space, shape ``(n_cells, 2)``, by name; rows of NaN are left out.
    colors
        One value a cell, by name: numbers or categories.
    notes
        Short text for a panel, such as a score, by names of the embedding and the quantity.
    point_size
        Area of a point; by default smaller the more cells there are.
    panel_size
        Side of a panel in inches.

    Returns
    -------
    The figure; ``figure.axes`` holds the panels row by row, then the legends.

    Raises
    ------
    ValueError
        If an embedding is not of shape ``(n_cells, 2)`` for the cells that are coloured.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> figure = spaces({"shared": rng.normal(size=(50, 2))}, {"depth": rng.normal(size=50)})
    >>> figure.axes[0].get_ylabel()
    'shared'
    """
    figure, axes = plt.subplots(
        len(embeddings),
        len(colors),
        figsize=(panel_size * len(colors) + 0.6, panel_size * len(embeddings) + 1.0),
        squeeze=False,
        layout="constrained",
    )
    for column, (quantity, values) in enumerate(colors.items()):
        values = pd.Series(values).reset_index(drop=True)
        for row, (name, embedding) in enumerate(embeddings.items()):
            ax, xy = axes[row, column], np.asarray(embedding)
            if xy.shape != (len(values), 2):
                raise ValueError(f"Embedding {name!r} has shape {xy.shape}; {quantity!r} colours {len(values)} cells.")
            drawn = _scatter(ax, xy, values, point_size or np.clip(4000 / len(xy), 1.0, 12.0))
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.8")
            if row == 0:
                ax.set_title(quantity, fontsize=10)
            if column == 0:
                ax.set_ylabel(name, fontsize=10)
            if notes and (name, quantity) in notes:
                ax.text(
                    0.97, 0.03, notes[name, quantity], transform=ax.transAxes, ha="right", va="bottom", fontsize=8,
                    bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        _legend(figure, axes[-1, column], drawn, values)
    return figure


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _scatter(ax: Axes, xy: np.ndarray, values: pd.Series, size: float):
    order = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(xy).all(axis=1)))
    style: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    if _is_numeric(values):
        low, high = np.nanquantile(values, [0.01, 0.99])
        return ax.scatter(
            xy[order, 0], xy[order, 1], c=values.to_numpy()[order], cmap="viridis", vmin=low, vmax=high, **style
        )
    categories = values.astype("category")
    codes = categories.cat.codes.to_numpy()
    colors = _category_colors(len(categories.cat.categories))
    ax.scatter(xy[order, 0], xy[order, 1], c=[colors[c] if c >= 0 else "0.8" for c in codes[order]], **style)
    return dict(zip(categories.cat.categories, colors, strict=True))


def _category_colors(n: int) -> list:
    return list(PALETTE[:n]) if n <= len(PALETTE) else [plt.get_cmap(_MANY)(x) for x in np.linspace(0, 1, n)]


def _legend(figure: Figure, ax: Axes, drawn, values: pd.Series) -> None:
    """Say below a column what its colours mean."""
    if _is_numeric(values):
        bar = figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.7, aspect=25, pad=0.04)
        bar.ax.tick_params(labelsize=7, length=2)
        bar.outline.set_visible(False)
        return
    handles = [
        plt.Line2D([], [], ls="", marker="o", ms=4, color=color, label=str(name)) for name, color in drawn.items()
    ]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=min(len(handles), 3), fontsize=7,
        frameon=False, handletextpad=0.1, columnspacing=0.8,
    )  # fmt: skip
