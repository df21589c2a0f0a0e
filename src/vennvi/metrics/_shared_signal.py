"""Is there a shared signal at all: agreement of unimodal shared latents against shuffled pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from vennvi.metrics._arrays import ROUNDING, Array, as_matrix, check_same_rows, complete_rows

#: Pairs of observations below which two modalities are not compared.
MIN_PAIRS = 10

_BLOCK_ENTRIES = 2**22  # numbers of permuted latents held at once


@dataclass(frozen=True)
class SharedSignal:
    """Agreement of the unimodal shared latents beside its permutation null."""

    statistic: float
    """Dimensions' worth of agreement, the mean of the pairs weighted by their observations: 0 to ``n_dimensions``."""
    p_value: float
    """Fraction of permutations at least as high, the observed one counted among them."""
    null: NDArray[np.floating]
    """``statistic`` of every permutation, ``(n_permutations,)``."""
    pairs: pd.DataFrame
    """One row a pair: ``modality_a``, ``modality_b``, ``statistic``, ``null_mean``, ``null_95``, ``p_value``, ``n_obs``."""
    dimensions: pd.DataFrame
    """One row a dimension: ``correlation`` (mean of the pairs), ``null_95``, ``p_value``, ``q_value``."""

    @property
    def n_dimensions(self) -> int:
        """Number of dimensions of the shared space."""
        return len(self.dimensions)


