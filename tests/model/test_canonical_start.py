"""What VennVI reads its shared latents off, where data are not as one would wish."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scvi
import torch
from mudata import MuData

import vennvi

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def named(x, m):
    adata = ad.AnnData(x)
    adata.obs_names, adata.var_names = (
        [f"{head}{i}" for i in range(n)] for head, n in zip(("c", m), x.shape, strict=True)
    )
    return adata


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
    mdata = MuData({m: named(x, m) for m, x in counts.items()})
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=3, n_private=2)
    model.train(1, train_size=1.0, **QUIET)
    assert [kept(model, m) for m in "ab"] == [0, 0]


def test_independent_modalities_share_nothing_however_many_cells_are_held_out():
    rng = np.random.default_rng(0)
    mdata = MuData({m: named(rng.normal(size=(430, 20)).astype(np.float32), m) for m in "ab"})
    scvi.settings.seed = 0
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=5, n_private=2)
    model.train(2, train_size=300 / 430, **QUIET)
    assert [kept(model, m) for m in "ab"] == [0, 0]
    for n in (127, 128, 129, 130):  # of minibatches of 128, a few rows may go another way through the hardware
        test = model.shared_signal_test(n_permutations=99, indices=model.validation_indices[:n])
        assert (test.statistic, test.p_value) == (0.0, 1.0)


def test_a_shared_space_that_says_nothing_is_not_in_use():
    rng = np.random.default_rng(0)
    mdata = MuData({m: named(rng.normal(size=(600, 20)).astype(np.float32), m) for m in "ab"})
    scvi.settings.seed = 0
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=3, n_private=2)
    model.train(2, train_size=0.7, **QUIET)
    report = model.diagnose()
    used = report.table.query("topic == 'activity' and space == 'shared' and metric == 'n_active'")["value"].item()
    assert used == 0
    assert not any("a larger `n_shared`" in said for said in report.verdicts)
    assert not (model.shared_features("a", n_permutations=99)["p_value"] < 1).any()


def test_a_modality_of_held_out_cells_only_is_left_alone():
    rng = np.random.default_rng(0)
    a, b = (named(rng.normal(size=(60, 8)).astype(np.float32), m) for m in "ab")
    mdata = MuData({"a": a, "b": b[50:].copy()})
    order = mdata.obs_names.get_indexer([f"c{i}" for i in range(60)])
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=2, n_private=2)
    model.train(2, datasplitter_kwargs={"external_indexing": [order[:50], order[50:], np.empty(0, int)]}, **QUIET)
    assert all(torch.isfinite(p).all() for p in model.module.parameters())
    assert np.isfinite(model.get_latent_representation()).all()


def test_counts_that_are_all_zero_or_missing_train():
    rng = np.random.default_rng(0)
    nothing = np.where(rng.random((60, 5)) < 0.2, np.nan, 0.0).astype(np.float32)
    mdata = MuData({"a": named(nothing, "a"), "b": named(rng.normal(size=(60, 5)).astype(np.float32), "b")})
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=2, n_private=2, likelihoods={"a": "nb"})
    model.train(2, **QUIET)
    assert np.isfinite(model.get_latent_representation()).all()
