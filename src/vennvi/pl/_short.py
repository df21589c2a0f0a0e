"""Long names, shortened where they tell the least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def shortened(names: Iterable[str], most: int) -> dict[str, str]:
    """Names of at most ``most`` letters, by the whole ones; those that would become the same stay whole.

    What is longer loses its middle, since names often differ at their ends.

    Examples
    --------
    >>> shortened(["chr1-10596095-10596750", "CD3E"], 12)
    {'chr1-10596095-10596750': 'chr1-1…96750', 'CD3E': 'CD3E'}
    >>> shortened(["the same, 1, of all", "the same, 2, of all"], 12)
    {'the same, 1, of all': 'the same, 1, of all', 'the same, 2, of all': 'the same, 2, of all'}
    """
    short = {name: _without_middle(name, most) for name in names}
    n_names = Counter(short.values())
    return {name: each if n_names[each] == 1 else name for name, each in short.items()}


def _without_middle(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
