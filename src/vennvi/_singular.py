r"""Leading singular vectors of a standardised matrix, sparse or dense, that is only ever multiplied.

Block Lanczos with thick restarts (Golub & Underwood 1977; Wu & Simon 2000) on the smaller of :math:`A A^\top` and
:math:`A^\top A`. ARPACK, behind :func:`scipy.sparse.linalg.svds`, multiplies one vector at a time, which reads the whole
sparse matrix for it: a block of sixteen costs hardly more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vennvi._sparse_rows import SparseRows

Array = NDArray[np.floating]

#: Vectors multiplied at a time.
_BLOCK = 16
#: Vectors that are held before a restart, for each one wanted.
_HELD = 3
#: Largest residual of :math:`A A^\top u = \sigma^2 u`, relative to :math:`\sigma^2` (or, if that is larger, to the rounding of the
#: largest one).
_TOLERANCE = 1e-3
#: Restarts at most: what has not converged then is one direction as good as another.
_N_RESTARTS = 30


class Standardised:
    r"""The matrix :math:`A = (X - 1 \bar x^\top) D`, of which only products are computed.

    Parameters
    ----------
    x
        Shape ``(n, d)``, dense, sparse or :class:`~vennvi._sparse_rows.SparseRows`; products are computed in its precision.
    mean, scale
        Mean of every column and the diagonal of :math:`D`, shape ``(d,)``.

    Examples
    --------
    >>> import numpy as np
    >>> a = Standardised(np.array([[1.0, 2.0], [3.0, 2.0]]), mean=np.array([2.0, 2.0]), scale=np.array([0.5, 1.0]))
    >>> a.times(np.eye(2))
    array([[-0.5,  0. ],
           [ 0.5,  0. ]])
    """

    def __init__(self, x: Any, mean: Array, scale: Array):
        self._x = SparseRows(x) if sparse.issparse(x) else x
        self.shape, self.dtype = x.shape, np.result_type(x.dtype, np.float32)
        self._scale, self._shift = scale[:, None], mean * scale

    def times(self, v: Array) -> Array:
        """Product :math:`A v`, shape ``(n, k)`` for ``(d, k)``."""
        scaled = np.ascontiguousarray(self._scale * v, dtype=self.dtype)
        product = self._x.times(scaled) if isinstance(self._x, SparseRows) else self._x @ scaled
        return product - (self._shift @ v).astype(self.dtype)

    def transposed_times(self, u: Array) -> Array:
        r"""Product :math:`A^\top u`, shape ``(d, k)`` for ``(n, k)``."""
        u = u.astype(self.dtype, copy=False)
        product = self._x.transposed_times(u) if isinstance(self._x, SparseRows) else self._x.T @ u
        product = self._scale * product - np.outer(self._shift, u.sum(axis=0, dtype=np.float64))
        return product.astype(self.dtype, copy=False)


def leading_singular(a: Standardised, k: int, seed: int) -> tuple[Array, Array, Array]:
    r"""The ``k`` largest singular values of :math:`A`, falling, and their vectors, :math:`A v = \sigma u`.

    Vectors of values that hardly differ may be mixed with each other, and have either sign: the space they
    span is what is found. In single precision, values below some thousandths of the largest are rounding, and those of
    zero have no vectors on the wider side.

    Parameters
    ----------
    a
        The matrix, shape ``(n, d)``.
    k
        Number of values, ``min(n, d)`` at most.
    seed
        Seed of the first block.

    Returns
    -------
    Left vectors ``(n, k)``, values ``(k,)`` and right vectors ``(d, k)``, the vectors in the precision of the matrix.

    Raises
    ------
    ValueError
        If the matrix holds values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(60, 50)) * np.arange(1, 51)
    >>> a = Standardised(x, mean=np.zeros(50), scale=np.ones(50))
    >>> np.allclose(leading_singular(a, 3, seed=0)[1], np.linalg.svd(x)[1][:3])
    True
    """
    is_wide = a.shape[0] <= a.shape[1]
    there, back = (a.transposed_times, a.times) if is_wide else (a.times, a.transposed_times)
    of_narrow = _leading_eigenvectors(lambda u: back(there(u)), min(a.shape), k, a.dtype, seed)
    of_wide = np.empty((max(a.shape), k), a.dtype)
    for start in range(0, k, _BLOCK):
        of_wide[:, start : start + _BLOCK] = there(of_narrow[:, start : start + _BLOCK])
    values = np.sqrt(np.einsum("ij,ij->j", of_wide, of_wide, dtype=np.float64))
    order = np.argsort(-values, kind="stable")
    values, of_narrow, of_wide = values[order], of_narrow[:, order], of_wide[:, order]
    of_wide /= np.where(values > 0, values, 1.0).astype(a.dtype)
    left, right = (of_narrow, of_wide) if is_wide else (of_wide, of_narrow)
    return left, values, right


def _leading_eigenvectors(times: Callable[[Array], Array], size: int, k: int, dtype: np.dtype, seed: int) -> Array:
    """Eigenvectors of the ``k`` largest eigenvalues of a positive semi-definite matrix, ``(size, k)``, falling."""
    kept = _whole_blocks(k) + _BLOCK
    width = min(max(_whole_blocks(_HELD * k), kept + 4 * _BLOCK), size)
    basis = np.empty((size, width), dtype, order="F")
    projected = np.zeros((width, width))  # the matrix, in the basis
    block = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, min(_BLOCK, width))))[0].astype(dtype)
    n = n_restarts = 0
    while True:
        start, n = n, n + block.shape[1]
        basis[:, start:n] = block
        product = times(block)
        if not start and not np.isfinite(product).all():
            raise ValueError("The matrix holds values that are not finite (NaN or infinity).")
        inside = _remove(product, basis[:, :n])
        projected[:n, start:n], projected[start:n, :n] = inside, inside.T
        block, outside = np.linalg.qr(product)
        if np.abs(outside.diagonal()).min() <= 1e-3 * np.abs(inside).max():  # rounding is left, and points anywhere
            _remove(block, basis[:, :n])
            block = np.linalg.qr(block)[0]
        if n < width:
            block = block[:, : width - n]
            continue
        values, vectors = np.linalg.eigh(projected)
        values, vectors = values[::-1], vectors[:, ::-1]
        residual = np.linalg.norm(outside @ vectors[start:n, :k], axis=0)
        floor = 10 * np.finfo(dtype).eps * values[0]
        if n == size or n_restarts == _N_RESTARTS or (residual <= _TOLERANCE * np.maximum(values[:k], floor)).all():
            return basis @ vectors[:, :k].astype(dtype)
        n, n_restarts = kept, n_restarts + 1
        basis[:, :n] = basis @ vectors[:, :n].astype(dtype)
        projected[:n, :n] = np.diag(values[:n])


def _whole_blocks(n: int) -> int:
    """The number of vectors, rounded up to whole blocks."""
    return -(-n // _BLOCK) * _BLOCK


def _remove(vectors: Array, basis: Array) -> Array:
    """Take what lies in an orthonormal basis out of vectors, in place; returns it in that basis."""
    total = np.zeros((basis.shape[1], vectors.shape[1]))
    for _ in range(2):  # once leaves the rounding of large parts
        inside = basis.T @ vectors
        vectors -= basis @ inside
        total += inside
    return total
