"""Does a prediction belong to its cell: a permutation test of every feature at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

#: Below this fraction of entries that are not zero, only those are visited in every permutation.
_SPARSE = 0.25
#: Numbers of a block of features that are held at once: they fit into a processor's cache.
_BLOCK = 1 << 20
#: Rounding, relative to the sizes of the two factors, that does not tell two statistics apart.
_ROUNDING = 1e-6


def permutations_within(groups: NDArray, n_permutations: int, seed: int) -> NDArray[np.int32]:
    """Draw permutations of cells that stay within their group, shape ``(n_permutations, n_cells)``.

    Examples
    --------
    >>> drawn = permutations_within(np.array([0, 1, 1, 0, 2]), 3, seed=0)
    >>> drawn.shape, set(drawn[:, 4].tolist()), set(drawn[:, [0, 3]].ravel().tolist())
    ((3, 5), {4}, {0, 3})
    """
    rng = np.random.default_rng(seed)
    base = np.argsort(groups, kind="stable")
    drawn = np.empty((n_permutations, len(groups)), dtype=np.int32)
    for row in drawn:
        row[base] = np.lexsort((rng.random(len(groups)), groups))
    return drawn


def pairing_p_values(
    x: NDArray[np.floating],
    link: NDArray[np.floating],
    size: NDArray[np.floating],
    permutations: NDArray[np.int32],
    *,
    binary: bool = False,
) -> NDArray[np.float64]:
    r"""One-sided p-value of each feature that its predictions belong to their cells.

    .. math:: T_j(\pi) = \sum_i (x_{ij} - \ell_i r_j)\, o_{\pi(i) j}, \qquad
              r_j = \frac{\sum_i x_{ij}}{\sum_i \ell_i}, \qquad
              p_j = \frac{1 + \#\{\pi : T_j(\pi) \ge T_j(\text{id})\}}{1 + \#\pi}

    where :math:`o` is the prediction on the scale of the link and :math:`\ell` the depth. For the normal, Poisson and
    Bernoulli likelihoods without depths (and missing entries), :math:`T_j` puts the permutations in the order of the
    explained deviance, so that this is its permutation test. Sums run over the observed entries.

    0/1 data are not proportional to their depth, and a source that knows no more than the depth predicts what is left.
    There :math:`o` is less the quadratic function of :math:`\log \ell` that fits it best.

    Parameters
    ----------
    x
        Data, cells by features, NaN where missing.
    link
        Predictions at equal depth on the scale of the link, cells by features.
    size
        Depth of each cell, or ones.
    permutations
        Which cell's prediction each cell gets, shape ``(n_permutations, n_cells)``.
    binary
        Whether the data are 0/1.

    Returns
    -------
    One p-value a feature; NaN where the data do not vary.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(50, 2))
    >>> x = truth * [1, 0] + rng.normal(size=(50, 2))
    >>> drawn = permutations_within(np.zeros(50), 999, seed=0)
    >>> pairing_p_values(x, truth, np.ones(50), drawn) < 0.05
    array([ True, False])
    """
    width = max(1, _BLOCK // max(len(x), 1))
    starts = range(0, x.shape[1], width)
    depth = _functions_of_depth(size if binary else np.ones_like(size))
    size = size.astype(np.float32)
    return np.concatenate(
        [_of_block(x[:, i : i + width], link[:, i : i + width], size, depth, permutations) for i in starts]
    )


def _functions_of_depth(size: NDArray) -> NDArray[np.float32]:
    """Orthonormal basis of the quadratic functions of the logarithm of the depth, ``(n_cells, 3)``; of constants if all are equal."""
    log = np.log(np.maximum(size, np.min(size, where=size > 0, initial=np.inf)))
    powers = [log**k for k in range(3 if np.ptp(log) > _ROUNDING else 1)]
    return np.linalg.qr(np.stack(powers, axis=1))[0].astype(np.float32)


def _of_block(x: NDArray, link: NDArray, size: NDArray, depth: NDArray, permutations: NDArray) -> NDArray[np.float64]:
    missing = np.isnan(x)
    x = np.where(missing, 0.0, x).astype(np.float32)
    sizes = size @ ~missing
    rate = np.divide(x.sum(0), sizes, out=np.zeros_like(sizes), where=sizes > 0)
    residual = x - np.where(missing, 0.0, size[:, None] * rate)
    o = link - link.mean(0)
    o = o - depth @ (depth.T @ o)
    varies = np.ptp(o, axis=0) > _ROUNDING * np.abs(link).max(0)
    o = np.where(varies, o, 0.0).astype(np.float32)
    scale = np.linalg.norm(residual, axis=0) * np.linalg.norm(o, axis=0)
    threshold = np.einsum("ij,ij->j", residual, o) - _ROUNDING * scale
    if not missing.any() and np.count_nonzero(x) < _SPARSE * x.size:
        exceeding = _count_sparse(x, o, size, rate, permutations, threshold)
    else:
        exceeding = np.zeros(x.shape[1], dtype=np.int64)
        for permutation in permutations:
            exceeding += np.einsum("ij,ij->j", residual, o[permutation]) >= threshold
    return np.where((residual != 0).any(0), (1.0 + exceeding) / (1.0 + len(permutations)), np.nan)


def _count_sparse(
    x: NDArray, o: NDArray, size: NDArray, rate: NDArray, permutations: NDArray, threshold: NDArray
) -> NDArray[np.int64]:
    """Permutations that reach the threshold, by the entries that are not zero and one matrix product for the rest."""
    feature, cell = np.nonzero(x.T)
    values, n_features = x[cell, feature], x.shape[1]
    flat, row = np.ascontiguousarray(o.T).ravel(), feature * len(x)
    starts = np.searchsorted(feature, np.arange(n_features))
    nonempty = np.flatnonzero(np.diff(np.append(starts, len(feature))))
    exceeding = np.zeros(n_features, dtype=np.int64)
    for some in np.array_split(permutations, -(-len(permutations) // 64)):
        permuted = np.empty((len(some), len(x)), dtype=np.float32)
        np.put_along_axis(permuted, some.astype(np.int64), np.broadcast_to(size, permuted.shape), axis=1)
        for permutation, rest in zip(some, (permuted @ o) * rate, strict=True):
            found = np.zeros(n_features, dtype=np.float32)
            if len(nonempty):
                products = values * flat[row + permutation[cell]]
                found[nonempty] = np.add.reduceat(products, starts[nonempty])
            exceeding += found - rest >= threshold
    return exceeding


def q_values(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values; NaN stays NaN and counts as no test.

    Examples
    --------
    >>> q_values(np.array([0.01, np.nan, 0.04, 0.03]))
    array([0.03,  nan, 0.04, 0.04])
    """
    tested = ~np.isnan(p_values)
    adjusted = np.full(len(p_values), np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(p_values[tested], method="bh")
    return adjusted
