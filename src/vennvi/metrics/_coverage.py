"""Coverage: do predictive intervals hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vennvi.metrics._arrays import Array, as_matrix


@dataclass(frozen=True)
class IntervalCoverage:
    """Fraction of observed values inside their intervals."""

    per_feature: NDArray[np.floating]
    """One value a feature; NaN for one that was never observed."""
    total: float
    """Of all observed entries."""
    n: int
    """Observed entries."""


def interval_coverage(x: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> IntervalCoverage:
    r"""Fraction of observed values within predictive intervals, their ends included.

    .. math:: \frac{1}{n} \sum_i \mathbb{1}\{l_{ij} \le x_{ij} \le u_{ij}\}

    Of continuous values, a 90 % interval should hold 90 %. An interval of counts ends at whole numbers and holds more,
    of rare counts nearly all; judge those by :func:`predictive_ranks` and :func:`rank_coverage`.

    Parameters
    ----------
    x
        Observed values, samples x features; entries with NaN in it or in a bound are left out.
    lower, upper
        Bounds in the same units.

    Returns
    -------
    :class:`IntervalCoverage`.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from vennvi.metrics import interval_coverage
    >>> interval_coverage([[0.0, 5.0], [3.0, 5.0]], [[-1.0, 4.0], [-1.0, 4.0]], [[1.0, 6.0], [1.0, 6.0]])
    IntervalCoverage(per_feature=array([0.5, 1. ]), total=0.75, n=4)
    """
    values, low, high = as_matrix(x, "x"), as_matrix(lower, "lower"), as_matrix(upper, "upper")
    if not values.shape == low.shape == high.shape:
        raise ValueError(f"x, lower and upper have shapes {values.shape}, {low.shape} and {high.shape}.")
    observed = ~(np.isnan(values) | np.isnan(low) | np.isnan(high))
    inside = (low <= values) & (values <= high) & observed
    n = observed.sum(axis=0)
    per_feature = np.divide(inside.sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)
    return IntervalCoverage(per_feature, float(inside.sum() / n.sum()) if n.sum() else np.nan, int(n.sum()))


def predictive_ranks(x: ArrayLike, draws: ArrayLike, *, seed: int = 0) -> Array:
    r"""Rank of every observed value among draws of its predictive distribution, between 0 and 1.

    .. math:: u = \frac{\#\{k : y_k < x\} + V\,(1 + \#\{k : y_k = x\})}{1 + K}, \qquad V \sim \mathcal{U}[0, 1]

    Uniform if the observed value is one more draw of the predictive distribution, for counts and 0/1 data too
    (the randomised probability integral transform).

    Parameters
    ----------
    x
        Observed values, of any shape, NaN where missing.
    draws
        Draws, ``(n_draws, *x.shape)``.
    seed
        Seed of :math:`V`.

    Returns
    -------
    Ranks of the shape of ``x``; NaN where it or a draw is.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Czado, Gneiting and Held, "Predictive model assessment for count data", Biometrics 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import predictive_ranks
    >>> predictive_ranks([0.05, 9.0], np.linspace(0, 1, 999)[:, None].repeat(2, axis=1)).round(2)
    array([0.05, 1.  ])
    """
    values, drawn = np.asarray(x, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if drawn.shape[1:] != values.shape:
        raise ValueError(f"draws has shape {drawn.shape}: expected draws x {values.shape}.")
    below, equal = (drawn < values).sum(axis=0), (drawn == values).sum(axis=0)
    jitter = np.random.default_rng(seed).random(values.shape)
    ranks = (below + jitter * (1 + equal)) / (1 + len(drawn))
    return np.where(np.isnan(values) | np.isnan(drawn).any(axis=0), np.nan, ranks)


def rank_coverage(ranks: ArrayLike, levels: Sequence[float] = (0.5, 0.9)) -> Array:
    r"""Fraction of observed values inside central predictive intervals, read off their ranks.

    .. math:: \frac{1}{n} \sum_i \mathbb{1}\{|2 u_i - 1| \le \ell\}

    Parameters
    ----------
    ranks
        Ranks between 0 and 1 as of :func:`predictive_ranks`, of any shape; NaN is left out.
    levels
        Nominal levels.

    Returns
    -------
    One fraction a level; NaN without ranks.

    Examples
    --------
    >>> from vennvi.metrics import rank_coverage
    >>> rank_coverage([0.01, 0.3, 0.5, 0.7], levels=[0.5, 0.9])
    array([0.75, 0.75])
    """
    values = np.asarray(ranks, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if not values.size:
        return np.full(len(levels), np.nan)
    return np.array([np.mean(np.abs(2 * values - 1) <= level) for level in levels])
