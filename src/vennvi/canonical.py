r"""What all modalities agree on, linearly: regularised generalised canonical correlation analysis of principal components.

Each modality, its features brought to about the same variance, is reduced to its leading principal components :math:`T_m`, from
which nuisances (depth, batches) are regressed out. These are whitened with a ridge :math:`\kappa`, and the directions
that the modalities agree on are the leading eigenvectors of the matrix of all their correlations (MAXVAR; Kettenring
1971; with two modalities and :math:`\kappa = 0` that is canonical correlation analysis):

.. math:: R_{ab} = D_a \frac{T_a^\top T_b}{n_{ab}} D_b, \qquad D_m = \operatorname{diag}(\lambda_m + \kappa \bar\lambda_m)^{-1/2},
          \qquad R\, v = \rho\, v

over the cells :math:`n_{ab}` that have both modalities. The number of components and the ridge are chosen by the correlation of
the variates on cells held out (five folds), and so is what is reported as agreement: in sample, fifty components of a
hundred patients agree perfectly whatever they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.isotonic import isotonic_regression
from threadpoolctl import threadpool_limits

from vennvi._singular import Standardised, leading_singular
from vennvi._sparse_rows import SparseRows

Array = NDArray[np.floating]
Matrices = Mapping[str, "Array | sparse.csr_array | SparseRows"]

#: Ridges to choose from, relative to the mean variance of the components.
RIDGES = (0.0, 0.1, 1.0, 10.0, 100.0)
_N_FOLDS = 5
#: Variates that the choice looks at.
_N_SCORED = 10
#: A stronger ridge wins if it scores at least this fraction of the best.
_TOLERANCE = 0.95
#: Variance, relative to the mean one, that is added to every feature's before it is brought to 1.
_RARE = 0.03
#: Around many small products: of several threads each would wait for the others, ten times as long on a busy machine.
_one_thread = partial(threadpool_limits, limits=1, user_api="blas")
#: Entries of a dense matrix that are in double precision at a time.
_BLOCK = 2**18


@dataclass(frozen=True)
class Projection:
    """Canonical variates of one modality, ``(x - mean) @ weight``, of unit variance over the cells they were fitted on."""

    weight: Array
    """Shape ``(n_features, n_canonical)``. Of a variate's two signs it is the one that makes the weights of all modalities
    together skew to the right."""
    mean: Array
    """Shape ``(n_features,)``."""
    agreement: Array
    """Correlation of each variate with that of the modality that agrees best, on held-out cells, between 0 and 1; shape
    ``(n_canonical,)``. By isotonic regression it does not increase in the order of the correlations in sample, which with two
    modalities is that of the variates. 1 if there is one modality only."""
    error: float
    """Standard error of an agreement of zero, :math:`n^{-1/2}` of the cells that have another modality too."""
    loadings: Array
    """Regression of the features on the variates, ``x - mean`` by ``variates @ loadings``; shape
    ``(n_canonical, n_features)``."""


def canonical_projections(
    matrices: Matrices,
    rows: Mapping[str, NDArray[np.integer]],
    n_obs: int,
    n_canonical: int,
    n_components: int = 100,
    nuisance: Array | None = None,
    seed: int = 0,
) -> dict[str, Projection]:
    """Fit the canonical variates of any number of modalities, cells missing from some.

    Parameters
    ----------
    matrices
        Cells by features, by modality; sparse ones, or :class:`~vennvi._sparse_rows.SparseRows`, stay sparse, and none is
        copied to another precision. One that nobody else holds is let go when its projection is made.
    rows
        Which of the ``n_obs`` cells each row of a matrix is, by modality.
    n_obs
        Number of cells in all.
    n_canonical
        Canonical variates to return; fewer than asked for are padded with zeros. There are as many as the principal components
        of all modalities but the one with the most: each variate takes one of another modality.
    n_components
        Largest number of principal components of each modality.
    nuisance
        What the variates must not be found by, shape ``(n_obs, n_nuisance)``: log depth, one-hot batches. It is
        regressed out of the components.
    seed
        Seed of the iterative singular value decomposition and of the folds.

    Returns
    -------
    The projection of each modality; zeros where no cell has it.

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
    >>> bool(found["a"].agreement[0] > 0.9 > 0.3 > found["a"].agreement[1])
    True
    """
    projections = {m: _nothing(x.shape[1], n_canonical) for m, x in matrices.items()}
    matrices = {m: SparseRows(x) if sparse.issparse(x) else x for m, x in matrices.items() if x.shape[0]}
    if not matrices:
        return projections
    scales, means, maps, scores = {}, {}, {}, {}
    for m, x in matrices.items():
        means[m], scales[m] = _moments(x)
        k = min(n_components, x.shape[1], max(x.shape[0] - 2, 1))
        scores[m], maps[m] = _components(x, means[m], scales[m], k, seed)
        if nuisance is not None:
            scores[m] = _residual(scores[m], nuisance[rows[m]])
    grams = _Grams(scores, rows, n_obs, seed)
    del scores
    with _one_thread():
        k, ridge, profile = _choose(grams, n_canonical, n_obs)
        total = grams.total()
        weights = _variates(total, k, ridge, n_canonical)
        agreement = {m: _unsorted(profile[m], order) for m, order in _own_order(weights, total).items()}
    in_features = {m: scales[m][:, None] * _times(maps.pop(m)[:, : len(w)], w) for m, w in weights.items()}
    signs = _signs(in_features)
    for m in tuple(matrices):
        x, weight = matrices.pop(m), in_features.pop(m) * signs
        variates = _times(x, weight) - means[m] @ weight
        sd = variates.std(axis=0)
        scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-12)
        weight *= scale
        variates *= scale
        gram = np.linalg.pinv(variates.T @ variates, rcond=1e-6, hermitian=True)
        by_variate = _transposed_times(x, variates)
        by_variate -= np.outer(means[m], variates.sum(axis=0))
        missing = n_canonical - weight.shape[1]
        projections[m] = Projection(
            _padded(weight, 1, missing),
            means[m],
            _padded(agreement[m], 0, missing),
            grams.error(m),
            _padded(gram @ by_variate.T, 0, missing),
        )
    return projections


def _padded(x: Array, axis: int, n: int) -> Array:
    """The array with so many zeros more along an axis; itself without any."""
    return np.pad(x, [(0, n if i == axis else 0) for i in range(x.ndim)]) if n else x


def _nothing(n_features: int, n_canonical: int) -> Projection:
    """The projection of a modality that no cell has."""
    return Projection(
        weight=np.zeros((n_features, n_canonical)),
        mean=np.zeros(n_features),
        agreement=np.zeros(n_canonical),
        error=0.0,
        loadings=np.zeros((n_canonical, n_features)),
    )


# ------------------------------------------------------------------------------------------------ principal components
def _moments(x: Array | SparseRows) -> tuple[Array, Array]:
    """Mean of every feature, and what brings its variance to about 1."""
    if isinstance(x, SparseRows):
        mean, squares = (total / x.shape[0] for total in x.sums())
    else:
        mean = x.mean(axis=0, dtype=np.float64)
        squares = np.einsum("ij,ij->j", x, x, dtype=np.float64) / len(x)
    variance = np.clip(squares - mean**2, 0.0, None)
    return mean, 1.0 / np.sqrt(variance + _RARE * variance.mean() + 1e-12)


def _times(x: Array | SparseRows, y: Array) -> Array:
    """Product of a matrix, in double precision; of a sparse one in its own, for another it would be copied."""
    if isinstance(x, SparseRows):
        return x.times(y).astype(np.float64)
    return np.concatenate([part @ y for part in _in_double(x)])


def _transposed_times(x: Array | SparseRows, y: Array) -> Array:
    """Product of the transposed matrix, likewise."""
    if isinstance(x, SparseRows):
        return x.transposed_times(y).astype(np.float64)
    total, start = np.zeros((x.shape[1], y.shape[1])), 0
    for part in _in_double(x):
        total += part.T @ y[start : start + len(part)]
        start += len(part)
    return total


def _in_double(x: Array) -> Iterator[Array]:
    """A few rows after the other, in double precision."""
    step = max(_BLOCK // max(x.shape[1], 1), 1)
    for start in range(0, max(len(x), 1), step):
        yield x[start : start + step].astype(np.float64)


def _components(x, mean: Array, scale: Array, k: int, seed: int) -> tuple[Array, Array]:
    """Scores ``(n, k)`` and directions ``(n_features, k)`` of ``(x - mean) * scale``; a sparse ``x`` stays sparse."""
    is_sparse = isinstance(x, SparseRows)
    if k >= min(x.shape) - 1 or (not is_sparse and min(x.shape) <= 1000):
        dense = (x.toarray() if is_sparse else np.asarray(x)) - mean
        dense *= scale
        left, values, right = np.linalg.svd(dense, full_matrices=False)
        left, values, right = left[:, :k], values[:k], right[:k]
    else:
        with _one_thread():
            left, values, right = leading_singular(Standardised(x, mean, scale), k, seed)
        right = right.T
    keep = values > 1e-6 * values.max(initial=1e-12)
    return (left[:, keep] * values[keep]).astype(np.float64), right[keep].T


def _residual(scores: Array, nuisance: Array) -> Array:
    """Scores less what the nuisances explain of them linearly."""
    design = np.column_stack([np.ones(len(nuisance)), nuisance])
    return scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]


# -------------------------------------------------------------------------------------------------- canonical variates
class _Grams:
    """Sums of products of the scores of every two modalities, fold by fold: all that the fits need."""

    def __init__(self, scores: Mapping[str, Array], rows: Mapping[str, NDArray[np.integer]], n_obs: int, seed: int):
        self.names = tuple(scores)
        fold_of = np.random.default_rng(seed).permutation(n_obs) % _N_FOLDS
        full = {}
        for m, t in scores.items():
            full[m] = np.zeros((n_obs, t.shape[1]))
            full[m][rows[m]] = t
        present = {m: np.isin(np.arange(n_obs), rows[m]) for m in scores}
        self.folds = []
        for fold in range(_N_FOLDS):
            cells = fold_of == fold
            self.folds.append(
                {
                    (a, b): (full[a][cells].T @ full[b][cells], int((present[a] & present[b])[cells].sum()))
                    for a, b in product(self.names, repeat=2)
                }
            )

    def total(self, but: int | None = None) -> dict:
        """Mean products over all folds, or all but one."""
        kept = [fold for i, fold in enumerate(self.folds) if i != but]
        return {key: sum(f[key][0] for f in kept) / max(sum(f[key][1] for f in kept), 1) for key in self.folds[0]}

    def error(self, modality: str) -> float:
        """Standard error of a correlation of zero with the modality that most cells have besides."""
        n = [sum(fold[modality, b][1] for fold in self.folds) for b in self.names if b != modality]
        return max(n, default=0) ** -0.5 if max(n, default=0) else 0.0

    def held_out(self, fold: int) -> dict:
        """Mean products over one fold."""
        return {key: gram / max(n, 1) for key, (gram, n) in self.folds[fold].items()}


def _variates(gram: Mapping, k: int, ridge: float, n_canonical: int) -> dict[str, Array]:
    """Weights of the first ``k`` components in each canonical variate, by modality."""
    names = list(dict.fromkeys(a for a, _ in gram))
    whiten = {}
    for m in names:
        variances = np.clip(np.diag(gram[m, m])[:k], 1e-12, None)
        whiten[m] = 1.0 / np.sqrt(variances + ridge * variances.mean()) if len(variances) else variances
    blocks = [[whiten[a][:, None] * gram[a, b][:k, :k] * whiten[b] for b in names] for a in names]
    matrix = np.block(blocks)
    size = len(matrix)
    widths = [len(w) for w in whiten.values() if len(w)]
    n = min(n_canonical, size - max(widths) if len(widths) > 1 else size)
    if not n:  # constant modalities
        return {m: np.zeros((len(w), 0)) for m, w in whiten.items()}
    _, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    vectors, weights, start = vectors[:, ::-1][:, :n], {}, 0
    for m in names:
        weights[m] = whiten[m][:, None] * vectors[start : start + len(whiten[m])]
        start += len(whiten[m])
    return weights


def _signs(weights: Mapping[str, Array]) -> Array:
    """Sign of each variate that makes its weights skew to the right: eigenvectors have either sign, as rounding falls."""
    skewness = [(w**3).sum(axis=0) / np.clip((np.abs(w) ** 3).sum(axis=0), 1e-300, None) for w in weights.values()]
    return np.where(np.sum(skewness, axis=0) < 0, -1.0, 1.0)


def _correlations(weights: Mapping[str, Array], gram: Mapping) -> dict[str, Array]:
    """Correlation of each modality's variates with those of the others, shape ``(n_others, n_variates)`` each."""

    def products(a: str, b: str) -> Array:
        return np.einsum("ik,ij,jk->k", weights[a], gram[a, b][: len(weights[a]), : len(weights[b])], weights[b])

    variance = {m: np.clip(products(m, m), 1e-12, None) for m in weights}
    return {
        a: np.array([products(a, b) / np.sqrt(variance[a] * variance[b]) for b in weights if b != a]) for a in weights
    }


