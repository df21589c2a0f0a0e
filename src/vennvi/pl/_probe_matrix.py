"""Heat map of what can be read from which latent space."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vennvi.pl._plain_text import plain_text

_NOTHING = {"AUC": 0.5, "R²": 0.0}  # what no information reads


@plain_text
def probe_matrix(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a heat map of latent spaces by targets: the AUC of labels, R² of numbers.

    The colour says how far a value is from no information (AUC .5, R² 0; pale) to all of it (1; dark); the number is the
    value itself.

    Parameters
    ----------
    table
        What :func:`vennvi.metrics.probe_matrix` returns, or the ``table`` of :class:`~vennvi.metrics.Diagnosis`, of which
        the labels and covariates are drawn. R² is the better of the linear and the neighbours'.
    ax
        Axes to draw into; by default a new figure that grows with the table.

    Returns
    -------
    The axes; what could not be measured is left blank.

    Raises
    ------
    ValueError
        If the table has no probe.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     {"space": ["shared", "private rna"], "target": ["type"] * 2, "metric": ["auc"] * 2, "value": [0.97, 0.55]})
    >>> [text.get_text() for text in probe_matrix(table).texts]
    ['.97', '.55']
    """
    if "topic" in table:
        table = table[table["topic"].isin(("probe", "covariate"))]
        also_a_label = table["target"].isin(table.loc[table["topic"] == "probe", "target"])
        table = table.assign(
            target=table["target"].mask(
                also_a_label & (table["topic"] == "covariate"), table["target"] + " (covariate)"
            )
        )
    auc, r2 = table[table["metric"] == "auc"], table[table["metric"].isin(("r2_ridge", "r2_knn"))]
    if not len(auc) + len(r2):
        raise ValueError("The table has no probe (metrics 'auc', 'r2_ridge', 'r2_knn'): name labels to probe.")
    spaces, targets = list(table["space"].unique()), list(table["target"].unique())
    values = pd.concat([auc, r2]).pivot_table(index="space", columns="target", values="value", aggfunc="max")
    values = values.reindex(index=spaces, columns=targets)
    scores = {target: "AUC" if target in set(auc["target"]) else "R²" for target in targets}
    nothing = np.array([_NOTHING[scores[target]] for target in targets])
    known = (values.to_numpy(dtype=float) - nothing) / (1 - nothing)
    if ax is None:
        size = (1.9 + 0.62 * len(targets), 1.3 + 0.34 * len(spaces))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    image = ax.imshow(np.ma.masked_invalid(known), aspect="auto", cmap="Blues", vmin=0, vmax=1)
    labels = [f"{target} ({scores[target]})" for target in targets]
    ax.set_xticks(range(len(targets)), labels, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    ax.set_yticks(range(len(spaces)), spaces, fontsize=9)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (i, j), fraction in np.ndenumerate(known):
        if np.isfinite(fraction):
            text = f"{max(values.iat[i, j], 0.0):.2f}".replace("0.", ".", 1)
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if fraction > 0.6 else "black")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=20, ticks=[0, 1])
    bar.ax.set_yticklabels(["nothing", "all"], fontsize=8)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    return ax
