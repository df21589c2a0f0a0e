"""Colours, markers and names that the figures have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from matplotlib.colors import to_hex, to_rgb

#: Okabe & Ito's colours, told apart by all readers; the order puts neighbours far from each other.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
#: Those that a thin line on white is seen in. As many as there are markers, less one: pairs repeat after 56.
LINES = tuple(color for color in PALETTE if color != "#F0E442")
MARKERS = "osD^vP*X"


def with_shades(colors: Iterable[str]) -> list[str]:
    """Colours, then dark and then light shades of them, but of black.

    Examples
    --------
    >>> len(with_shades(PALETTE)), with_shades(["#0080ff", "#000000"])
    (22, ['#0080ff', '#000000', '#004a94', '#73b9ff'])
    """
    colors = list(colors)
    rgb = [np.asarray(to_rgb(color)) for color in colors if any(to_rgb(color))]
    return colors + [_hex(0.58 * color) for color in rgb] + [_hex(1 - 0.55 * (1 - color)) for color in rgb]


def _hex(rgb: np.ndarray) -> str:
    return to_hex((float(rgb[0]), float(rgb[1]), float(rgb[2])))


def source_name(source: str, modalities: Collection[str], target: str | None = None) -> str:
    """Short name of the modalities that something comes from.

    Parameters
    ----------
    source
        Modalities joined by ``"+"``.
    modalities
        All there are.
    target
        Modality it goes to.

    Examples
    --------
    >>> views = ["a", "b", "c", "d", "e"]
    >>> [source_name(s, views, "a") for s in ("a", "b", "b+c", "b+c+d+e", "a+b+c+d+e", "a+b+d+e")]
    ['itself', 'b', 'b + c', 'the others', 'all', 'all but c']
    """
    parts = source.split("+")
    absent = [m for m in modalities if m not in parts]
    if parts == [target]:
        return "itself"
    if len(parts) > 1 and not absent:
        return "all"
    if len(parts) > 1 and absent == [target]:
        return "the others"
    if len(parts) > max(2, len(absent)):
        return f"all but {', '.join(absent)}"
    return " + ".join(parts)
