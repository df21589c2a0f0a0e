"""What VennVI reads its shared latents off, where data are not as one would wish."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scvi
import torch
from mudata import MuData
from scipy import sparse

import vennvi
from vennvi.model._gather import GatheredRows
from vennvi.model._gather_in_place import RowsInPlace


def named(x, m):
    adata = ad.AnnData(x)
    adata.obs_names, adata.var_names = (
        [f"{head}{i}" for i in range(n)] for head, n in zip(("c", m), x.shape, strict=True)
    )
    return adata


def real(n_obs, n_features, rng):
    """Two modalities of independent real values."""
    return MuData({m: named(rng.normal(size=(n_obs, n_features)).astype(np.float32), m) for m in "ab"})


def fitted(mdata, max_epochs=2, n_shared=3, likelihoods=None, **training):
    scvi.settings.seed = 0
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=n_shared, n_private=2, likelihoods=likelihoods)
    model.train(max_epochs, accelerator="cpu", enable_progress_bar=False, **training)
    return model


def kept(model, m):
    """Variates of a modality that are not dropped."""
    return int((model.module.encoders[m].canonical.projection.weight != 0).any(0).sum())


@pytest.mark.parametrize("n_empty", [0, 60])
def test_cells_without_counts_do_not_make_depth_shared(n_empty):
    rng = np.random.default_rng(1)
    depth = rng.lognormal(0, 0.5, size=(1000, 1))
    counts = {m: rng.poisson(3 * depth * rng.lognormal(0, 1, size=30)).astype(np.float32) for m in "ab"}
    for x in counts.values():
        x[:n_empty] = 0
    model = fitted(MuData({m: named(x, m) for m, x in counts.items()}), max_epochs=1, train_size=1.0)
    assert [kept(model, m) for m in "ab"] == [0, 0]


def test_independent_modalities_share_nothing_however_many_cells_are_held_out():
    model = fitted(real(430, 20, np.random.default_rng(0)), n_shared=5, train_size=300 / 430)
    assert [kept(model, m) for m in "ab"] == [0, 0]
    for n in (127, 128, 129, 130):  # of minibatches of 128, a few rows may go another way through the hardware
        test = model.shared_signal_test(n_permutations=99, indices=model.validation_indices[:n])
        assert (test.statistic, test.p_value) == (0.0, 1.0)


def test_a_shared_space_that_says_nothing_is_not_in_use():
    model = fitted(real(600, 20, np.random.default_rng(0)), train_size=0.7)
    report = model.diagnose()
    used = report.table.query("topic == 'activity' and space == 'shared' and metric == 'n_active'")["value"].item()
    assert used == 0
    assert not any("a larger `n_shared`" in said for said in report.verdicts)
    assert not (model.shared_features("a", n_permutations=99)["p_value"] < 1).any()


def test_a_modality_of_held_out_cells_only_is_left_alone():
    whole = real(60, 8, np.random.default_rng(0))
    mdata = MuData({"a": whole["a"], "b": whole["b"][50:].copy()})
    order = mdata.obs_names.get_indexer([f"c{i}" for i in range(60)])
    split = {"external_indexing": [order[:50], order[50:], np.empty(0, int)]}
    model = fitted(mdata, datasplitter_kwargs=split)
    assert all(torch.isfinite(p).all() for p in model.module.parameters())
    assert np.isfinite(model.get_latent_representation()).all()


def test_counts_that_are_all_zero_or_missing_train():
    rng = np.random.default_rng(0)
    nothing = np.where(rng.random((60, 5)) < 0.2, np.nan, 0.0).astype(np.float32)
    mdata = MuData({"a": named(nothing, "a"), "b": named(rng.normal(size=(60, 5)).astype(np.float32), "b")})
    model = fitted(mdata, likelihoods={"a": "nb"})
    assert np.isfinite(model.get_latent_representation()).all()


def counted(n_obs, rng):
    """Counts and 0/1 values of one shared factor, cells absent from either and in another order; CSR."""
    factor = rng.normal(size=(n_obs, 2))
    depth = rng.lognormal(0, 0.4, size=(n_obs, 1))
    mods = {
        "rna": named(
            sparse.csr_matrix(rng.poisson(depth * np.exp(factor @ rng.normal(size=(2, 130)) - 1)), dtype="f4"), "g"
        ),
        "atac": named(
            sparse.csr_array(factor @ rng.normal(size=(2, 140)) + rng.normal(size=(n_obs, 140)) > 1, dtype="f4"), "p"
        ),
    }
    return {m: a[rng.permutation(n_obs)[: n_obs - 20 * (m == "rna")]].copy() for m, a in mods.items()}


@pytest.mark.parametrize("train_size", [0.9, 0.3])
def test_in_place_it_is_the_start_of_gathered_rows(train_size, monkeypatch):
    gatherings = []
    choose = vennvi.VennVI._gathering
    monkeypatch.setattr(vennvi.VennVI, "_gathering", lambda *a: gatherings.append(choose(*a)) or gatherings[-1])
    mdata = MuData(counted(300, np.random.default_rng(0)))
    before = {m: mdata[m].X.copy() for m in mdata.mod}
    found = fitted(mdata, max_epochs=1, train_size=train_size)
    assert {type(g) for g in gatherings} == {RowsInPlace if train_size > 0.5 else GatheredRows}
    for m, x in before.items():
        assert (x != mdata[m].X).nnz == 0
    monkeypatch.setattr(vennvi.VennVI, "_gathering", lambda self, m, cells, _: GatheredRows(len(cells)))
    wanted = fitted(mdata, max_epochs=1, train_size=train_size)
    assert any(kept(wanted, m) for m in mdata.mod)
    for m in mdata.mod:
        a, b = (model.module.encoders[m].canonical for model in (found, wanted))
        for name in ("projection.weight", "projection.bias", "explained_loadings"):
            numbers = a.state_dict()[name], b.state_dict()[name]
            torch.testing.assert_close(*numbers, atol=1e-3 * float(numbers[1].abs().max()), rtol=0)


def test_data_that_must_not_be_written_to_are_gathered():
    mods = counted(200, np.random.default_rng(0))
    for adata in mods.values():
        for array in (adata.X.data, adata.X.indices, adata.X.indptr):
            array.flags.writeable = False
    assert np.isfinite(fitted(MuData(mods), max_epochs=1).get_latent_representation()).all()
