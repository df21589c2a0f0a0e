"""Features that another modality predicts are found, others are not."""

from __future__ import annotations

import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from linear_model import N_SHARED, linear_model
from mudata import MuData
from sklearn.metrics import roc_auc_score
from toy import toy_mudata

import vennvi
from vennvi.model import _shared_features


def test_linear_model():
    linear = linear_model(n_obs=800, n_features=60, private_only=40)
    table = linear.model.shared_features("protein", "rna", n_permutations=499)
    held_out = linear.model.validation_indices
    x = linear.x["protein"]
    s = linear.latents(held_out)["rna"][:, :N_SHARED]
    truth, predicted = x[held_out], x.mean(0) + s @ linear.loadings["protein"][:N_SHARED]
    expected = 1 - ((truth - predicted) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(table["explained"], expected, atol=1e-4)
    assert list(table.index) == [f"protein{j}" for j in range(60)]
    assert (table["q_value"] <= 0.05)[:20].mean() > 0.9
    assert (table["p_value"][20:] == 1).all()  # the linear decoder predicts a constant of them
    pd.testing.assert_frame_equal(table, linear.model.shared_features("protein", n_permutations=499))


def fitted(mdata, setup=None, likelihoods=None, max_epochs=10, **kwargs):
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, **(setup or {}))
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=16, likelihoods=likelihoods)
    kwargs = {"train_size": 0.5, "plan_kwargs": {"lr": 1e-2}} | kwargs
    model.train(max_epochs=max_epochs, accelerator="cpu", enable_progress_bar=False, **kwargs)
    return model


@pytest.mark.parametrize("rna", ["nb", "poisson", "zinb", "normal"])
def test_explained_is_the_cross_modal_block(rna, monkeypatch):
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    setup = {"batch_key": "batch", "categorical_covariate_keys": ["sex"], "continuous_covariate_keys": ["age"]}
    model = fitted(mdata, setup, {"rna": rna})
    model.write_variance_explained()
    for m in model.modalities:
        table = model.shared_features(m, n_permutations=19)
        np.testing.assert_allclose(table["explained"], mdata[m].var["r2_cross"], rtol=1e-4, atol=1e-5)
        assert table["p_value"].isna().equals(table["explained"].isna())
        assert table["p_value"].dropna().between(0.05, 1).all()
        monkeypatch.setattr(_shared_features, "_BLOCK", 60)
        pd.testing.assert_frame_equal(
            table, model.shared_features(m, n_permutations=19, batch_size=11), rtol=1e-4, atol=1e-5
        )
        monkeypatch.undo()


def batch_data(seed=0):
    """Two modalities that have nothing in common but the batch."""
    rng = np.random.default_rng(seed)
    mdata = toy_mudata(4)
    batch = mdata.obs["batch"].cat.codes.to_numpy()[:, None]
    for m in ("protein", "methylation"):
        mdata[m].X = (batch * rng.normal(size=mdata[m].n_vars) + rng.normal(size=mdata[m].shape)).astype("f4")
    return mdata


def test_what_only_the_batch_moves_is_not_shared():
    mdata = batch_data()
    layers = ["protein", "methylation"]
    blind = fitted(mdata.copy(), {"layers": layers}, max_epochs=100)
    assert (blind.shared_features("methylation", n_permutations=199)["q_value"] < 0.05).any()
    by_hand = blind.shared_features("methylation", n_permutations=199, within="batch")
    told = fitted(mdata, {"layers": layers, "batch_key": "batch"}, max_epochs=100)
    for table in (by_hand, told.shared_features("methylation", n_permutations=199)):
        assert (table["q_value"] > 0.05).all()


