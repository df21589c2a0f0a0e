"""ELBO and reconstruction errors of cells; `test_objectives.py` compares the ELBO with the equations."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
import scvi
import torch
from torch.distributions import Normal, kl_divergence
from toy import N_OBS, toy_mudata

import vennvi

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]


def fit(cls, mdata, **kwargs):
    cls.setup_mudata(mdata, batch_key="batch")
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=2, train_size=0.5, batch_size=16, accelerator="cpu", enable_progress_bar=False, **kwargs)
    return model


@pytest.mark.parametrize("cls", MODELS)
def test_they_are_the_curves_of_the_validation_cells(cls):
    """Up to the draws: the curves are of one, the mean of many is compared with it."""
    scvi.settings.seed = 0
    model = fit(cls, toy_mudata(3, absent=True), check_val_every_n_epoch=1, plan_kwargs={"lr": 1e-9})
    cells, last = model.validation_indices, {k: float(v.iloc[-1].iloc[0]) for k, v in model.history.items()}
    n = 40
    draws = [{"elbo": -model.get_elbo(indices=cells)} | model.get_reconstruction_error(indices=cells) for _ in range(n)]
    for name in draws[0]:
        values = np.array([each[name] for each in draws])
        bound = 6 * values.std(ddof=1) * np.sqrt(1 + 1 / n) + 1e-4 * abs(values.mean())
        assert values.mean() == pytest.approx(last[f"{name}_validation"], abs=bound)
    terms = {name.removesuffix("_validation") for name in last if "_to_" in name and name.endswith("_validation")}
    assert set(draws[0]) == {"elbo", *terms}


@pytest.mark.parametrize("cls", [vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI])
def test_elbo_is_errors_and_divergences(cls):
    """Of experts that are one modality each: the divergences by torch, from the means and variances of the latents."""
    model = fit(cls, toy_mudata(3, absent=True, permuted=True))
    torch.manual_seed(0)
    elbo = model.get_elbo(return_mean=False, batch_size=N_OBS)
    torch.manual_seed(0)
    errors = model.get_reconstruction_error(return_mean=False, batch_size=N_OBS)
    expected = -np.nansum(list(errors.values()), axis=0)
    for m in model.modalities:
        for space, weight in (("shared", 1.0), ("private", model.module.private_kl_weight)):
            moments = model.get_latent_representation(space=space, modality=m, return_dist=True)
            mean, variance = map(torch.from_numpy, moments)
            here = ~mean.isnan().any(1)
            kl = kl_divergence(Normal(mean[here], variance[here].sqrt()), Normal(0.0, 1.0)).sum(-1)
            expected[here.numpy()] -= weight * kl.numpy()
    np.testing.assert_allclose(elbo, expected, rtol=1e-4)


@pytest.mark.parametrize("cls", MODELS)
def test_a_cell_counts_where_it_has_the_modalities(cls):
    toy = toy_mudata(3, absent=True)
    nobody = mudata.MuData({"rna": toy["rna"], "atac": toy["atac"]})  # cells that have protein alone are not in it
    for column in toy.obs:
        nobody.obs[column] = toy.obs[column].reindex(nobody.obs_names)
    model = fit(cls, nobody)
    has = {m: np.asarray(nobody.obsmap[m]).ravel() > 0 for m in nobody.mod}
    for name, values in model.get_reconstruction_error(return_mean=False).items():
        expert, target = name.removeprefix("reconstruction_").split("_to_")
        of_all = expert == "rna+atac" and cls is vennvi.MVAE  # the product of those that the cell has
        counted = has[target] & (np.any if of_all else np.all)([has[m] for m in expert.split("+")], axis=0)
        np.testing.assert_array_equal(~np.isnan(values), counted, err_msg=name)
    assert model.get_elbo(return_mean=False).shape == (nobody.n_obs,)


def test_a_cell_without_any_modality_has_none():
    mdata = toy_mudata(3, absent=True)
    vennvi.VennVI.setup_mudata(mdata, layers=["rna"])
    model = vennvi.VennVI(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    elbo = model.get_elbo(return_mean=False)
    nobody = np.asarray(mdata.obsmap["rna"]).ravel() == 0
    assert nobody.any()
    np.testing.assert_array_equal(np.isnan(elbo), nobody)
    assert np.isfinite(model.get_elbo())
    assert np.isnan(model.get_elbo(indices=np.flatnonzero(nobody)))


def test_cells_come_from_a_loader_or_a_mudata():
    model = fit(vennvi.MMVAEPlusPlus, toy_mudata(2))
    loader = model._make_data_loader(adata=model.adata, batch_size=16)
    torch.manual_seed(0)
    expected = model.get_elbo(batch_size=16)
    torch.manual_seed(0)
    assert model.get_elbo(dataloader=loader) == expected
    with pytest.raises(ValueError, match="pass it without `mdata`"):
        model.get_elbo(model.adata, dataloader=loader)
    with pytest.raises(ValueError, match="pass it without `mdata`"):
        model.get_reconstruction_error(indices=[0], dataloader=loader)


def test_labels_take_no_part():
    """Minibatches of a supervised model need none, be they given or not."""
    mdata = toy_mudata(2)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, labels_key="label")
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    batches = list(model._make_data_loader(adata=mdata, batch_size=16))
    without = [{key: value for key, value in batch.items() if key != "labels"} for batch in batches]
    found = []
    for given in (batches, without):
        torch.manual_seed(0)
        found.append(model.get_elbo(dataloader=given))
        found.append(model.get_reconstruction_error(dataloader=given)["reconstruction_rna_to_atac"])
    assert found[:2] == found[2:]