def _own_order(weights: Mapping[str, Array], gram: Mapping) -> dict[str, NDArray[np.intp]]:
    """Variates of each modality by their best correlation with another one, falling, ``(n_variates,)`` each.

    What comes first for all modalities together need not for one that shares little with the rest. Two modalities have one
    correlation a variate, by which the variates are in order already.
    """
    if sum(len(w) > 0 for w in weights.values()) < 3:
        return {m: np.arange(w.shape[1]) for m, w in weights.items()}
    return {m: np.argsort(-r.max(axis=0), kind="stable") for m, r in _correlations(weights, gram).items()}


def _unsorted(values: Array, order: NDArray[np.intp]) -> Array:
    """Undo an ordering."""
    back = np.empty_like(values)
    back[order] = values
    return back


def _agreement(grams: _Grams, k: int, ridge: float, n_canonical: int) -> dict[str, Array]:
    """Correlation with the best agreeing other modality, mean over the folds held out, in each modality's own order."""
    folds: dict[str, list[Array]] = {m: [] for m in grams.names}
    for fold in range(_N_FOLDS):
        seen = grams.total(but=fold)
        weights = _variates(seen, k, ridge, n_canonical)
        orders = _own_order(weights, seen)
        for m, others in _correlations(weights, grams.held_out(fold)).items():
            folds[m].append(others[:, orders[m]])
    means = {m: np.mean(values, axis=0).max(axis=0) for m, values in folds.items()}
    # the largest of fifty chance correlations is no small one: averaged over neighbours where they are out of order
    return {m: np.clip(isotonic_regression(r, increasing=False), 0, 1) if len(r) else r for m, r in means.items()}


def _choose(grams: _Grams, n_canonical: int, n_obs: int) -> tuple[int, float, dict[str, Array]]:
    """Number of components, ridge, and the agreement that they reach on held-out cells, in each modality's own order."""
    widest = max(len(grams.folds[0][m, m][0]) for m in grams.names)
    sizes = sorted({min(k, widest) for k in (max(n_obs // 5, 1), 50, 100) if k <= 100})
    if len(grams.names) == 1:
        m = grams.names[0]
        k = min(n_canonical, widest)
        return k, 0.0, {m: np.ones(k)}
    tried = []
    for k, ridge in product(sizes, RIDGES):
        agreement = _agreement(grams, k, ridge, n_canonical)
        score = float(np.mean([np.square(r[:_N_SCORED]).sum() for r in agreement.values()]))
        tried.append((score, k, ridge, agreement))
    best = max(score for score, *_ in tried)
    good = [entry for entry in tried if entry[0] >= _TOLERANCE * best]
    _, k, ridge, agreement = max(good, key=lambda entry: (entry[2], -entry[1]))
    return k, ridge, agreement
