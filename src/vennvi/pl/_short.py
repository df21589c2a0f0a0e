"""Long names, shortened where they tell the least."""

from __future__ import annotations

from collections.abc import Iterable


def shortened(names: Iterable[str], most: int) -> dict[str, str]:
    """Names of at most ``most`` letters, by the whole ones: what is longer loses its middle, since names often differ at their ends.

    Those that would become the same stay whole.

    Examples
    --------
    >>> shortened(["chr1-10596095-10596750", "CD3E"], 12)
    {'chr1-10596095-10596750': 'chr1-1…96750', 'CD3E': 'CD3E'}
    >>> shortened(["the same, 1, of all", "the same, 2, of all"], 12)
    {'the same, 1, of all': 'the same, 1, of all', 'the same, 2, of all': 'the same, 2, of all'}
    """
    short = {name: _without_middle(name, most) for name in names}
    whole: dict[str, int] = {}
    for each in short.values():
        whole[each] = whole.get(each, 0) + 1
    return {name: each if whole[each] == 1 else name for name, each in short.items()}


def _without_middle(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
