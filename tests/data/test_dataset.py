"""Minibatches against a cell-by-cell look-up by name."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
import torch
from scipy import sparse
from toy import N_OBS, toy_mudata

import vennvi


def by_name(mdata, modality, cells):
    """Rows of a modality by cell name, zeros where the cell is absent, and who is present."""
    adata = mdata[modality].to_memory() if mdata[modality].isbacked else mdata[modality]
    x = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    position = {name: i for i, name in enumerate(adata.obs_names)}
    present = np.array([mdata.obs_names[c] in position for c in cells])
    rows = [x[position[mdata.obs_names[c]]] if p else np.zeros(x.shape[1]) for c, p in zip(cells, present, strict=True)]
    return np.stack(rows), present


@pytest.mark.parametrize("backed", [False, True], ids=["memory", "backed"])
@pytest.mark.parametrize("absent", [False, True], ids=["paired", "absent"])
def test_minibatches_are_cells(tmp_path, backed, absent):
    mdata = toy_mudata(4, absent=absent, missing_entries=True, permuted=True)
    if backed:
        mdata.write(tmp_path / "toy.h5mu")
        mdata = mudata.read_h5mu(tmp_path / "toy.h5mu", backed=True)
    vennvi.MMVAE.setup_mudata(mdata, batch_key="batch", continuous_covariate_keys=["age"])
    manager = vennvi.MMVAE._get_most_recent_anndata_manager(mdata)
    cells = np.random.default_rng(0).permutation(N_OBS)[:25]
    dataset = manager.create_torch_dataset(indices=cells)
    assert len(dataset) == 25
    batch = dataset[list(range(5, 20))]
    for m in mdata.mod:
        x = batch[f"X_{m}"]
        assert (getattr(x, "layout", None) == torch.sparse_csr) == (m in ("rna", "atac"))
        x = x.to_dense().numpy() if isinstance(x, torch.Tensor) else x
        expected, present = by_name(mdata, m, cells[5:20])
        np.testing.assert_array_equal(x, expected.astype(np.float32))
        np.testing.assert_array_equal(batch[f"mask_{m}"][:, 0], present)
    np.testing.assert_array_equal(batch["batch"][:, 0], mdata.obs["batch"].cat.codes.to_numpy()[cells[5:20]])
    np.testing.assert_array_equal(batch["extra_continuous_covs"][:, 0], mdata.obs["age"].to_numpy()[cells[5:20]])
    if backed:
        mdata.file.close()


def test_layers_choose_modalities_and_matrices():
    mdata = toy_mudata(3)
    mdata["rna"].layers["doubled"] = 2 * mdata["rna"].X
    vennvi.MMVAE.setup_mudata(mdata, layers={"protein": None, "rna": "doubled"})
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    assert model.modalities == ("protein", "rna")
    batch = model.adata_manager.create_torch_dataset()[0:N_OBS]
    assert not any("atac" in key for key in batch)
    np.testing.assert_array_equal(batch["X_rna"].to_dense(), 2 * mdata["rna"].X.toarray())


def test_size_factors_follow_their_modality():
    mdata = toy_mudata(3, absent=True, permuted=True)
    rng = np.random.default_rng(0)
    mdata["rna"].obs["sf"] = rng.uniform(0.5, 2, mdata["rna"].n_obs)
    mdata.obs["atac_sf"] = rng.uniform(0.5, 2, N_OBS)
    vennvi.MMVAE.setup_mudata(mdata, size_factor_key={"rna": "sf", "atac": "atac_sf"})
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    batch = model.adata_manager.create_torch_dataset()[list(range(N_OBS))]
    expected = mdata["rna"].obs["sf"].reindex(mdata.obs_names).fillna(0.0)
    np.testing.assert_allclose(batch["size_factor_rna"][:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(batch["size_factor_atac"][:, 0], mdata.obs["atac_sf"], rtol=1e-6)
    assert float(model.module.likelihood("rna").size_reference) == pytest.approx(mdata["rna"].obs["sf"].median())
    size = model.module.likelihood("rna").size(batch["X_rna"], torch.as_tensor(batch["size_factor_rna"]))
    seen = np.flatnonzero(expected > 0)
    np.testing.assert_allclose(size[seen, 0], (expected / mdata["rna"].obs["sf"].median()).to_numpy()[seen], rtol=1e-5)
