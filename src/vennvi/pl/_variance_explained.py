"""Heat map of what each latent dimension explains of each modality."""

from __future__ import annotations

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._plain_text import plain_text

#: Cells are annotated up to this many dimensions; more would not be legible.
_MOST_NUMBERS = 24


@plain_text
def variance_explained(
    table: pd.DataFrame,
    *,
    value: Literal["incremental", "alone"] = "incremental",
    relative: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a heat map of latent dimensions by modalities, coloured by the explained fraction in per cent.

    Parameters
    ----------
    table
        What :meth:`variance_explained` of a model returns, with its rows for dimensions.
    value
        ``"incremental"``: what is lost without the dimension. ``"alone"``: what it explains with all others at their
        mean.
    relative
        Whether to divide by what all latents explain of the modality: R² and deviances on one scale. A modality of which
        they explain nothing is left blank.
    ax
        Axes to draw into; by default a new figure that grows with the number of dimensions.

    Returns
    -------
    The axes. A modality that does not have so many private dimensions is left blank there; below zero is drawn as zero.
    Private dimension 0 of one modality has nothing to do with that of another: they only share a row.

    Raises
    ------
    ValueError
        If the table has no rows for dimensions.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {"modality": ["rna", "rna", "atac"], "block": ["shared", "private", "shared"], "dimension": [0, 0, 0],
    ...      "alone": [0.3, 0.2, 0.1], "incremental": [0.3, 0.2, 0.1], "measure": ["R2"] * 3})
    >>> ax = variance_explained(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['shared 0', 'private 0']
    """
    rows = table[table["dimension"].notna()]
    if not len(rows):
        raise ValueError("The table has no rows for dimensions: call `variance_explained(dimensions=True)`.")
    modalities, blocks = list(rows["modality"].unique()), list(rows["block"].unique())
    rows = rows.assign(percent=100 * rows[value].astype(float))
    if relative:
        whole = table[(table["block"] == "all") & table["dimension"].isna()].set_index("modality")["alone"]
        whole = whole.astype(float)
        rows["percent"] /= rows["modality"].map(whole.where(whole > 0)).to_numpy()
    grid = rows.pivot_table(index=["block", "dimension"], columns="modality", values="percent", dropna=False)
    order = [(b, d) for b in blocks for d in sorted(rows.loc[rows["block"] == b, "dimension"].unique())]
    values = grid.reindex(index=pd.MultiIndex.from_tuples(order), columns=modalities).to_numpy(dtype=float)
    if ax is None:
        size = (
            1.9 + 0.75 * len(modalities),
            1.1 + max(1.2, len(order) * (0.26 if len(order) <= _MOST_NUMBERS else 0.13)),
        )
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    top = max(float(np.nanmax(values, initial=0.0)), 1e-9)
    image = ax.imshow(np.ma.masked_invalid(values), aspect="auto", cmap="cividis", vmin=0, vmax=top)
    ax.set_xticks(range(len(modalities)), modalities, rotation=30 if len(modalities) > 3 else 0, ha="right" if len(modalities) > 3 else "center")  # fmt: skip
    ax.set_yticks(range(len(order)), [f"{b} {d}" for b, d in order], fontsize=9 if len(order) <= _MOST_NUMBERS else 5.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for position in range(1, len(order)):  # a gap between the spaces
        if order[position][0] != order[position - 1][0]:
            ax.axhline(position - 0.5, color="white", linewidth=4)
    if len(order) <= _MOST_NUMBERS:
        for (i, j), number in np.ndenumerate(values):
            if np.isfinite(number):
                color = "black" if number > 0.6 * top else "white"
                ax.text(j, i, f"{round(number, 1) + 0.0:.1f}", ha="center", va="center", fontsize=7, color=color)
    measures = rows["measure"].replace({"R2": "variance"}).unique()
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.7, aspect=25)
    explained = "\nthat the model explains" if relative else "\nexplained" if len(measures) > 1 else " explained"
    bar.set_label(f"% of {' / '.join(measures)}{explained}", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    ax.set_title("lost without it" if value == "incremental" else "explained alone", fontsize=10)
    return ax
