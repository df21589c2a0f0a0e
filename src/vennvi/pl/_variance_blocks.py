"""Stacked bars of what the shared and the private latents explain of each modality."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._palette import PALETTE
from vennvi.pl._plain_text import plain_text

_COLORS = {"covariates": "0.75", "shared": PALETTE[0], "private": PALETTE[1]}


@plain_text
def variance_blocks(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw one bar a modality: covariates, then shared latents, then what the private ones add; the heights sum to all.

    Parameters
    ----------
    table
        What :meth:`variance_explained` of a model returns.
    ax
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    The axes. A diamond marks what the *other* modalities explain through the shared latents, a black line what all
    latents do. A part that explains less than nothing hangs below zero, and ``all`` is what stands above less what hangs
    below.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {"modality": ["rna"] * 3, "block": ["shared", "private", "all"], "dimension": [pd.NA] * 3,
    ...      "alone": [0.3, 0.2, 0.5], "incremental": [0.3, 0.2, 0.5], "measure": ["R2"] * 3})
    >>> ax = variance_blocks(table)
    >>> [round(float(bar.get_height()), 1) for bar in ax.patches]
    [30.0, 20.0]
    """
    blocks = table[table["dimension"].isna()]
    modalities = list(blocks["modality"].unique())

    def percent(block: str, column: str) -> np.ndarray:
        found = blocks[blocks["block"] == block].set_index("modality")[column].reindex(modalities)
        return 100 * found.to_numpy(dtype=float, na_value=np.nan)

    covariates = np.nan_to_num(percent("covariates", "alone"))
    parts = {
        "covariates": covariates,
        "shared": percent("shared", "alone") - covariates,
        "private": percent("private", "incremental"),
    }
    if ax is None:
        ax = plt.subplots(figsize=(2.8 + 0.8 * len(modalities), 3.2), layout="constrained")[1]
    x, above, below = np.arange(len(modalities)), np.zeros(len(modalities)), np.zeros(len(modalities))
    for name, values in parts.items():
        if name == "covariates" and not (blocks["block"] == "covariates").any():
            continue
        height = np.nan_to_num(values)
        label = "private, beyond shared" if name == "private" else name
        ax.bar(x, height, 0.62, np.where(height < 0, below, above), color=_COLORS[name], label=label, zorder=2)
        above += height.clip(min=0)
        below += height.clip(max=0)
    ax.hlines(percent("all", "alone"), x - 0.36, x + 0.36, color="black", linewidth=1.5, label="all", zorder=3)
    if (blocks["block"] == "cross").any():
        style = {"marker": "D", "s": 30, "facecolor": "white", "edgecolor": "black", "zorder": 4}
        ax.scatter(x, percent("cross", "alone"), label="shared, from the others", **style)  # type: ignore[arg-type]
    measure = dict(zip(blocks["modality"], blocks["measure"], strict=True))
    ax.set_xticks(x, [f"{m}\n{'R²' if measure[m] == 'R2' else measure[m]}" for m in modalities], fontsize=9)
    ax.set_ylabel("% explained")
    ax.set_xlim(-0.6, len(modalities) - 0.4)
    ax.axhline(0, color="0.3", linewidth=0.8)
    ax.grid(axis="y", color="0.9", zorder=0)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
    return ax
