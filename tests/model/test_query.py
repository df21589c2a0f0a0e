"""New data: checked like the training data, completed where labels or a modality are not there."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import torch
from mudata import MuData
from toy import N_OBS, toy_mudata

import vennvi


def trained(mdata=None, setup=None, **kwargs):
    mdata = toy_mudata(2) if mdata is None else mdata
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, **(setup or {}))
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2, n_hidden=16, **kwargs)
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    return model


def with_modality(mdata, modality, adata):
    mods = {m: mdata[m] for m in mdata.mod} | {modality: adata}
    changed = MuData(mods)
    changed.obs = mdata.obs.loc[changed.obs_names].copy()
    return changed


def test_other_variables_are_refused():
    model, query = trained(), toy_mudata(2)
    reversed_order = with_modality(query, "rna", query["rna"][:, ::-1].copy())
    with pytest.raises(ValueError, match="'rna' are not in the order of the setup"):
        model.get_latent_representation(reversed_order)
    fewer = with_modality(query, "rna", query["rna"][:, :9].copy())
    with pytest.raises(ValueError, match=r"'rna' lacks 3 of the 12 variables.*'rna9'"):
        model.get_latent_representation(fewer)


def test_a_stale_index_is_refused():
    model, query = trained(), toy_mudata(2)
    query.mod["rna"] = query["rna"][::-1].copy()
    with pytest.raises(ValueError, match=r"mdata\.update"):
        model.predict("rna", mdata=query)


def test_what_is_no_mudata_is_refused():
    with pytest.raises(TypeError, match="got AnnData"):
        trained().get_latent_representation(ad.AnnData(np.ones((3, 2))))


def test_missing_covariates_are_refused():
    model, query = trained(setup={"batch_key": "batch"}), toy_mudata(2)
    query.obs["batch"] = query.obs["batch"].astype(object)
    query.obs.loc[query.obs_names[0], "batch"] = np.nan
    with pytest.raises(ValueError, match=r"'batch'.* 1 missing"):
        model.get_latent_representation(query)
    del query.obs["batch"]
    with pytest.raises(KeyError, match="`batch_key` names 'batch'"):
        model.get_latent_representation(query)


@pytest.mark.parametrize(
    "setup", [{"labels_key": "label"}, {"labels_key": "partial_label", "unlabeled_category": "unknown"}]
)
def test_labels_are_not_needed_to_predict_them(setup, tmp_path):
    model, query = trained(setup=setup), toy_mudata(2)
    expected = model.predict_labels()[1]
    del query.obs[setup["labels_key"]]
    np.testing.assert_allclose(model.predict_labels(query)[1], expected, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model")
    another = toy_mudata(2)
    another.obs[setup["labels_key"]] = ["novel", None] * (N_OBS // 2)
    loaded = vennvi.MMVAEPlusPlus.load(tmp_path / "model", adata=another, accelerator="cpu")
    np.testing.assert_allclose(loaded.predict_labels()[1], expected, rtol=1e-4, atol=1e-6)


def test_a_modality_that_was_not_measured_is_predicted():
    model, query = trained(), toy_mudata(2)
    expected = model.predict("atac", "rna", library_size=5)
    only = MuData({"rna": query["rna"]})
    np.testing.assert_allclose(model.predict("atac", "rna", mdata=only, library_size=5), expected, rtol=1e-4, atol=1e-6)
    model.write_latents(only)
    shared = model.get_latent_representation(modality="rna")
    np.testing.assert_allclose(only.obsm["X_shared"], shared, rtol=1e-4, atol=1e-5)
    assert list(only.mod) == ["rna"]
    with pytest.raises(ValueError, match="none of the model's modalities"):
        model.get_latent_representation(MuData({"protein": toy_mudata(3)["protein"]}))


def test_indices_count_from_the_end_too():
    model = trained(setup={"batch_key": "batch"}, encode_covariates=True)
    whole = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(indices=[-1, 0]), whole[[-1, 0]], rtol=1e-4, atol=1e-6)
    assert model.get_latent_representation(indices=[]).shape == (0, 3)
    assert model.predict("rna", indices=np.zeros(N_OBS, bool)).shape == (0, 12)


def test_size_factors_of_absent_cells_may_be_missing():
    mdata = toy_mudata(2, absent=True)
    present = mdata.obs_names.isin(mdata["rna"].obs_names)
    mdata.obs["sf"] = np.where(present, 1.5, np.nan)
    model = trained(mdata, setup={"size_factor_key": {"rna": "sf"}})
    assert np.isfinite(model.history["train_loss"].to_numpy(float)).all()


def test_a_row_of_missing_entries_is_an_absent_cell():
    mdata = toy_mudata(3)
    mdata["protein"].X[:10] = np.nan
    model = trained(mdata)
    private = model.get_latent_representation(space="private", modality="protein")
    np.testing.assert_array_equal(np.isnan(private).any(1), np.arange(N_OBS) < 10)
    assert np.isfinite(model.get_latent_representation()).all()


def test_depth_of_incomplete_counts_is_not_their_sum():
    rng = np.random.default_rng(0)
    x = rng.poisson(10.0, size=(N_OBS, 40)).astype(np.float32)
    x[::2, 10:] = np.nan
    mdata = with_modality(toy_mudata(2), "rna", ad.AnnData(x, obs=toy_mudata(1)["rna"].obs))
    likelihood = trained(mdata, likelihoods={"rna": "poisson"}).module.likelihood("rna")
    np.testing.assert_allclose(likelihood.size(torch.as_tensor(x), None), 1.0, atol=0.4)


def test_a_rare_modality_keeps_its_curve():
    """Minibatches in which nobody has a modality do not pull its curve to zero."""
    mdata = toy_mudata(2)
    rare = MuData({"rna": mdata["rna"][:6].copy(), "atac": mdata["atac"]})
    vennvi.MMVAE.setup_mudata(rare)
    model = vennvi.MMVAE(rare, n_shared=2, n_private=2, n_hidden=8)
    model.train(
        max_epochs=1,
        batch_size=4,
        train_size=1.0,
        plan_kwargs={"lr": 0.0},
        accelerator="cpu",
        enable_progress_bar=False,
    )
    tensors = next(iter(model._make_data_loader(adata=rare, indices=range(6), batch_size=6)))
    with torch.inference_mode():
        values = [
            float(model.module(tensors, loss_kwargs={"kl_weight": 0.0})[2].extra_metrics["reconstruction_rna_to_rna"])
            for _ in range(20)
        ]
    found = float(model.history["reconstruction_rna_to_rna_train"].iloc[0, 0])
    assert found == pytest.approx(np.mean(values), rel=0.15)
