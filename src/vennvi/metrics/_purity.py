"""Whether neighbours in a latent space have the same label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors

from vennvi.metrics._arrays import as_matrix, check_same_rows, complete_rows


@dataclass(frozen=True)
class NeighbourPurity:
    """How far neighbours in a latent space agree on a label."""

    purity: float
    """Fraction of the nearest neighbours that have the row's own label, mean over the rows."""
    no_information: float
    """What it would be if neighbours were any other rows."""
    n_rows: int
    """Rows used."""
    n_left_out: int
    """Rows without a label or with NaN in the latents."""


def neighbour_purity(latent: ArrayLike, labels: ArrayLike, n_neighbors: int = 15) -> NeighbourPurity:
    r"""Fraction of each row's nearest neighbours that share its label.

    .. math:: \frac{1}{n} \sum_i \frac{1}{k} \sum_{j \in N_k(i)} \mathbf{1}[y_j = y_i]

    A linear probe finds a type whose cells are scattered over several places; this does not. An alignment that treats
    cells of one type as each other's negatives would tear it apart, and show here.

    Parameters
    ----------
    latent
        Rows x dimensions, not standardised. Rows with NaN are left out.
    labels
        One label a row: categorical, strings, booleans or integers. Rows with a missing label are left out.
    n_neighbors
        Number :math:`k` of neighbours, Euclidean, the row itself not among them; fewer if there are not as many rows.

    Returns
    -------
    Purity, what no information reads, and the rows behind it.

    Raises
    ------
    ValueError
        If the rows of the two differ in number, or fewer than two are left.

    Examples
    --------
    >>> import numpy as np
    >>> latent = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> neighbour_purity(latent, ["a", "a", "b", "b"], n_neighbors=1)
    NeighbourPurity(purity=1.0, no_information=0.33..., n_rows=4, n_left_out=0)
    """
    z = as_matrix(latent, "latent")
    codes = pd.factorize(pd.Series(labels), use_na_sentinel=True)[0]
    check_same_rows(latent=z, labels=codes)
    rows = np.flatnonzero(complete_rows(z) & (codes >= 0))
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} rows have a label and latents: neighbours need two at least.")
    z, codes = z[rows], codes[rows]
    k = min(n_neighbors, len(rows) - 1)
    neighbours = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)  # of no row itself
    purity = (codes[neighbours] == codes[:, None]).mean()
    counts = np.bincount(codes)
    chance = (counts * (counts - 1)).sum() / (len(rows) * (len(rows) - 1))
    return NeighbourPurity(float(purity), float(chance), len(rows), len(latent) - len(rows))  # type: ignore[arg-type]
