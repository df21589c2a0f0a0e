r"""Where the shared encoders start: generalised canonical correlation analysis of all modalities.

Each modality is reduced to its leading principal components, these are whitened (:math:`U_m`, orthonormal columns), and
the directions that the modalities agree on are the leading left singular vectors :math:`G` of
:math:`[U_1, \dots, U_M]` (MAXVAR; Kettenring 1971). For two modalities that is canonical correlation analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Projection:
    """Canonical variates of one modality: ``(x - mean) @ weight`` has unit variance over the cells it was fitted on."""

    weight: Array
    """Shape ``(n_features, n_canonical)``."""
    mean: Array
    """Shape ``(n_features,)``."""


def canonical_projections(
    matrices: Mapping[str, Array | sparse.csr_array],
    rows: Mapping[str, NDArray[np.integer]],
    n_obs: int,
    n_canonical: int,
    n_components: int = 50,
    seed: int = 0,
) -> dict[str, Projection]:
    """Fit the canonical variates of any number of modalities, cells missing from some.

    Parameters
    ----------
    matrices
        Cells by features, by modality; sparse ones stay sparse.
    rows
        Which of the ``n_obs`` cells each row of a matrix is, by modality.
    n_obs
        Number of cells in all.
    n_canonical
        Canonical variates to return; fewer than asked for are padded with zeros.
    n_components
        Principal components of each modality; at most a fifth of its cells, so that few cells cannot agree by chance.
    seed
        Seed of the iterative singular value decomposition.

    Returns
    -------
    The projection of each modality.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> s = rng.normal(size=(200, 1))
    >>> x = {m: np.hstack([s, rng.normal(size=(200, 3))]) for m in "ab"}
    >>> found = canonical_projections(x, {m: np.arange(200) for m in "ab"}, 200, n_canonical=2)
    >>> a, b = ((x[m] - found[m].mean) @ found[m].weight for m in "ab")
    >>> bool(abs(np.corrcoef(a[:, 0], b[:, 0])[0, 1]) > 0.99)
    True
    """
    whitened, maps, means = {}, {}, {}
    for m, x in matrices.items():
        k = min(n_components, max(x.shape[0] // 5, 1), x.shape[1])
        means[m] = np.asarray(x.mean(axis=0)).ravel()
        left, values, right = _leading(x, means[m], k, seed)
        keep = values > 1e-6 * values.max(initial=1e-12)
        whitened[m] = np.zeros((n_obs, int(keep.sum())))
        whitened[m][rows[m]] = left[:, keep]
        maps[m] = right[keep].T / values[keep]
    agreed, *_ = np.linalg.svd(np.hstack(list(whitened.values())), full_matrices=False)
    agreed = agreed[:, :n_canonical]
    projections = {}
    for m, x in matrices.items():
        weight = maps[m] @ (whitened[m].T @ agreed)
        variates = x @ weight - means[m] @ weight
        sd = np.asarray(variates).std(axis=0)
        weight = np.divide(weight, sd, out=np.zeros_like(weight), where=sd > 1e-12)
        projections[m] = Projection(np.pad(weight, ((0, 0), (0, n_canonical - weight.shape[1]))), means[m])
    return projections


def _leading(x, mean: Array, k: int, seed: int) -> tuple[Array, Array, Array]:
    """Leading singular triplets of ``x - mean``, largest first, without making a sparse ``x`` dense."""
    if k >= min(x.shape) - 1 or (not sparse.issparse(x) and min(x.shape) <= 500):
        dense = (x.toarray() if sparse.issparse(x) else np.asarray(x)) - mean
        left, values, right = np.linalg.svd(dense, full_matrices=False)
        return left[:, :k], values[:k], right[:k]
    ones = np.ones(x.shape[0])
    centred = LinearOperator(
        shape=x.shape,
        dtype=np.float64,
        matvec=lambda v: x @ v - (mean @ v) * ones,
        rmatvec=lambda u: x.T @ u - mean * u.sum(),
        matmat=lambda v: x @ v - mean @ v,
        rmatmat=lambda u: x.T @ u - np.outer(mean, u.sum(axis=0)),
    )
    left, values, right = svds(centred, k=k, random_state=seed)
    order = np.argsort(values)[::-1]
    return left[:, order], values[order], right[order]
