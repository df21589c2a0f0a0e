"""Names of cells as numbers: eight bytes each, however long the name."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def name_hashes(names: pd.Index | ArrayLike) -> NDArray[np.uint64]:
    """Hash of each name, the same in every session; of a million names no two are likely to collide.

    Examples
    --------
    >>> name_hashes(["cell0", "cell1"]).tolist()
    [8011795984055242691, 1105602970852291730]
    """
    return pd.util.hash_array(np.asarray(pd.Index(names).astype(str), dtype=object), categorize=False)


def positions_of(wanted: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Positions in ``hashes`` of those wanted that are there, in the order of ``wanted``.

    Examples
    --------
    >>> positions_of(np.array([7, 5, 1]), np.array([1, 3, 7])).tolist()
    [2, 0]
    """
    order = np.argsort(hashes, kind="stable")
    places = np.minimum(np.searchsorted(hashes, wanted, sorter=order), len(hashes) - 1)
    found = order[places]
    return found[hashes[found] == wanted]
