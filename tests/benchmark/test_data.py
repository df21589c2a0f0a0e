from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from vennvi.benchmark import data_directory
from vennvi.benchmark._data import read_published
from vennvi.benchmark._views import real_view, scaled_view


def test_missing_folder_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("VENNVI_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"VENNVI_DATA=.*nowhere does not exist"):
        data_directory()
    monkeypatch.delenv("VENNVI_DATA")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="VENNVI_DATA is not set"):
        data_directory()


def test_missing_file_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("VENNVI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"VENNVI_DATA .* cll\.h5mu"):
        read_published("cll.h5mu")


def test_every_read_is_a_fresh_copy(tmp_path, monkeypatch, tiny_data):
    tiny_data.mdata.write(tmp_path / "tiny.h5mu")
    monkeypatch.setenv("VENNVI_DATA", str(tmp_path))
    first = read_published("tiny.h5mu")
    first["a"].X[:] = -1.0
    np.testing.assert_array_equal(read_published("tiny.h5mu")["a"].X, tiny_data.mdata["a"].X)


def test_incomplete_or_leaking_data_are_refused(tiny_data):
    with pytest.raises(ValueError, match="overlap"):
        dataclasses.replace(tiny_data, test=np.arange(5))
    with pytest.raises(ValueError, match="kinds is keyed by"):
        dataclasses.replace(tiny_data, kinds={"a": "real"})
    with pytest.raises(ValueError, match="not columns"):
        dataclasses.replace(tiny_data, labels=("z",))
    shuffled = tiny_data.mdata.copy()
    shuffled.mod["b"] = shuffled["b"][::-1].copy()
    with pytest.raises(ValueError, match="'b' does not hold the samples"):
        dataclasses.replace(tiny_data, mdata=shuffled)


@pytest.fixture
def counts(tiny_data):
    """Tiny data as counts; the second feature is never seen in training."""
    values = np.random.default_rng(0).poisson(2.0, size=tiny_data.mdata["a"].shape).astype(np.float32)
    values[tiny_data.train, 1] = 0
    values[0] = 0  # a cell without counts
    mdata = tiny_data.mdata.copy()
    mdata["a"].X = sparse.csr_matrix(values)
    return dataclasses.replace(tiny_data, mdata=mdata), values.astype(np.float64)


def test_rna_is_log_normalised(counts):
    data, values = counts
    view = real_view(dataclasses.replace(data, kinds={"a": "rna", "b": "real"}), "a")
    depth = np.array([max(row.sum(), 1) for row in values])
    median = np.median(depth[data.train])
    expected = [[np.log1p(x / d * median) for x in row] for row, d in zip(values, depth, strict=True)]
    np.testing.assert_allclose(view, expected)


def test_atac_is_tf_idf(counts):
    data, values = counts
    view = real_view(dataclasses.replace(data, kinds={"a": "atac", "b": "real"}), "a")
    binary = values > 0
    for i, j in [(0, 0), (5, 0), (7, 2), (70, 1)]:
        idf = np.log1p(len(data.train) / (1 + sum(binary[t, j] for t in data.train)))
        expected = np.log1p(1e4 * binary[i, j] / max(binary[i].sum(), 1) * idf)
        assert view[i, j] == pytest.approx(expected)


def test_protein_is_centred_log_ratio(counts):
    data, values = counts
    view = real_view(dataclasses.replace(data, kinds={"a": "protein", "b": "real"}), "a")
    np.testing.assert_allclose(view.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(view[3], np.log1p(values[3]) - np.log1p(values[3]).mean())


@pytest.mark.parametrize("kind", ["real", "rna"])
def test_scaling_reads_training_rows_only(counts, kind):
    data, values = counts
    data = dataclasses.replace(data, kinds={"a": kind, "b": "real"})
    view = scaled_view(data, "a")
    assert np.isfinite(view).all()
    assert (view[:, 1] == 0).all() or kind == "rna"
    variance = view[data.train].var(axis=0)
    if kind == "real":
        np.testing.assert_allclose(variance, [1, 0, 1])
    else:
        np.testing.assert_allclose(variance.mean(), 1)
    changed = data.mdata.copy()
    values[data.test] += 5
    changed["a"].X = sparse.csr_matrix(values.astype(np.float32))
    other = scaled_view(dataclasses.replace(data, mdata=changed), "a")
    np.testing.assert_allclose(other[data.train], view[data.train])
