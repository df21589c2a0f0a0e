"""The loss, term by term, over the training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vennvi.pl._palette import LINES, MARKERS, source_name, with_shades
from vennvi.pl._plain_text import plain_text

_STYLES: dict[str, Literal["-", "--"]] = {"train": "-", "validation": "--"}
_CELLS = {"train": "training cells", "validation": "validation cells"}
_OTHERS = {
    "alignment": "alignment",
    "foscttm": "alignment (FOSCTTM)",
    "classification": "classification",
    "accuracy": "accuracy of labels",
}
_MOST_COLUMNS = 4
_UNNAMED = "0.2"  # colour of a panel's only term
_RECONSTRUCTION = "reconstruction of "
_COLORS = with_shades(LINES)


@plain_text
def training_curves(history: Mapping[str, pd.DataFrame], *, skip: int = 0, panel_size: float = 2.6) -> Figure:
    """Draw every term of the loss over the epochs: training cells solid, validation cells dashed.

    One panel for the loss, for the reconstruction of each modality (a line for each set of modalities it is reconstructed
    from), for the KL terms of the shared and of the private latents, and for each further term. A set of modalities looks
    the same in all panels; the legend below them names it.

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
    The figure, one of its own (there is no ``ax``); its axes are the panels.

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
    modalities = _modalities(history)
    for name, frame in history.items():
        if (where := _place(name, modalities)) is not None:
            panel, line, split = where
            curve = frame.iloc[:, 0].astype(float).dropna().iloc[skip:]
            if len(curve):
                panels.setdefault(panel, {}).setdefault(line, {})[split] = curve
    if not panels:
        raise ValueError(f"The history has no curve of more than {skip} epochs: train the model first.")
    order = sorted(panels, key=lambda panel: (_rank(panel), panel))
    columns = 3 if len(order) in (5, 6, 9) else min(len(order), _MOST_COLUMNS)
    rows = -(-len(order) // columns)
    styles = _styles(panels)
    handles, across = _legend(panels, styles, 1.25 * panel_size * columns)
    height = panel_size * rows + 0.15 * (-(-len(handles) // across) + 2 * bool(handles))
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.25 * panel_size * columns, height), squeeze=False, layout="constrained"
    )
    for ax, panel in zip(axes.flat, order, strict=False):
        for line, curves in panels[panel].items():
            for split, curve in ((s, curves[s]) for s in _STYLES if s in curves):
                style = styles[line] | ({"marker": "o"} if len(curve) == 1 else {})
                every = max(1, len(curve) // 4)  # few markers, not all at the same epochs
                start = list(styles).index(line) % every
                ax.plot(
                    np.arange(skip, skip + len(curve)), curve, _STYLES[split], linewidth=1.3, markersize=3.5,
                    markevery=(start, every), label=line or panel, **style,
                )  # fmt: skip
        ax.set_title(panel, fontsize=10)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlabel("epoch", fontsize=8)
    for ax in axes.flat[len(order) :]:
        ax.remove()
    shown = {split for panel in panels.values() for curves in panel.values() for split in curves}
    splits = [
        Line2D([], [], color=_UNNAMED, linestyle=style, linewidth=1.3, label=_CELLS[split])
        for split, style in _STYLES.items()
        if split in shown
    ]
    axes[0, 0].legend(handles=splits, fontsize=7.5, frameon=False)
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", fontsize=7.5, frameon=False, ncols=across,
            title="reconstruction from, or KL of", title_fontsize=7.5,
        )  # fmt: skip
    return figure


def _styles(panels: Mapping[str, Mapping]) -> dict[str, dict]:
    """Colour of each set of modalities; with a marker where there are more than colours that all readers tell apart."""
    lines = dict.fromkeys(line for panel in panels.values() for line in panel if line)
    marked = len(lines) > len(LINES)
    styles: dict[str, dict] = {"": {"color": _UNNAMED}}
    for k, line in enumerate(lines):
        styles[line] = {"color": _COLORS[k % len(_COLORS)], "marker": MARKERS[k % len(MARKERS)] if marked else None}
    return styles


def _legend(panels: Mapping[str, Mapping], styles: Mapping[str, dict], width: float) -> tuple[list[Line2D], int]:
    """Entries of the legend, and how many of them go side by side."""
    modalities = [panel.removeprefix(_RECONSTRUCTION) for panel in panels if panel.startswith(_RECONSTRUCTION)]
    names = {line: source_name(line, modalities) for line in styles if line}
    handles = [Line2D([], [], linewidth=1.3, markersize=3.5, label=name, **styles[k]) for k, name in names.items()]
    longest = max(map(len, names.values()), default=0)
    return handles, max(1, min(len(handles), int(width / (0.5 + 0.06 * longest))))


def _modalities(history: Mapping[str, pd.DataFrame]) -> set[str]:
    """Names of the modalities that have a KL term of their own."""
    terms = {name.removesuffix(f"_{split}") for name in history for split in _STYLES if name.endswith(f"_{split}")}
    return {term.removeprefix("kl_private_") for term in terms if term.startswith("kl_private_")}


def _place(name: str, modalities: Collection[str]) -> tuple[str, str, str] | None:
    """Panel, line and split of a curve; ``None`` for what is drawn by its parts, or is none of ours."""
    if name in ("train_loss", "validation_loss"):
        return "loss", "", name.removesuffix("_loss")
    for split in _STYLES:
        if not name.endswith(f"_{split}"):
            continue
        term = name.removesuffix(f"_{split}")
        if term.startswith("reconstruction_") and "_to_" in term:
            source, target = _source_and_target(term.removeprefix("reconstruction_"), modalities)
            return f"{_RECONSTRUCTION}{target}", source, split
        for kind in ("shared", "private"):
            if term.startswith(f"kl_{kind}_"):
                return f"KL, {kind}", term.removeprefix(f"kl_{kind}_"), split
        if term in _OTHERS:
            return _OTHERS[term], "", split
    return None


def _source_and_target(term: str, modalities: Collection[str]) -> tuple[str, str]:
    """Parts of ``"rna_to_atac"``; the modalities say where to part it if one of them is called ``"a_to_b"`` itself."""
    words = term.split("_to_")
    ways = [("_to_".join(words[:k]), "_to_".join(words[k:])) for k in range(1, len(words))]
    known = [way for way in ways if {*way[0].split("+"), way[1]} <= set(modalities)]
    return known[0] if known else ways[-1]


def _rank(panel: str) -> int:
    starts = ("loss", "reconstruction", "KL, shared", "KL, private")
    return next((k for k, start in enumerate(starts) if panel.startswith(start)), len(starts))
