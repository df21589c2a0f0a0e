"""Confidence of predicted labels against how often they are right."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vennvi.metrics import Reliability
from vennvi.pl._palette import PALETTE
from vennvi.pl._plain_text import plain_text


@plain_text
def reliability(scores: Reliability | Mapping[str, Reliability], *, ax: Axes | None = None) -> Axes:
    """Draw a reliability diagram: on the diagonal, a probability is the frequency with which it is right.

    Parameters
    ----------
    scores
        What :func:`vennvi.metrics.reliability` returns, or several by name, such as before and after calibration.
    ax
        Axes to draw into; by default a new figure.

    Returns
    -------
    The axes. A point is a bin of confidence, its area the share of cells in it.

    Examples
    --------
    >>> from vennvi import metrics
    >>> score = metrics.reliability([[0.8, 0.2], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]], [0, 1, 1, 1])
    >>> reliability({"rna": score}).get_legend().get_texts()[0].get_text()
    'rna: off by .25 on average'
    """
    named = {"": scores} if isinstance(scores, Reliability) else scores
    if ax is None:
        ax = plt.subplots(figsize=(3.4, 3.4), layout="constrained")[1]
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    for k, (name, score) in enumerate(named.items()):
        bins = score.table[score.table["n"] > 0]
        color = PALETTE[k % len(PALETTE)]
        ece = f"{score.ece:.2f}".replace("0.", ".", 1)
        label = f"{name}: off by {ece} on average".removeprefix(": ")
        ax.plot(bins["confidence"], bins["accuracy"], color=color, linewidth=1.3, label=label, clip_on=False)
        size = 6 + 150 * bins["n"] / max(score.n, 1)
        ax.scatter(
            bins["confidence"],
            bins["accuracy"],
            s=np.asarray(size),
            color=color,
            alpha=0.75,
            linewidths=0,
            clip_on=False,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("predicted probability of the label", fontsize=9)
    ax.set_ylabel("fraction that is right", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    ax.spines[["top", "right"]].set_visible(False)
    return ax
