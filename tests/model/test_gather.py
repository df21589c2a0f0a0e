"""Rows gathered from minibatches are those of the whole matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse

from vennvi.data._dataset import csr_tensor
from vennvi.model._gather import GatheredRows


@pytest.mark.parametrize("stored", [True, False], ids=["sparse", "dense"])
def test_rows_are_those_chosen_in_their_order(stored):
    rng = np.random.default_rng(0)
    whole = (rng.random((50, 7)) * (rng.random((50, 7)) < 0.3)).astype(np.float32)
    whole[10:14] = 0  # a minibatch may begin with, and hold nothing but, rows without entries
    gathered, wanted = GatheredRows(50), []
    for start in range(0, 50, 12):
        batch = whole[start : start + 12]
        rows = np.flatnonzero(rng.random(len(batch)) < 0.7)
        matrix = sparse.csr_matrix(batch)
        x = csr_tensor(matrix.indptr, matrix.indices, matrix.data, 7) if stored else torch.as_tensor(batch)
        gathered.add(x, rows)
        wanted.append(batch[rows])
    found = gathered.matrix()
    assert sparse.issparse(found) == stored
    np.testing.assert_array_equal(found.toarray() if stored else found, np.concatenate(wanted))
    if stored:
        assert found.has_canonical_format
        assert found.indices.dtype == found.indptr.dtype == np.int32


def test_sparse_minibatches_are_not_held_twice():
    rng = np.random.default_rng(0)
    parts = [sparse.random(100, 1000, 0.2, format="csr", dtype=np.float32, random_state=rng) for _ in range(20)]
    batches = [csr_tensor(part.indptr, part.indices, part.data, 1000) for part in parts]
    gathered = GatheredRows(2000)
    tracemalloc.start()
    for batch in batches:
        gathered.add(batch, np.arange(100))
    found = gathered.matrix()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * (found.data.nbytes + found.indices.nbytes)


def test_rows_with_more_entries_than_those_before_find_room():
    dense, gathered = np.triu(np.ones((30, 30), np.float32))[::-1].copy(), GatheredRows(30)
    for row in dense:
        matrix = sparse.csr_matrix(row[None])
        gathered.add(csr_tensor(matrix.indptr, matrix.indices, matrix.data, 30), np.array([0]))
    np.testing.assert_array_equal(gathered.matrix().toarray(), dense)
