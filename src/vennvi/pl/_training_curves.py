"""The loss, term by term, over the training."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vennvi.pl._spaces import PALETTE

_STYLES = {"train": "-", "validation": "--"}
_OTHERS = {
    "alignment": "alignment",
    "foscttm": "alignment (FOSCTTM)",
    "classification": "classification",
    "accuracy": "accuracy of labels",
}
_MOST_COLUMNS = 4


def training_curves(history: Mapping[str, pd.DataFrame], *, skip: int = 0, panel_size: float = 2.6) -> Figure:
    """Draw every term of the loss over the epochs: training cells solid, validation cells dashed.

    One panel for the loss, for the reconstruction of each modality (a line for each set of modalities it is reconstructed
    from), for the KL terms of the shared and of the private latents, and for each further term.

    Parameters
    ----------
    history
        ``model.history``: data frames with one column and one row an epoch, by name.
    skip
        First epochs to leave out, so that the steep start does not hide the rest.
    panel_size
        Height of a panel in inches.

    Returns
    -------
    The figure; its axes are the panels.

    Raises
    ------
    ValueError
        If there is no curve, or none longer than ``skip``.

    Examples
    --------
    >>> import pandas as pd
    >>> curve = lambda name: pd.DataFrame({name: [3.0, 2.0, 1.0]})
    >>> history = {n: curve(n) for n in ("train_loss", "validation_loss", "kl_private_rna_train")}
    >>> [ax.get_title() for ax in training_curves(history).axes]
    ['loss', 'KL, private']
    """
    panels: dict[str, dict[str, dict[str, pd.Series]]] = {}
    for name, frame in history.items():
        if (where := _place(name)) is not None:
            panel, line, split = where
            curve = frame.iloc[:, 0].astype(float).dropna().iloc[skip:]
            if len(curve):
                panels.setdefault(panel, {}).setdefault(line, {})[split] = curve
    if not panels:
        raise ValueError(f"The history has no curve of more than {skip} epochs: train the model first.")
    order = sorted(panels, key=lambda panel: (_rank(panel), panel))
    columns = 3 if len(order) in (5, 6, 9) else min(len(order), _MOST_COLUMNS)
    rows = -(-len(order) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.25 * panel_size * columns, panel_size * rows), squeeze=False, layout="constrained"
    )
    for ax, panel in zip(axes.flat, order, strict=False):
        lines = panels[panel]
        for k, (line, curves) in enumerate(lines.items()):
            for split, curve in ((s, curves[s]) for s in _STYLES if s in curves):
                single = "o" if len(curve) == 1 else None
                label = (line or split) if split == "train" or "train" not in curves else ("_" if line else split)
                ax.plot(
                    np.arange(skip, skip + len(curve)), curve, _STYLES[split], color=PALETTE[k % len(PALETTE)],
                    linewidth=1.3, marker=single, markersize=3, label=label,
                )  # fmt: skip
        ax.set_title(panel, fontsize=10)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=6.5, frameon=False, ncols=1 if len(lines) <= 8 else 2)
        ax.set_xlabel("epoch", fontsize=8)
    for ax in axes.flat[len(order) :]:
        ax.remove()
    return figure


def _place(name: str) -> tuple[str, str, str] | None:
    """Panel, line and split of a curve; ``None`` for what is drawn by its parts, or is none of ours."""
    if name in ("train_loss", "validation_loss"):
        return "loss", "", name.removesuffix("_loss")
    for split in _STYLES:
        if not name.endswith(f"_{split}"):
            continue
        term = name.removesuffix(f"_{split}")
        if term.startswith("reconstruction_") and "_to_" in term:
            source, _, target = term.removeprefix("reconstruction_").rpartition("_to_")
            return f"reconstruction of {target}", f"from {source}", split
        for kind in ("shared", "private"):
            if term.startswith(f"kl_{kind}_"):
                return f"KL, {kind}", term.removeprefix(f"kl_{kind}_"), split
        if term in _OTHERS:
            return _OTHERS[term], "", split
    return None


def _rank(panel: str) -> int:
    starts = ("loss", "reconstruction", "KL, shared", "KL, private")
    return next((k for k, start in enumerate(starts) if panel.startswith(start)), len(starts))