def test_what_only_the_absence_of_a_source_tells_apart_is_not_shared():
    """One site measures no atac and has another level of rna: the mean of the sources differs between sites, and so does rna."""
    rng = np.random.default_rng(0)
    site = rng.integers(0, 2, 400)
    names = np.array([f"c{i}" for i in range(400)])

    def view(x, m, cells):
        adata = ad.AnnData(x[cells].astype("f4"))
        adata.obs_names, adata.var_names = names[cells], [f"{m}{j}" for j in range(x.shape[1])]
        return adata

    everyone, second = np.arange(400), np.flatnonzero(site)
    rna = rng.normal(size=(400, 20)) + site[:, None] * rng.normal(size=20)
    mdata = MuData(
        {
            "rna": view(rna, "g", everyone),
            "adt": view(rng.normal(size=(400, 8)), "p", everyone),
            "atac": view(5 + rng.normal(size=(400, 8)), "k", second),
        }
    )
    model = fitted(mdata, max_epochs=20)
    latents = model.get_latent_representation(modality="atac")
    assert np.isnan(latents).any(axis=1).sum() == 400 - len(second)
    found = model.shared_features("rna", n_permutations=199)
    assert (found["q_value"] > 0.05).all()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        pytest.param({"target": "rna", "source": "rna"}, ValueError, "other than the target", id="target as source"),
        pytest.param({"target": "dna"}, ValueError, "'dna'; the modalities", id="unknown target"),
        pytest.param({"target": "rna", "source": "dna"}, ValueError, "'dna'; the modalities", id="unknown source"),
        pytest.param({"target": "rna", "n_permutations": 0}, ValueError, "at least 1", id="no permutations"),
        pytest.param({"target": "rna", "indices": [0]}, ValueError, "1 cells have both", id="one cell"),
        pytest.param({"target": "rna", "within": "donor"}, KeyError, "'donor', which is not", id="unknown column"),
    ],
)
def test_refusals(arguments, error, match):
    model = fitted(toy_mudata(2), max_epochs=1)
    with pytest.raises(error, match=match):
        model.shared_features(**arguments)


def test_training_cells_are_refused():
    model = fitted(toy_mudata(2), max_epochs=1, train_size=1.0)
    with pytest.raises(ValueError, match="trained on all cells"):
        model.shared_features("rna")


#: Simulations of the test below; the documentation's numbers are of 20.
N_SIMULATIONS = int(os.environ.get("VENNVI_SIMULATIONS", "4"))


@pytest.mark.slow
def test_false_discovery_rate_and_ranking():
    """Several simulations: at q <= 0.05, the mean fraction of private features is 5 % or less;
    the two kinds of features are told apart.
    """
    proportions, found, auc = [], [], []
    for seed in range(N_SIMULATIONS):
        mdata = vennvi.data.simulate_multiome(n_obs=1500, n_genes=100, n_peaks=100, atac_density=0.3, seed=seed)
        torch.manual_seed(seed)
        vennvi.VennVI.setup_mudata(mdata, batch_key="batch", size_factor_key="size_factor")
        likelihoods = {"rna": "nb", "atac": "poisson"}
        model = vennvi.VennVI(mdata, n_shared=3, n_private=3, likelihoods=likelihoods)
        model.train(
            max_epochs=40, train_size=0.6, accelerator="cpu", plan_kwargs={"lr": 5e-3}, enable_progress_bar=False
        )
        model.write_variance_explained()
        for m in model.modalities:
            table, var = model.shared_features(m), mdata[m].var
            private = var["factor"] == "private"
            discoveries = table["q_value"] <= 0.05
            proportions.append((discoveries & private).sum() / max(discoveries.sum(), 1))
            found.append(discoveries[~private].mean())
            auc.append((roc_auc_score(~private, var["r2_cross"]), roc_auc_score(private, var["r2_private"])))
    print(f"FDR {np.mean(proportions):.3f}, power {np.mean(found):.2f}, AUC {np.mean(auc, axis=0).round(3)}")
    assert np.mean(proportions) <= 0.05 + 2 * np.std(proportions) / np.sqrt(len(proportions))
    assert np.mean(found) > 0.5
    assert (np.mean(auc, axis=0) >= 0.95).all()
