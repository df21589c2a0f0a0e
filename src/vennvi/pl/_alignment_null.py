"""The agreement of the modalities beside that of shuffled pairs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vennvi.metrics import SharedSignal
from vennvi.pl._palette import PALETTE
from vennvi.pl._plain_text import plain_text


@plain_text
def alignment_null(signal: SharedSignal, *, ax: Axes | None = None) -> Axes:
    """Draw the observed statistic of a test of shared signal over the histogram of its permutations.

    Parameters
    ----------
    signal
        What :meth:`shared_signal_test` of a model or :func:`vennvi.metrics.shared_signal` returns.
    ax
        Axes to draw into; by default a new figure.

    Returns
    -------
    The axes; the horizontal one is spaced by the square root, so that both the shuffles and a strong signal are seen.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import shared_signal
    >>> z = np.random.default_rng(0).normal(size=(50, 2))
    >>> ax = alignment_null(shared_signal({"rna": z, "atac": z}, n_permutations=99))
    >>> ax.get_xlabel()
    'shared dimensions that the modalities agree on (of 2)'
    """
    if ax is None:
        ax = plt.subplots(figsize=(4.4, 2.6), layout="constrained")[1]
    highest = float(np.sqrt(max(signal.null.max(), signal.statistic, 1e-9)))
    bins = np.linspace(0, np.sqrt(max(signal.null.max(), 1e-9)) * 1.0001, 20) ** 2
    ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    ax.hist(signal.null, bins=bins.tolist(), color="0.7", label=f"{len(signal.null)} shuffles of the pairs")
    ax.axvline(signal.statistic, color=PALETTE[5], linewidth=2, label=f"observed, p = {signal.p_value:.2g}")
    ax.set_xlim(0, (1.06 * highest) ** 2)
    ax.set_xlabel(f"shared dimensions that the modalities agree on (of {signal.n_dimensions})", fontsize=9)
    ax.set_ylabel("shuffles", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
