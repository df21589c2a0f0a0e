"""Leading singular vectors against LAPACK's, for dense and sparse matrices, any number of shares, and low rank."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from vennvi import _singular, _sparse_rows
from vennvi._singular import Standardised, leading_singular


def matrix(n, d, dtype, *, is_sparse, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(size=(n, rank or 12)) @ rng.normal(size=(rank or 12, d)) * 0.2 - 1.5)
    x = (rng.poisson(mean) if rank is None else np.log(mean)).astype(dtype)
    return sparse.csr_array(x) if is_sparse else x


def standardised(x):
    dense = x.toarray() if sparse.issparse(x) else x
    mean, scale = dense.mean(0, dtype=float), 1 / (dense.std(0, dtype=float) + 0.1)
    return Standardised(x, mean, scale), (dense - mean) * scale


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(700, 400), (400, 700)], ids=["tall", "wide"])
def test_are_those_of_lapack(shape, dtype, is_sparse):
    a, dense = standardised(matrix(*shape, dtype, is_sparse=is_sparse))
    left, values, right = leading_singular(a, 10, seed=0)
    u, s, v = np.linalg.svd(dense, full_matrices=False)
    np.testing.assert_allclose(values, s[:10], rtol=1e-4)
    for found, wanted in ((left, u), (right, v.T)):
        assert found.dtype == dtype
        np.testing.assert_allclose(found.T @ found, np.eye(10), atol=1e-4)
        np.testing.assert_allclose(np.linalg.svd(wanted[:, :10].T @ found)[1], 1.0, atol=1e-4)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_products_are_shared_out(n_threads, monkeypatch):
    monkeypatch.setattr(_sparse_rows, "n_shares", lambda *_: n_threads)
    x = matrix(60, 40, np.float32, is_sparse=False)
    x[10:50] = 0  # rows with nothing in them: shares of as many entries are of more or fewer rows
    a, dense = standardised(sparse.csr_array(x))
    rng = np.random.default_rng(0)
    v, u = rng.normal(size=(40, 3)), rng.normal(size=(60, 3))
    np.testing.assert_allclose(a.times(v), dense @ v, atol=1e-4)
    np.testing.assert_allclose(a.transposed_times(u), dense.T @ u, atol=1e-4)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_low_rank_is_found_whole(is_sparse):
    a, dense = standardised(matrix(500, 450, np.float64, is_sparse=is_sparse, rank=4))
    left, values, right = leading_singular(a, 20, seed=0)
    np.testing.assert_allclose(left * values @ right.T, dense, atol=1e-6 * np.abs(dense).max())
    assert (values[5:] < 1e-5 * values[0]).all()


def test_restarts_go_on_until_the_space_is_found(monkeypatch):
    """Noise, of which every singular value is close to the next: one round of Lanczos leaves some out."""
    x = np.random.default_rng(0).normal(size=(900, 800))
    a, dense = standardised(x)
    wanted = np.linalg.svd(dense, full_matrices=False)[0][:, :40]

    def smallest_cosine():
        return np.linalg.svd(wanted.T @ leading_singular(a, 40, seed=0)[0], compute_uv=False).min()

    assert smallest_cosine() > 0.999
    monkeypatch.setattr(_singular, "_TOLERANCE", 1.0)
    assert smallest_cosine() < 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_varies(dtype):
    a = Standardised(sparse.csr_array((500, 400), dtype=dtype), np.zeros(400), np.ones(400))
    left, values, right = leading_singular(a, 5, seed=0)
    assert not values.any()
    assert np.isfinite(left).all()
    assert not right.any() or not left.any()


@pytest.mark.parametrize("form", ["csc", "coo"])
def test_any_sparse_format(form):
    x = matrix(300, 400, np.float32, is_sparse=True)
    a, dense = standardised(x)
    b, _ = standardised(x.asformat(form))
    np.testing.assert_allclose(b.times(np.eye(400)), a.times(np.eye(400)))
    np.testing.assert_allclose(a.times(np.eye(400)), dense, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_must_be_finite(value):
    x = matrix(300, 400, np.float32, is_sparse=False)
    a = Standardised(x, x.mean(0), np.ones(400))
    x[3, 3] = value
    with pytest.raises(ValueError, match="not finite"):
        leading_singular(a, 5, seed=0)


def test_all_of_a_small_matrix():
    a, dense = standardised(matrix(90, 40, np.float64, is_sparse=True))
    np.testing.assert_allclose(leading_singular(a, 40, seed=0)[1], np.linalg.svd(dense)[1], atol=1e-8)