def shared_signal(
    latents: Mapping[str, ArrayLike],
    *,
    n_permutations: int = 1000,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> SharedSignal:
    r"""Test whether modalities place the same observations alike in a shared space, more than shuffled pairs do.

    .. math::

        T = \sum_j \max(r_j, 0)^2, \qquad r_j = \operatorname{cor}(a_{\cdot j}, b_{\cdot j}), \qquad
        p = \frac{1 + \#\{\pi : T_\pi \ge T\}}{1 + \#\pi}

    :math:`T` reads as the number of dimensions that two modalities agree on: 0 for none, the number of dimensions for
    all. With several modalities it is averaged over the pairs, and so is :math:`r_j`. A permutation shuffles the
    observations of every modality on its own, among those that have the same modalities (and are of the same group),
    which keeps the test exact with absent modalities. Nothing is estimated again, so that it takes seconds.

    The sum of squares finds one strong dimension among many as well as weak agreement of all; dimensions without
    variance read 0.

    Parameters
    ----------
    latents
        What each modality alone infers, observations x dimensions, by name; a row of NaN where it is absent. The
        observations must be held out: in the sample an encoder memorises the pairing.
    n_permutations
        Number of permutations; the smallest p-value is ``1 / (1 + n_permutations)``.
    groups
        One group an observation, such as its batch: shuffle within groups only, so that a difference between groups
        that both modalities see is no signal.
    seed
        Seed of the permutations.

    Returns
    -------
    :class:`SharedSignal`; the q-values of the dimensions are Benjamini and Hochberg's.

    Raises
    ------
    ValueError
        With fewer than two modalities, other shapes than the same for all, or no two modalities with
        ten observations in common.

    References
    ----------
    Phipson and Smyth, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol. 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import shared_signal
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(200, 3))
    >>> b = a * [1, 0, 0] + np.random.default_rng(1).normal(size=(200, 3))
    >>> test = shared_signal({"rna": a, "atac": b})
    >>> round(test.p_value, 3), round(test.statistic, 1)
    (0.001, 0.6)
    >>> test.dimensions["q_value"].round(2).tolist()
    [0.0, 0.12, 0.54]
    """
    if len(latents) < 2:
        raise ValueError("A shared signal needs two modalities at least.")
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, not {n_permutations}.")
    matrices = {m: as_matrix(values, m) for m, values in latents.items()}
    check_same_rows(**matrices)
    widths = {m: matrix.shape[1] for m, matrix in matrices.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The latents must share a space, but their dimensions are {widths}.")
    present = {m: complete_rows(matrix) for m, matrix in matrices.items()}
    strata = _strata(present, groups)
    n_rows, n_dimensions = next(iter(matrices.values())).shape

    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a, b in combinations(matrices, 2) if (present[a] & present[b]).sum() >= MIN_PAIRS]
    if not pairs:
        raise ValueError(f"No two modalities have {MIN_PAIRS} observations in common.")
    n_obs = np.array([(present[a] & present[b]).sum() for a, b in pairs])
    scaled = {(a, b): tuple(_standardise(matrices[m], present[a] & present[b]) for m in (a, b)) for a, b in pairs}
    correlations = np.empty((1 + n_permutations, len(pairs), n_dimensions))
    step = max(1, _BLOCK_ENTRIES // max(1, n_rows * n_dimensions))
    for start in range(0, 1 + n_permutations, step):
        rows = range(start, min(start + step, 1 + n_permutations))
        orders = {m: _shuffles(strata, rows, rng) for m in matrices}
        for p, (a, b) in enumerate(pairs):
            first, second = scaled[a, b]
            products = np.einsum("prd,prd->pd", first[orders[a]], second[orders[b]])
            correlations[rows.start : rows.stop, p] = products / n_obs[p]

    agreement = (np.clip(correlations, 0.0, None) ** 2).sum(axis=2)  # (1 + permutations, pairs)
    weights = n_obs / n_obs.sum()
    overall, by_dimension = agreement @ weights, np.einsum("kpd,p->kd", correlations, weights)
    p_dimensions = _p_values(by_dimension)
    pair_table = pd.DataFrame(
        {
            "modality_a": [a for a, _ in pairs],
            "modality_b": [b for _, b in pairs],
            "statistic": agreement[0],
            "null_mean": agreement[1:].mean(axis=0),
            "null_95": np.quantile(agreement[1:], 0.95, axis=0),
            "p_value": _p_values(agreement),
            "n_obs": n_obs,
        }
    )
    dimension_table = pd.DataFrame(
        {
            "correlation": by_dimension[0],
            "null_95": np.quantile(by_dimension[1:], 0.95, axis=0),
            "p_value": p_dimensions,
            "q_value": false_discovery_control(p_dimensions),
        },
        index=pd.RangeIndex(n_dimensions, name="dimension"),
    )
    p_value = float(_p_values(overall[:, None])[0])
    return SharedSignal(float(overall[0]), p_value, overall[1:], pair_table, dimension_table)


def _strata(present: Mapping[str, NDArray[np.bool_]], groups: ArrayLike | None) -> NDArray[np.intp]:
    """Number of the stratum of each observation: who has the same modalities, and is of the same group."""
    patterns = np.stack(list(present.values()), axis=1)
    strata = np.unique(patterns, axis=0, return_inverse=True)[1].ravel()
    if groups is None:
        return strata
    codes, _ = pd.factorize(np.asarray(groups, dtype=object))
    check_same_rows(latents=patterns, groups=codes)
    return np.unique(np.stack([strata, codes], axis=1), axis=0, return_inverse=True)[1].ravel()


def _shuffles(strata: NDArray[np.intp], rows: range, rng: np.random.Generator) -> NDArray[np.intp]:
    """Orders of the observations, shuffled within strata, ``(len(rows), n)``; row 0 is the identity."""
    shuffled = np.argsort(strata + rng.random((len(rows), len(strata))), axis=1)
    orders = np.empty_like(shuffled)
    orders[:, np.argsort(strata, kind="stable")] = shuffled
    if rows.start == 0:
        orders[0] = np.arange(len(strata))
    return orders


def _standardise(matrix: Array, rows: NDArray[np.bool_]) -> Array:
    """Centred and scaled by the given rows, zero in all others and in columns that do not vary there."""
    used = matrix[rows]
    # rounding differs between minibatches, but in every modality in the same cells
    varies = np.ptp(used, axis=0) > ROUNDING * np.abs(used).max(axis=0)
    centred = used - used.mean(axis=0)
    scaled = np.zeros_like(matrix)
    scaled[rows] = np.divide(centred, centred.std(axis=0), out=np.zeros_like(used), where=varies)
    return scaled


def _p_values(statistics: Array) -> Array:
    """One-sided p-values of row 0 among all rows, by column; equal up to rounding counts as equal."""
    tolerance = 1e-12 * np.maximum(1.0, np.abs(statistics[0]))
    return (statistics >= statistics[0] - tolerance).sum(axis=0) / len(statistics)
