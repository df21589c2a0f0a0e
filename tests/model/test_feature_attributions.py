"""What the encoder reads: a linear model's weights, the completeness axiom, and captum on the whole encoder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from linear_model import N_SHARED, linear_model
from toy import toy_mudata

import vennvi
from vennvi._sparse import to_dense
from vennvi.explain import _attribution

pytest.importorskip("captum")

CELLS = np.arange(300, 600)  # those held out


@pytest.mark.parametrize("space", ["shared", "private"])
@pytest.mark.parametrize("baseline", ["mean", "zeros"])
def test_of_a_linear_model_they_are_weight_times_distance(space, baseline):
    linear = linear_model()
    for m, x in linear.x.items():
        x = (x - x.mean(0)) / x.std(0)  # what the encoder reads; its mean is zero
        weight = linear.encode[m][:, :N_SHARED] if space == "shared" else linear.encode[m][:, N_SHARED:]
        sd = linear.model.feature_attributions(space, m, baseline=baseline)
        np.testing.assert_allclose(sd, weight * x[CELLS].std(0)[:, None], rtol=1e-3, atol=1e-5)
        group = CELLS[:50]
        mean = linear.model.feature_attributions(
            space, m, indices=group, baseline=baseline, statistic="mean", max_cells=None, batch_size=17
        )
        np.testing.assert_allclose(mean, weight * x[group].mean(0)[:, None], rtol=1e-3, atol=1e-5)
        assert list(sd.index) == list(linear.model.adata[m].var_names)
        assert sd.columns.name == f"{space} dimension"


MODELS = [
    pytest.param((vennvi.VennVI, {}), id="canonical"),
    pytest.param((vennvi.VennVI, {"residual_private": False}), id="canonical-not-residual"),
    pytest.param((vennvi.VennVI, {"encode_covariates": True}), id="canonical-covariates"),
    pytest.param((vennvi.MMVAEPlusPlus, {"encode_covariates": True, "n_layers": 2}), id="mixture"),
    pytest.param((vennvi.MVAE, {"n_layers": 2}), id="product"),
]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    cls, settings = request.param
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    cls.setup_mudata(mdata, batch_key="batch", continuous_covariate_keys=["age"])
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16, **settings)
    model.train(max_epochs=5, train_size=0.5, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 1e-2})
    return model


@pytest.mark.parametrize("space", ["shared", "private"])
def test_they_sum_to_the_way_from_the_baseline(model, space):
    """At no counts and at the mean: the latents there are read off the encoder itself."""
    if model.module.encode_covariates:
        cells = np.flatnonzero((model.adata.obs["batch"] == "a") & (model.adata.obs["age"] == 3))  # one covariate
    else:
        cells = np.sort(model.validation_indices)
    for m in model.modalities:
        has = np.asarray(model.adata.obsmap[m]).ravel() > 0
        own = cells[has[cells]]
        z = model.get_latent_representation(indices=own, space=space, modality=m)
        inputs = [x for x, _ in model._encoder_inputs(m, None, np.arange(60), None, None, 0)]
        for baseline, start in (("mean", torch.cat(inputs).mean(0)), ("zeros", torch.zeros(inputs[0].shape[1]))):
            _, c = next(model._encoder_inputs(m, None, own[:1], None, None, 0))
            with torch.no_grad():
                q = dict(zip(("shared", "private"), model.module.encoders[m](start.unsqueeze(0), c), strict=True))
                if space == "shared":
                    q["shared"] = model.module.fuse({m: q["shared"]}, {m: torch.ones(1, 1)}, [m])
            arguments = {"indices": own, "baseline": baseline, "statistic": "mean", "max_cells": None, "n_steps": 100}
            found = model.feature_attributions(space, m, **arguments)
            expected = z.mean(0) - q[space].loc.numpy()[0]
            np.testing.assert_allclose(found.sum(axis=0), expected, atol=2e-3 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("space", ["shared", "private"])
def test_against_gradients_of_the_whole_encoder(model, space):
    """Riemann sums of autograd's gradients with respect to the dense input, feature by feature."""
    steps = (torch.arange(50) + 0.5) / 50
    position = ["shared", "private"].index(space)
    for m in model.modalities:
        cells = np.sort(model.validation_indices)
        batches = list(model._encoder_inputs(m, None, cells, None, None, 0))
        x = torch.cat([x for x, _ in batches])
        c = torch.cat([c for _, c in batches]) if model.module.encode_covariates else None
        total = torch.zeros(*x.shape, 3 if space == "shared" else 2)
        for t in steps:
            point = (t * x).requires_grad_()
            q = model.module.encoders[m](point, c)[position]
            if space == "shared":
                q = model.module.fuse({m: q}, {m: torch.ones(len(x), 1)}, [m])
            for k in range(total.shape[-1]):
                total[..., k] += torch.autograd.grad(q.loc[:, k].sum(), point, retain_graph=True)[0] / len(steps)
        a = (total * x.unsqueeze(-1)).detach().numpy()
        sd = a.std(0)
        read = x.numpy() - x.numpy().mean(0)
        together = ((a - a.mean(0)) * read[:, :, None]).mean(0)
        found = model.feature_attributions(space, m, baseline="zeros", n_steps=50)
        np.testing.assert_allclose(found.abs(), sd, atol=0.01 * sd.max() + 1e-6)
        # with a correlation of nearly zero either sign is right
        clear = np.abs(together) > np.maximum(0.05 * sd.max(), 0.2 * sd) * read.std(0)[:, None] + 1e-6
        np.testing.assert_array_equal(np.sign(found.to_numpy())[clear], np.sign(together)[clear])


