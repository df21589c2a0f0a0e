"""Products with chosen rows of a sparse matrix against the dense ones, by any number of threads, and no copies."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from vennvi import _sparse_rows
from vennvi._sparse_rows import SparseRows


def held_matrix(dtype=np.float32, n=60, d=40):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.3, size=(n, d)).astype(dtype)
    x[10:30] = 0  # shares of as many stored entries are of more or fewer rows
    return sparse.csr_array(x), rng


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("scaled", [False, True], ids=["as they are", "scaled"])
@pytest.mark.parametrize("chosen", [False, True], ids=["all", "some"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_products_and_sums_are_the_dense_ones(dtype, chosen, scaled, n_threads, monkeypatch):
    monkeypatch.setattr(_sparse_rows, "n_shares", lambda *_: n_threads)
    held, rng = held_matrix(dtype)
    before = held.toarray()
    rows = rng.permutation(60)[:35] if chosen else None
    dense = before[rows] if chosen else before
    factors = rng.random(len(dense)).astype(np.float32) if scaled else None
    dense = dense.astype(float) * (factors[:, None] if scaled else 1)
    a = SparseRows(held, rows, factors)
    assert a.shape == dense.shape
    v, u = rng.normal(size=(40, 3)), rng.normal(size=(len(dense), 3))
    np.testing.assert_allclose(a.times(v), dense @ v, atol=1e-5)
    np.testing.assert_allclose(a.transposed_times(u), dense.T @ u, atol=1e-5)
    np.testing.assert_allclose(a.toarray(), dense, rtol=1e-6)
    for found, wanted in zip(a.sums(), (dense.sum(0), (dense**2).sum(0)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_array_equal(held.toarray(), before)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_nothing_is_copied(n_threads, monkeypatch):
    """Also not for a share that is less than half of the matrix, which scipy would copy."""
    monkeypatch.setattr(_sparse_rows, "n_shares", lambda *_: n_threads)
    held = sparse.random(2000, 500, 0.5, format="csr", dtype=np.float32, random_state=0)
    rows, factors = np.arange(1500), np.ones(1500, np.float32)
    v, u = np.ones((500, 2), np.float32), np.ones((1500, 2), np.float32)
    tracemalloc.start()
    a = SparseRows(held, rows, factors)
    a.times(v), a.transposed_times(u)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * held.data.nbytes


def test_moments_take_little_room():
    held = sparse.random(2000, 500, 0.5, format="csr", dtype=np.float32, random_state=0)
    a = SparseRows(held)
    tracemalloc.start()
    a.sums()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < held.data.nbytes


def test_no_row_twice():
    with pytest.raises(ValueError, match="twice"):
        SparseRows(held_matrix()[0], np.array([0, 1, 1]))
