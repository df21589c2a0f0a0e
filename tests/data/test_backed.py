"""A backed MuData: the same training as in memory, with no matrix read as a whole."""

from __future__ import annotations

import logging

import mudata
import numpy as np
import pytest
import scvi
from scipy import sparse
from toy import N_OBS, toy_mudata

import vennvi
from vennvi.data import _dataset
from vennvi.model._gather import GatheredRows


@pytest.fixture
def path(tmp_path):
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    mdata["atac"].X = sparse.csr_matrix(mdata["atac"].X)
    mdata.write(tmp_path / "toy.h5mu")
    return tmp_path / "toy.h5mu"


def rows_read(monkeypatch) -> list[tuple[int, int]]:
    """Rows of the store, and rows read of it at a time, call by call."""
    seen = []
    read = _dataset._read

    def spy(store, rows):
        if not isinstance(store, np.ndarray) and not sparse.issparse(store):
            seen.append((store.shape[0], len(rows)))
        return read(store, rows)

    monkeypatch.setattr(_dataset, "_read", spy)
    return seen


@pytest.mark.parametrize("cls", [vennvi.MMVAE, vennvi.VennVI], ids=lambda cls: cls.__name__)
def test_training_is_that_of_memory(cls, path, monkeypatch):
    seen = rows_read(monkeypatch)
    # read in place, cells are added up in another order, which rounding shows
    monkeypatch.setattr(cls, "_gathering", lambda self, m, cells, _: GatheredRows(len(cells)))
    models = []
    for backed in (None, "r"):
        mdata = mudata.read_h5mu(path, backed=backed)
        cls.setup_mudata(mdata, batch_key="batch")
        scvi.settings.seed = 0
        model = cls(mdata, n_shared=3, n_private=2, n_hidden=16)
        model.train(max_epochs=3, batch_size=16, train_size=0.8, accelerator="cpu", enable_progress_bar=False)
        models.append(model)
    memory, disk = models
    for name, curve in memory.history.items():
        np.testing.assert_allclose(disk.history[name].to_numpy(float), curve.to_numpy(float), rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        disk.get_latent_representation(batch_size=16), memory.get_latent_representation(batch_size=16), rtol=1e-4
    )
    assert seen
    if cls is vennvi.MMVAE:  # VennVI starts from up to 20,000 cells, here all
        assert max(rows for _, rows in seen) <= 16
    disk.adata.file.close()


def test_rows_come_in_the_order_asked_for(path):
    """Far apart, side by side, and more than once."""
    mdata = mudata.read_h5mu(path, backed="r")
    expected = mdata["rna"].to_memory().X.toarray()
    for rows in ([40, 0, 7, 0], [5, 4, 4, 6], [3], list(range(20))):
        found = _dataset._read(mdata["rna"].X, np.array(rows))
        np.testing.assert_array_equal(found.toarray(), expected[rows])
    protein = mdata["protein"].to_memory().X
    for rows in ([40, 0, 7, 0], [5, 4, 4, 6], []):
        found = _dataset._read(mdata["protein"].X, np.array(rows, dtype=np.int64))
        np.testing.assert_array_equal(found, protein[rows])
    mdata.file.close()


def test_a_matrix_stored_by_column_is_read_whole_and_says_so(tmp_path, caplog):
    mdata = toy_mudata(2)
    mdata.write(tmp_path / "toy.h5mu")  # atac is CSC
    backed = mudata.read_h5mu(tmp_path / "toy.h5mu", backed="r")
    with caplog.at_level(logging.WARNING, logger="scvi.vennvi"):
        vennvi.MMVAE.setup_mudata(backed)
        dataset = vennvi.MMVAE._get_most_recent_anndata_manager(backed).create_torch_dataset()
    np.testing.assert_array_equal(dataset[list(range(N_OBS))]["X_atac"].to_dense(), mdata["atac"].X.toarray())
    assert f"shape ({N_OBS}, 15) is stored by column (CSC)" in caplog.text
    backed.file.close()


def test_what_would_have_to_be_copied_is_refused_with_a_remedy(tmp_path):
    mdata = toy_mudata(2, absent=True)
    mdata.write(tmp_path / "toy.h5mu")
    vennvi.MVAE.setup_mudata(mdata)
    model = vennvi.MVAE(mdata, n_shared=2, n_private=2)
    model.train(1, accelerator="cpu", enable_progress_bar=False)
    backed = mudata.read_h5mu(tmp_path / "toy.h5mu", backed="r")
    with pytest.raises(ValueError, match=r"on disk \(backed\), and a view .* `indices`, or read it into memory"):
        model.get_latent_representation(backed[:10])
