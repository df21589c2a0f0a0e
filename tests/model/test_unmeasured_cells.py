"""A cell with a row of NaN in a modality is a cell that lacks it; and a modality that most cells have nothing of."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from mudata import MuData

import vennvi

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]
N_OBS = 80
#: Cells without RNA, cells without protein; cell 5 has neither.
LACKING = {"rna": [0, 5, 9, 23, 40, 71], "protein": [5, 6, 30]}


def named(x, m, names=None) -> ad.AnnData:
    names = [f"cell{i}" for i in range(len(x))] if names is None else names
    var = pd.DataFrame(index=[f"{m}{j}" for j in range(x.shape[1])])
    return ad.AnnData(x.astype(np.float32), obs=pd.DataFrame(index=names), var=var)


def measured(as_nan: bool) -> MuData:
    rng = np.random.default_rng(0)
    names = np.array([f"cell{i}" for i in range(N_OBS)])
    factor = rng.normal(size=(N_OBS, 1))
    matrices = {
        "rna": rng.poisson(np.exp(1 + factor * rng.normal(size=(1, 8)))).astype(np.float32),
        "protein": (factor @ rng.normal(size=(1, 6)) + 0.3 * rng.normal(size=(N_OBS, 6))).astype(np.float32),
    }
    mods = {"extra": named(np.ones((N_OBS, 1)), "extra", names)}  # MuData takes the order of the cells from it
    for m, x in matrices.items():
        adata = named(x, m, names)
        if as_nan:
            adata.X[LACKING[m]] = np.nan
        else:
            adata = adata[np.setdiff1d(np.arange(N_OBS), LACKING[m])].copy()
        mods[m] = adata
    mdata = MuData(mods)
    mdata.obs["group"] = pd.Categorical(np.where(factor[:, 0] > 0, "high", "low"))
    return mdata


def fit(cls, as_nan):
    mdata = measured(as_nan)
    scvi.settings.seed = 0
    cls.setup_mudata(mdata, layers=["rna", "protein"])
    model = cls(mdata, n_shared=2, n_private=2, n_hidden=16, likelihoods={"rna": "nb", "protein": "normal"})
    model.train(max_epochs=3, batch_size=20, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.mark.parametrize("cls", MODELS)
def test_a_row_of_nan_is_no_row(cls):
    with_nan, without = fit(cls, True), fit(cls, False)
    for m in ("rna", "protein"):
        sizes = [float(model.module.likelihood(m).size_reference) for model in (with_nan, without)]
        assert sizes[0] == sizes[1]
    for space in ({}, {"modality": "rna"}, {"modality": "protein"}, {"space": "private", "modality": "rna"}):
        found, wanted = (model.get_latent_representation(**space) for model in (with_nan, without))
        lacking = set(LACKING["rna"]) & set(LACKING["protein"]) if not space else set(LACKING[space["modality"]])
        assert set(np.flatnonzero(np.isnan(found).any(axis=1))) == lacking
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_differential_expression_leaves_them_out():
    tables = [
        fit(vennvi.MMVAEPlusPlus, as_nan).differential_expression("group", "high", modality="rna", silent=True)
        for as_nan in (True, False)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-4)
    assert tables[0].notna().all(axis=None)


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
@pytest.mark.parametrize("cls", [vennvi.MMVAEPlusPlus, vennvi.VennVI])
def test_counts_that_most_cells_have_none_of(cls, likelihood):
    """Guides in two of five cells: their depth is that of the cells that hold some, and which guide stays known."""
    rng = np.random.default_rng(0)
    n_obs = 200
    guide = np.where(rng.random(n_obs) < 0.4, rng.integers(0, 4, n_obs), -1)
    guides = np.zeros((n_obs, 4), dtype=np.float32)
    guides[guide >= 0, guide[guide >= 0]] = rng.poisson(20, (guide >= 0).sum()) + 1
    rna = rng.poisson(np.exp(1 + (guide == 0)[:, None] * rng.normal(size=(1, 10)))).astype(np.float32)
    mdata = MuData({"rna": named(rna, "rna"), "guides": named(guides, "guides")})
    scvi.settings.seed = 0
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=2, n_private=2, n_hidden=16, likelihoods={"rna": likelihood, "guides": likelihood})
    assert float(model.module.likelihood("guides").size_reference) == np.median(guides[guide >= 0].sum(1))
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    assert model.history["train_loss"].iloc[0].item() < 1e3
    latent = model.get_latent_representation(space="private", modality="guides")
    means = np.stack([latent[guide == g].mean(axis=0) for g in range(4)])
    assert np.linalg.norm(means - means.mean(axis=0), axis=1).min() > 1e-2
