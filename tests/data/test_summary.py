"""One pass over a matrix against numpy on the whole of it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from scipy import sparse

from vennvi.data import _summary
from vennvi.data._summary import summarise


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(_summary, "_CHUNK", 7)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_statistics_are_numpys(form):
    x = np.random.default_rng(0).poisson(0.7, size=(40, 9)).astype(np.float32)
    summary = summarise(form(x), "rna")
    np.testing.assert_allclose(summary.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(summary.sd, x.std(0), rtol=1e-6)
    assert (summary.minimum, summary.maximum, summary.kind) == (x.min(), x.max(), "counts")
    assert summary.median_total == np.median(x.sum(1))


def test_missing_entries_are_left_out(tmp_path):
    x = np.random.default_rng(0).normal(1e4, 1e-2, size=(40, 9))
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    x[:, 4] = np.nan
    x[:, 5] = 3.3
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x
        summary = summarise(file["x"], "protein")
    seen = np.delete(np.arange(9), [4])
    np.testing.assert_allclose(summary.mean[seen], np.nanmean(x[:, seen], axis=0))
    np.testing.assert_allclose(summary.sd[seen], np.nanstd(x[:, seen], axis=0), rtol=1e-4, atol=1e-9)
    assert summary.sd[5] == 0
    assert summary.n_missing == np.isnan(x).sum()
    assert summary.kind == "real"
    assert np.isfinite(summary.mean).all()


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 1, 1], "binary"), ([0, 3, 1], "counts"), ([0, -1, 1], "real"), ([0, 0.5, 1], "real")]
)
def test_kind(values, kind):
    assert summarise(np.array(values, dtype=np.float32)[:, None], "rna").kind == kind


def test_the_typical_total_is_of_the_observations_that_have_one():
    x = np.zeros((30, 3), dtype=np.float32)
    x[:5, 0], x[5:11, 2] = 4, 6
    assert summarise(x, "guides").median_total == 6
    assert summarise(np.zeros((4, 2)), "guides").median_total == 1
    counts = np.full((10, 2), np.nan)
    counts[:4] = [[1, 2], [3, np.nan], [np.nan, 4], [5, 6]]
    with_empty, without = summarise(counts, "rna"), summarise(counts[:4], "rna")
    assert with_empty.median_total == without.median_total


def test_refusals_name_the_modality():
    twice = sparse.csr_matrix((np.ones(3), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    with pytest.raises(ValueError, match=r"'rna'.*more than once.*sum_duplicates"):
        summarise(twice, "rna")
    with pytest.raises(ValueError, match="'rna' holds infinite"):
        summarise(np.array([[np.inf, 1.0]]), "rna")
    with pytest.raises(ValueError, match="'rna' is sparse and holds 1 NaN"):
        summarise(sparse.csr_matrix(np.array([[np.nan, 1.0]])), "rna")


@pytest.mark.parametrize("unit", [1e-9, 1.0])
def test_variance_is_told_from_rounding_in_small_units_too(unit):
    x = np.random.default_rng(0).normal(size=(50, 6))
    x[:, 0] = 3.0
    x[:, 1] = 0.3 + 1e-17 * x[:, 1]  # a constant that differs by rounding
    x[:, 2] *= 1e-15
    sd = summarise(x * unit, "protein").sd
    assert not sd[:3].any()
    np.testing.assert_allclose(sd[3:], unit * x[:, 3:].std(0), rtol=1e-6)
