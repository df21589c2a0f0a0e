"""How the categories of a quantity are coloured, numbered and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vennvi.pl._palette import PALETTE, with_shades

#: Categories in a legend; of more, the largest.
MOST_NAMED = 20
#: Of those without a value, and of those that are neither named nor given a colour.
MISSING, SMALLER = "0.88", "0.7"


@dataclass(frozen=True)
class Categories:
    """Categories that occur, in their order."""

    names: list[str]
    codes: NDArray[np.intp]
    """Category of each cell, -1 where it has none."""
    colors: list[str]
    named: list[int]
    """Which are in the legend: all, or the largest."""
    all_colored: bool
    """Whether those that are not in the legend have their own colours all the same."""

    @property
    def numbered(self) -> bool:
        """Whether there are more than colours that all readers tell apart: then numbers on the data say which is which."""
        return len(self.names) > len(PALETTE)

    def cell_colors(self) -> list[str]:
        """Colour of each cell."""
        return [self.colors[code] if code >= 0 else MISSING for code in self.codes]

    def legend(self) -> list[tuple[str, str | None]]:
        """Names and colours for the legend, and what it leaves out."""
        entries: list[tuple[str, str | None]] = [
            (f"{k}  {self.names[i]}" if self.numbered else self.names[i], self.colors[i])
            for k, i in enumerate(self.named, 1)
        ]
        if rest := len(self.names) - len(self.named):
            entries.append((f"{rest} smaller ones", None if self.all_colored else SMALLER))
        if (self.codes < 0).any():
            entries.append(("missing", MISSING))
        return entries


def categories_of(
    values: pd.Series, palette: Sequence[str] | Mapping[str, str] | None = None, quantity: str = ""
) -> Categories:
    """Colour categories by a palette in the order of all of them, as scanpy does, or by one of ours.

    Raises
    ------
    ValueError
        If the palette has no colour for a category that occurs.

    Examples
    --------
    >>> found = categories_of(pd.Series(["b", "a", None]), {"a": "red", "b": "blue"})
    >>> found.legend(), found.cell_colors()
    ([('a', 'red'), ('b', 'blue'), ('missing', '0.88')], ['blue', 'red', '0.88'])
    """
    categorical = values.astype("category").cat
    names, codes = list(categorical.categories), categorical.codes.to_numpy()
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    present = np.flatnonzero(sizes)
    largest = present[np.argsort(-sizes[present], kind="stable")][:MOST_NAMED]
    named = np.sort(largest)
    if palette is None:
        ours = PALETTE if len(present) <= len(PALETTE) else with_shades(PALETTE)
        color = {int(i): SMALLER for i in present} | dict(zip(named.tolist(), ours, strict=False))
    else:
        given = palette if isinstance(palette, Mapping) else dict(zip(names, palette, strict=False))
        if absent := [names[i] for i in present if names[i] not in given]:
            raise ValueError(f"The palette of {quantity!r} has no colour for category {absent[0]!r}.")
        color = {int(i): given[names[i]] for i in present}
    position = np.full(len(names) + 1, -1)
    position[present] = np.arange(len(present))
    return Categories(
        [str(names[i]) for i in present],
        position[codes],
        [color[int(i)] for i in present],
        position[named].tolist(),
        palette is not None,
    )