def test_sparse_and_dense_say_the_same_in_minibatches_of_any_size(model):
    dense = model.adata.copy()
    for m in ("rna", "atac"):
        dense[m].X = dense[m].X.toarray()
    whole = model.feature_attributions("private", "rna")
    for mdata, batch_size in ((model.adata, 7), (dense, 64)):
        found = model.feature_attributions(
            "private", "rna", mdata=mdata, indices=np.sort(model.validation_indices), batch_size=batch_size
        )
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-6)


def test_a_wide_sparse_modality_is_dense_one_minibatch_at_a_time(monkeypatch):
    mdata = vennvi.data.simulate_multiome(n_obs=120, n_genes=20, n_peaks=3000)
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
    sizes = []

    def counted(x):
        sizes.append(tuple(x.shape))
        return to_dense(x)

    monkeypatch.setattr("vennvi.model._feature_attributions.to_dense", counted)
    assert model.feature_attributions("shared", "atac", batch_size=16, max_cells=40).notna().all(axis=None)
    assert max(n for n, _ in sizes) == 16
    assert sum(n for n, _ in sizes) == 80  # 40 for the baseline and 40 to sum up


def test_what_a_factor_drives_is_what_the_encoder_reads():
    mdata = vennvi.data.simulate_gp(n_obs=400, n_private_features={"view1": 10, "view2": 10})
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=30, train_size=0.7, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 5e-3})
    strength = (model.feature_attributions("shared", "view1") ** 2).sum(axis=1) ** 0.5
    is_shared = mdata["view1"].var["factor"] == "shared"
    assert strength[is_shared].mean() > 2 * strength[~is_shared].mean()


def test_new_data_without_the_modality():
    mdata = toy_mudata(3)
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert model.feature_attributions("private", "protein", mdata=toy_mudata(2)).isna().all(axis=None)
    some = model.feature_attributions("shared", "rna", max_cells=10)
    pd.testing.assert_frame_equal(some, model.feature_attributions("shared", "rna", max_cells=10))


def test_without_captum_the_error_names_the_extra(model, monkeypatch):
    monkeypatch.setattr(_attribution, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"vennvi\[explain\]"):
        model.feature_attributions("shared", "rna")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        pytest.param({"space": "joint", "modality": "rna"}, "'joint': choose", id="space"),
        pytest.param({"space": "shared", "modality": "dna"}, "'dna'; the modalities", id="modality"),
        pytest.param({"space": "shared", "modality": "rna", "statistic": "max"}, "'max': choose", id="statistic"),
        pytest.param({"space": "shared", "modality": "rna", "baseline": "median"}, "'median': choose", id="baseline"),
        pytest.param({"space": "shared", "modality": "rna", "n_steps": 0}, "at least 1", id="n_steps"),
        pytest.param({"space": "shared", "modality": "rna", "max_cells": 0}, "at least 1", id="max_cells"),
    ],
)
def test_refusals(model, arguments, match):
    with pytest.raises(ValueError, match=match):
        model.feature_attributions(**arguments)
