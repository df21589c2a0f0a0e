"""From summed deviances to the table of explained variance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vennvi.explain._blocks import OWN, PAIRED
from vennvi.explain._deviance import ExplainedDeviance

#: Of each block: its own prediction, the two predictions whose difference is its increment, and its set of cells.
BLOCKS = {
    "shared": ("shared", "all", "private", OWN),
    "cross": ("cross", "cross private", "private", PAIRED),
    "private": ("private", "all", "shared", OWN),
    "covariates": ("none", "all", "without covariates", OWN),
    "all": ("all", "all", "none", OWN),
}


def variance_table(
    explained: Mapping[str, ExplainedDeviance],
    n_shared: int,
    n_private: Mapping[str, int],
    *,
    covariates: bool,
    cross: bool,
    dimensions: bool,
) -> pd.DataFrame:
    """Rows of :meth:`variance_explained`, modality by modality."""
    rows: list[tuple] = []
    for m, sums in explained.items():
        for block, (alone, full, rest, k) in BLOCKS.items():
            if (block == "covariates" and not covariates) or (block == "cross" and not cross):
                continue
            increment = sums.total(full, k, over=rest)
            rows.append((m, block, pd.NA, sums.total(alone, k), increment, sums.likelihood.measure, sums.n_cells[k]))
        if dimensions:
            for block, d in _dimensions(n_shared, n_private[m]):
                only = sums.total(f"only {block} {d}", over="none")
                increment = sums.total("all", over=f"without {block} {d}")
                rows.append((m, block, d, only, increment, sums.likelihood.measure, sums.n_cells[OWN]))
    columns = ["modality", "block", "dimension", "alone", "incremental", "measure", "n_cells"]
    return pd.DataFrame(rows, columns=columns).astype({"dimension": "Int64"})


def _dimensions(n_shared: int, n_private: int) -> Iterator[tuple[str, int]]:
    yield from (("shared", d) for d in range(n_shared))
    yield from (("private", d) for d in range(n_private))


def feature_columns(sums: ExplainedDeviance, *, cross: bool) -> dict[str, NDArray[np.float64]]:
    """Values of :meth:`write_variance_explained` for one modality: what each block alone explains of each feature."""
    blocks = {"shared": "shared", "cross": "cross", "private": "private", "all": "total"}
    chosen = {column: BLOCKS[block] for block, column in blocks.items() if cross or block != "cross"}
    return {column: sums.per_feature(alone, k) for column, (alone, _, _, k) in chosen.items()}
