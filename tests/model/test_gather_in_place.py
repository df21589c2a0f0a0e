"""Rows told by a matrix in memory are those that are gathered."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse

from vennvi.data._dataset import csr_tensor
from vennvi.model._gather import GatheredRows
from vennvi.model._gather_in_place import RowsInPlace, can_be_read_in_place

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


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("largest", [1, 9], ids=["0/1", "counts"])
def test_take_little_room(largest, dtype, index):
    """0/1 values over sizes need a number a row; counts need their values. Where they are is told by what is there."""
    rng = np.random.default_rng(0)
    held = sparse.random(2000, 1000, 0.2, format="csr", dtype=dtype, random_state=0)
    held.data[:] = rng.integers(1, largest + 1, held.nnz)
    held.indices, held.indptr = held.indices.astype(index), held.indptr.astype(index)
    parts = [held[start : start + 20].astype(np.float32) for start in range(0, 2000, 20)]
    batches = [csr_tensor(p.indptr, p.indices, torch.from_numpy(np.log1p(p.data / 3)), 1000) for p in parts]
    tracemalloc.start()
    in_place = RowsInPlace(held, np.arange(2000))
    for batch in batches:
        in_place.add(batch, np.arange(20))
    in_place.matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    values = 0 if largest == 1 and dtype == np.float32 else 4 * held.nnz
    assert peak < values + 0.25 * 4 * held.nnz


def test_room_to_spare_is_not_read():
    """A matrix may hold longer arrays than it needs."""
    held = sparse.csr_matrix(np.array([[1, 0, 1], [0, 1, 0]], np.float32))
    wanted = held.toarray()
    held.data, held.indices = np.append(held.data, [7.0, 7.0]).astype(np.float32), np.append(held.indices, [0, 1])
    for values in ([2.0, 2.0, 3.0], [2.0, 4.0, 3.0]):
        in_place = RowsInPlace(held, np.arange(2))
        in_place.add(csr_tensor([0, 2, 3], [0, 2, 1], torch.tensor(values), 3), np.arange(2))
        meant = wanted.copy()
        meant[wanted > 0] = values
        matrix = in_place.matrix()
        np.testing.assert_array_equal(matrix.toarray(), meant)
        np.testing.assert_array_equal(matrix.times(np.eye(3)), meant)


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_what_must_not_be_written_to_is_not_read_in_place(part):
    """Torch would warn."""
    held = sparse.random(20, 10, 0.2, format="csr", dtype=np.float32, random_state=0)
    assert can_be_read_in_place(held)
    getattr(held, part).flags.writeable = False
    assert not can_be_read_in_place(held)


def test_only_csr_in_memory_is_read_in_place():
    held = sparse.random(20, 10, 0.2, format="csc", dtype=np.float32, random_state=0)
    assert not can_be_read_in_place(held)
    assert not can_be_read_in_place(held.toarray())
    assert can_be_read_in_place(sparse.csr_array(held))
