"""Rows told by a matrix in memory are those that are gathered."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse

from vennvi.data._dataset import csr_tensor
from vennvi.model._gather import GatheredRows
from vennvi.model._gather_in_place import RowsInPlace

N_OBS, N_FEATURES = 50, 9


def stored(kind, rng):
    """A matrix in memory: 0/1 values, one number a row, counts, counts after many rows of 0/1 values, zeros stored."""
    x = (rng.random((N_OBS, N_FEATURES)) < 0.4).astype(np.float32)
    x[3] = x[20:26] = 0  # nothing stored, also in a whole minibatch
    if kind == "one number a row":
        x *= rng.integers(1, 5, size=(N_OBS, 1))
    if kind in ("counts", "zeros stored"):
        x *= rng.integers(1, 5, size=x.shape)
    if kind == "late counts":
        x[40:] *= rng.integers(1, 5, size=(10, N_FEATURES))
    x = sparse.csr_matrix(x)
    if kind == "zeros stored":
        x.data[::7] = 0
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize("kind", ["0/1", "one number a row", "counts", "late counts", "zeros stored"])
def test_are_those_gathered(kind, dtype):
    rng = np.random.default_rng(0)
    held = stored(kind, rng).astype(dtype)
    before = held.copy()
    rows = np.where(rng.random(N_OBS) < 0.1, -1, rng.permutation(N_OBS) if kind != "late counts" else np.arange(N_OBS))
    size = rng.uniform(0.5, 2, N_OBS).astype(np.float32)
    in_place, gathered = RowsInPlace(held, rows), GatheredRows(N_OBS)
    for start in range(0, N_OBS, 6):
        part = held[np.abs(rows[start : start + 6])].astype(np.float32)
        read = np.log1p(part.data / np.repeat(size[start : start + 6], np.diff(part.indptr))[: part.nnz])
        x = csr_tensor(part.indptr, part.indices, torch.from_numpy(read), N_FEATURES)
        taken = np.flatnonzero((rows[start : start + 6] >= 0) & (rng.random(part.shape[0]) < 0.8))
        for gathering in (in_place, gathered):
            gathering.add(x, taken)
    np.testing.assert_allclose(in_place.matrix().toarray(), gathered.matrix().toarray(), rtol=1e-6)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(held, name), getattr(before, name))


@pytest.mark.parametrize(("largest", "room"), [(1, 0.2), (9, 0.7)], ids=["0/1", "counts"])
def test_take_little_room(largest, room):
    """0/1 values over sizes need a number a row; counts need their values, and not a second time where they are."""
    rng = np.random.default_rng(0)
    held = sparse.random_array((2000, 1000), density=0.2, format="csr", dtype=np.float32, rng=rng)
    held.data[:] = rng.integers(1, largest + 1, held.nnz)
    parts = [held[start : start + 20] for start in range(0, 2000, 20)]
    batches = [csr_tensor(p.indptr, p.indices, torch.from_numpy(np.log1p(p.data / 3)), 1000) for p in parts]
    tracemalloc.start()
    in_place = RowsInPlace(held, np.arange(2000))
    for batch in batches:
        in_place.add(batch, np.arange(20))
    in_place.matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < room * (held.data.nbytes + held.indices.nbytes)
