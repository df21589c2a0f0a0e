"""Scatter of features: what other modalities explain of them against what is private."""

from __future__ import annotations

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._palette import PALETTE
from vennvi.pl._plain_text import plain_text
from vennvi.pl._short import shortened

#: Letters of a name; longer ones are shortened in the middle.
_MOST_LETTERS = 36
_BY = {"cross": "other modalities", "shared": "shared latents", "private": "private latents"}


@plain_text
def shared_private(
    features: pd.DataFrame,
    *,
    shared: str = "r2_cross",
    private: str = "r2_private",
    measure: Literal["R2", "deviance"] | None = None,
    n_labels: int = 6,
    key_suffix: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw each feature at its private and its shared explained fraction, and name the extreme ones beside the axes.

    Parameters
    ----------
    features
        ``mdata[modality].var`` after :meth:`write_variance_explained`.
    shared
        Column of the vertical axis, ``"r2_cross"`` or ``"r2_shared"``.
    private
        Column of the horizontal axis.
    measure
        What is explained, as the column of that name of :meth:`variance_explained` says, for the names of the axes: R² or
        deviance.
    n_labels
        Number of features with the largest shared, and with the largest private fraction, to name; none with 0.
    key_suffix
        That of :meth:`write_variance_explained`.
    ax
        Axes to draw into; by default those of a new figure.

    Returns
    -------
    The axes. Features without a value are left out; below -0.1 is drawn at -0.1. Names of more than 36 letters lose their
    middle, unless they would be the same.

    Raises
    ------
    KeyError
        If a column is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> features = pd.DataFrame({"r2_cross": [0.5, 0.0], "r2_private": [0.0, 0.4]}, index=["CD3E", "MALAT1"])
    >>> ax = shared_private(features, n_labels=1)
    >>> sorted(text.get_text() for text in ax.texts)
    ['CD3E', 'MALAT1']
    """
    columns = [shared + key_suffix, private + key_suffix]
    if missing := [name for name in columns if name not in features]:
        raise KeyError(f"No column {missing[0]!r}: call `model.write_variance_explained(mdata)` first.")
    values = features[columns].dropna().clip(lower=-0.1)
    y, x = (values[name].to_numpy() for name in columns)
    groups = {PALETTE[0]: np.argsort(-y)[:n_labels], PALETTE[5]: np.argsort(-x)[:n_labels]}
    short = shortened([str(values.index[i]) for top in groups.values() for i in top], _MOST_LETTERS)
    names = {int(i): short[str(values.index[i])] for top in groups.values() for i in top}
    if ax is None:
        width = 4.6 + 0.06 * max(max(map(len, names.values()), default=0) - 12, 0)
        ax = plt.subplots(figsize=(width, 3.6), layout="constrained")[1]
    size = float(np.clip(3000 / max(len(x), 1), 4, 18))
    alpha = float(np.clip(25 / np.sqrt(max(len(x), 1)), 0.15, 0.6))  # a cloud of many features shows where it is dense
    ax.scatter(x, y, s=size, color="0.4", alpha=alpha, linewidths=0, rasterized=True)
    chosen: dict[int, str] = {}
    for color, top in groups.items():
        chosen |= {int(i): color for i in top if int(i) not in chosen}
    both = list(chosen.items())
    if both:
        ax.scatter(x[[i for i, _ in both]], y[[i for i, _ in both]], s=2 * size, c=[c for _, c in both], linewidths=0)
    both.sort(key=lambda pair: y[pair[0]])
    for (i, color), height in zip(both, np.linspace(0.02, 0.98, len(both)), strict=True):
        ax.annotate(
            names[i], (x[i], y[i]), (1.06, height), textcoords="axes fraction", va="center", fontsize=7.5,
            color=color, arrowprops={"arrowstyle": "-", "color": color, "alpha": 0.45, "linewidth": 0.6, "shrinkB": 1, "relpos": (0, 0.5)},
        )  # fmt: skip
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    explained = {"R2": "R² from", "deviance": "deviance explained by", None: "explained by"}[measure]
    labels = {f"r2_{by}": f"{explained} the {what}" for by, what in _BY.items()}
    ax.set_xlabel(labels.get(private, private))
    ax.set_ylabel(labels.get(shared, shared))
    ax.locator_params(axis="x", nbins=6)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
