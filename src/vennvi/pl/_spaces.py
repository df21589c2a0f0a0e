"""Every latent space coloured by every quantity: one panel each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from vennvi.pl._categories import Categories, categories_of
from vennvi.pl._plain_text import plain_text
from vennvi.pl._short import shortened

#: Inches: of a legend's row, of a colour bar, and of a letter.
_LEGEND_ROW, _BAR, _LETTER = 0.134, 0.3, 0.058
#: Inches: left of the panels, above them, and between them.
_LEFT, _TOP, _GAP = 0.3, 0.3, 0.08
#: Cells about the place of a number, of which half are to be of its category.
_NEAR = 15


@plain_text
def spaces(
    embeddings: Mapping[str, ArrayLike],
    colors: Mapping[str, ArrayLike],
    *,
    palette: Mapping[str, Sequence[str] | Mapping[str, str]] | None = None,
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
        One value a cell, by name: numbers or categories; those of a categorical keep their order. More than 8 categories
        are numbered on the data too, at the cell nearest to the median of each, unless the category is not among itself
        there or the number would cover that of a larger one. Of more than 20 the largest are coloured and named, and the
        legend says how many are not.
    palette
        Colours of the categories of a quantity, by name or in the order of the categories, as scanpy keeps them:
        ``{"cell_type": mdata.uns["cell_type_colors"]}``. Then all categories have theirs, in the legend or not.
    notes
        Short text for a panel, such as a score, by names of the embedding and the quantity.
    point_size
        Area of a point; by default smaller the more cells there are.
    panel_size
        Side of a panel in inches.

    Returns
    -------
    The figure, one of its own (there is no ``ax``); ``figure.axes`` holds the panels row by row.

    Raises
    ------
    ValueError
        If an embedding is not of shape ``(n_cells, 2)`` for the cells that are coloured; if a palette lacks a category.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> figure = spaces({"shared": rng.normal(size=(50, 2))}, {"depth": rng.normal(size=50)})
    >>> figure.axes[0].get_ylabel()
    'shared'
    """
    quantities: dict[str, pd.Series | Categories] = {}
    for name, given in colors.items():
        column = pd.Series(given).reset_index(drop=True)
        quantities[name] = column if _is_numeric(column) else categories_of(column, (palette or {}).get(name), name)
    below = max((_legend_height(values, panel_size) for values in quantities.values()), default=0.0)
    figure, axes = _panels(len(embeddings), len(quantities), panel_size, below)
    for column_of_axes, (quantity, values) in zip(axes.T, quantities.items(), strict=True):
        for ax, (name, embedding) in zip(column_of_axes, embeddings.items(), strict=True):
            xy = np.asarray(embedding, dtype=float)
            n_cells = len(values.codes) if isinstance(values, Categories) else len(values)
            if xy.shape != (n_cells, 2):
                raise ValueError(f"Embedding {name!r} has shape {xy.shape}; {quantity!r} colours {n_cells} cells.")
            ax.set(xticks=[], yticks=[], box_aspect=1)
            ax.spines[:].set_color("0.8")
            drawn = _scatter(ax, xy, values, point_size or np.clip(4000 / max(len(xy), 1), 1.0, 12.0))
            if ax in axes[0]:
                ax.set_title(quantity, fontsize=10)
            if ax in axes[:, 0]:
                ax.set_ylabel(name, fontsize=10)
            if notes and (name, quantity) in notes:
                ax.text(
                    0.97, 0.03, notes[name, quantity], transform=ax.transAxes, ha="right", va="bottom", fontsize=8,
                    bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        if isinstance(values, Categories):
            _add_legend(column_of_axes[-1], values, panel_size)
        else:
            _add_bar(column_of_axes[-1], drawn)
    return figure


def _panels(n_rows: int, n_columns: int, side: float, below: float) -> tuple[Figure, np.ndarray]:
    """Square panels of the wanted size, whatever is beside and below them."""
    width = _LEFT + n_columns * (side + _GAP)
    height = _TOP + n_rows * (side + _GAP) - _GAP + below
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(
        left=_LEFT / width, right=1 - _GAP / width, top=1 - _TOP / height, bottom=below / height,
        wspace=_GAP / side, hspace=_GAP / side,
    )  # fmt: skip
    return figure, axes


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _scatter(ax: Axes, xy: np.ndarray, values: pd.Series | Categories, size: float):
    shown = np.flatnonzero(np.isfinite(xy).all(axis=1))
    order = np.random.default_rng(0).permutation(shown)
    style: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    if not isinstance(values, Categories):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        low, high = np.nanquantile(numbers, [0.01, 0.99]) if (~np.isnan(numbers)).any() else (0.0, 1.0)
        return ax.scatter(xy[order, 0], xy[order, 1], c=numbers[order], cmap="viridis", vmin=low, vmax=high, **style)
    colors = values.cell_colors()
    drawn = ax.scatter(xy[order, 0], xy[order, 1], c=[colors[i] for i in order], **style)
    if values.numbered:
        _number(ax, xy[shown], values.codes[shown], values.named)
    return drawn


def _number(ax: Axes, xy: np.ndarray, codes: np.ndarray, named: Sequence[int]) -> None:
    """Write the numbers of the legend among the cells of their categories, those of large ones first."""
    sizes = np.bincount(codes[codes >= 0], minlength=max(named, default=0) + 1)
    span = np.ptp(xy, axis=0) if len(xy) else np.ones(2)
    room = np.where(span > 0, span, 1.0) * [0.085, 0.065]
    taken: list[np.ndarray] = []
    for i in sorted((i for i in named if sizes[i]), key=lambda i: -sizes[i]):
        own = xy[codes == i]
        at = own[np.argmin(((own - np.median(own, axis=0)) ** 2).sum(axis=1))]
        near = np.argsort(((xy - at) ** 2).sum(axis=1), kind="stable")[: min(_NEAR, len(own))]
        covers = any((np.abs(at - other) < room).all() for other in taken)
        if covers or (codes[near] == i).mean() < 0.5:
            continue
        taken.append(at)
        ax.text(
            at[0], at[1], str(list(named).index(i) + 1), fontsize=7, ha="center", va="center", fontweight="bold",
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip


def _columns(entries: Sequence[tuple[str, Any]], width: float) -> int:
    longest = max((len(name) for name, _ in entries), default=0)
    return int(np.clip(width / (0.3 + _LETTER * longest), 1, max(1, min(3, len(entries)))))


def _legend_height(values: pd.Series | Categories, width: float) -> float:
    if not isinstance(values, Categories):
        return _BAR
    entries = _entries(values, width)
    return 0.1 + _LEGEND_ROW * -(-len(entries) // _columns(entries, width))


def _entries(values: Categories, width: float) -> list[tuple[str, str | None]]:
    most = int((width - 0.3) / _LETTER)
    entries = list(values.legend())
    names = shortened([name for name, _ in entries], most)
    return [(names[name], color) for name, color in entries]


def _add_legend(ax: Axes, values: Categories, width: float) -> None:
    entries = _entries(values, width)
    handles = [
        plt.Line2D([], [], ls="", marker="o" if color else "", ms=4, color=color or "none", label=name)
        for name, color in entries
    ]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=_columns(entries, width), fontsize=7,
        frameon=False, handletextpad=0.1, columnspacing=0.8, borderpad=0.2, labelspacing=0.3,
    )  # fmt: skip


def _add_bar(ax: Axes, drawn) -> None:
    inside = ax.inset_axes((0.12, -0.075, 0.76, 0.035))
    bar = ax.figure.colorbar(drawn, cax=inside, orientation="horizontal")
    bar.ax.tick_params(labelsize=7, length=2)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_visible(False)
