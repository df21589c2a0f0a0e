"""Alignment: do two modalities place an observation at the same point of the shared space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from vennvi.metrics._arrays import Array, as_matrix, check_same_rows, complete_rows

Counts = NDArray[np.integer]

_BLOCK_ENTRIES = 2**19  # distances held at once


@dataclass(frozen=True)
class Alignment:
    """Alignment of paired latents, beside the same on shuffled pairs."""

    foscttm: float
    """Fraction of samples closer than the true match: 0 is perfect, 0.5 chance."""
    recall: float
    """Fraction of observations whose true match is among the ``k`` nearest."""
    foscttm_null: float
    """``foscttm`` with the pairs shuffled, the mean of the shuffles; NaN without shuffles."""
    recall_null: float
    """``recall`` with the pairs shuffled, the mean of the shuffles; NaN without shuffles."""
    k: int
    """Number of nearest that count for the recall."""
    n_obs: int
    """Pairs used."""
    n_left_out: int
    """Pairs with NaN in either row."""


def foscttm(a: ArrayLike, b: ArrayLike) -> float:
    r"""Fraction of samples closer than the true match, averaged over both directions.

    .. math::

        \frac{1}{2 n (n - 1)} \sum_i \left[ \#\{j : d(a_i, b_j) < d(a_i, b_i)\}
        + \#\{j : d(a_j, b_i) < d(a_i, b_i)\} \right]

    with Euclidean distances :math:`d`; a sample as near as the true match counts one half, so that latents collapsed
    to a point read 0.5 and not 0. Distances are computed in blocks, never all at once.

    Parameters
    ----------
    a, b
        Latents of the same observations, rows x dimensions. Pairs with NaN in either row are left out.

    Returns
    -------
    Between 0 (every observation is nearest to its match) and 1; chance is 0.5; NaN with fewer than two pairs.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Liu, Huang, Singh, Vert and Noble, "Jointly embedding multiple single-cell omics measurements", WABI 2019.

    Examples
    --------
    >>> from vennvi.metrics import foscttm
    >>> foscttm([[0.0], [1.0], [2.0]], [[0.1], [1.1], [2.1]])
    0.0
    >>> foscttm([[0.0], [1.0], [2.0]], [[2.0], [1.0], [0.0]])
    0.6666666666666666
    """
    a, b, _ = _complete_pairs(a, b)
    return _foscttm(*_compare_with_match(a, b))


def recall_at_k(a: ArrayLike, b: ArrayLike, k: int = 10) -> float:
    r"""Fraction of observations whose true match is among the k nearest, averaged over both directions.

    .. math::

        \frac{1}{2 n} \sum_i \left[ \mathbb{1}\{b_i \in N_k(a_i)\} + \mathbb{1}\{a_i \in N_k(b_i)\} \right]

    with :math:`N_k` the k nearest of the other modality by Euclidean distance. Among samples as near as the true
    match the order is random, and the expectation is returned. Distances are computed in blocks.

    Parameters
    ----------
    a, b
        Latents of the same observations, rows x dimensions. Pairs with NaN in either row are left out.
    k
        Number of nearest that count.

    Returns
    -------
    Between 0 and 1; chance is :math:`k / n`; NaN without pairs.

    Raises
    ------
    ValueError
        If the shapes differ or ``k`` is below 1.

    Examples
    --------
    >>> from vennvi.metrics import recall_at_k
    >>> recall_at_k([[0.0], [1.0], [2.0]], [[2.0], [1.0], [0.0]], k=1)
    0.3333333333333333
    """
    _check_k(k)
    a, b, _ = _complete_pairs(a, b)
    return _recall(*_compare_with_match(a, b), k)


def alignment(a: ArrayLike, b: ArrayLike, *, k: int = 10, n_shuffles: int = 5, seed: int = 0) -> Alignment:
    """Measure :func:`foscttm` and :func:`recall_at_k`, and both with the pairs shuffled as the level of chance.

    Parameters
    ----------
    a, b
        Latents of the same observations, rows x dimensions. Pairs with NaN in either row are left out.
    k
        Number of nearest that count for the recall.
    n_shuffles
        Number of shuffles of the pairs.
    seed
        Seed of the shuffles.

    Returns
    -------
    :class:`Alignment`.

    Raises
    ------
    ValueError
        If the shapes differ or ``k`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import alignment
    >>> a = np.random.default_rng(0).normal(size=(200, 5))
    >>> b = a + 0.1 * np.random.default_rng(1).normal(size=(200, 5))
    >>> aligned = alignment(a, b, k=5)
    >>> round(aligned.foscttm, 2), round(aligned.recall, 2)
    (0.0, 1.0)
    >>> round(aligned.foscttm_null, 1), round(aligned.recall_null, 2)
    (0.5, 0.02)
    """
    _check_k(k)
    a, b, n_left_out = _complete_pairs(a, b)
    rng = np.random.default_rng(seed)
    pairings = [np.arange(len(a)), *(rng.permutation(len(a)) for _ in range(n_shuffles))]
    closer, as_near = _compare_with_match(a, b, np.stack(pairings))
    return Alignment(
        foscttm=_foscttm(closer[:1], as_near[:1]),
        recall=_recall(closer[:1], as_near[:1], k),
        foscttm_null=_foscttm(closer[1:], as_near[1:]),
        recall_null=_recall(closer[1:], as_near[1:], k),
        k=k,
        n_obs=len(a),
        n_left_out=n_left_out,
    )


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")


def _complete_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, int]:
    """Rows without NaN in either, and the number of those left out."""
    first, second = as_matrix(a, "a"), as_matrix(b, "b")
    n_rows = check_same_rows(a=first, b=second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"a has {first.shape[1]} dimensions, but b {second.shape[1]}: they must share a space.")
    complete = complete_rows(first, second)
    return first[complete], second[complete], n_rows - int(complete.sum())


def _compare_with_match(a: Array, b: Array, partners: Counts | None = None) -> tuple[Counts, Counts]:
    """Count the samples closer than the match, and the others as near: each (pairings, 2 directions, n).

    ``partners[p, i]`` is the row of b that pairing p matches with row i of a (None: the one pairing of equal rows).
    All pairings read the same distances, which are computed once, in blocks of rows.
    """
    n = len(a)
    partners = np.arange(n)[None] if partners is None else partners
    step = max(1, _BLOCK_ENTRIES // max(n, 1))
    blocks = [slice(start, start + step) for start in range(0, n, step)]
    match = np.empty((len(partners), 2, n))  # distance to the match of each row of a, and of each row of b
    for partner, distance in zip(partners, match, strict=True):
        for rows in blocks:  # by the routine of the block below, so that equal distances are equal numbers
            distance[0, rows] = np.diagonal(cdist(a[rows], b[partner[rows]]))
        distance[1, partner] = distance[0]

    closer, not_farther = (np.zeros(match.shape, dtype=np.int64) for _ in range(2))
    for rows in blocks:
        distances = cdist(a[rows], b)  # (rows, n)
        for p, (from_a, from_b) in enumerate(match):
            closer[p, 0, rows] = (distances < from_a[rows, None]).sum(axis=1)
            not_farther[p, 0, rows] = (distances <= from_a[rows, None]).sum(axis=1)
            closer[p, 1] += (distances < from_b).sum(axis=0)
            not_farther[p, 1] += (distances <= from_b).sum(axis=0)
    return closer, not_farther - closer - 1  # the match itself is no other


def _foscttm(closer: Counts, as_near: Counts) -> float:
    n = closer.shape[-1]
    return float((closer + 0.5 * as_near).mean() / (n - 1)) if n > 1 and closer.size else np.nan


def _recall(closer: Counts, as_near: Counts, k: int) -> float:
    chance = np.clip((k - closer) / (as_near + 1), 0.0, 1.0)  # places left among those that are as near
    return float(chance.mean()) if chance.size else np.nan
