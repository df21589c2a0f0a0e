"""Long names, shortened where they tell the least."""

from __future__ import annotations


def shortened(name: str, most: int) -> str:
    """A name of at most ``most`` letters: what is longer loses its middle, since names often differ at their ends.

    Examples
    --------
    >>> shortened("chr1-10596095-10596750", 12), shortened("CD3E", 12)
    ('chr1-1…96750', 'CD3E')
    """
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
