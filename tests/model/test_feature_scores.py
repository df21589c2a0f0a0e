"""Scores of features against the loadings of a linear model and against finite differences."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from linear_model import N_SHARED, linear_model
from toy import toy_mudata

import vennvi


@pytest.mark.parametrize("scale", ["unit", "sd"])
def test_of_a_linear_model_they_are_the_loadings(scale):
    linear = linear_model()
    for m, w in linear.loadings.items():
        for space, loadings in (("shared", w[:N_SHARED]), ("private", w[N_SHARED:])):
            scores = linear.model.feature_scores(space, m, scale=scale)
            z = linear.model.get_latent_representation(
                indices=linear.model.validation_indices, space=space, modality=m if space == "private" else None
            )
            expected = loadings * (z.std(0)[:, None] if scale == "sd" else 1)
            np.testing.assert_allclose(scores.to_numpy().T, expected, rtol=1e-4, atol=1e-5)
            assert list(scores.index) == list(linear.model.adata[m].var_names)
            assert scores.columns.tolist() == list(range(len(loadings)))


@pytest.mark.parametrize("rna", ["nb", "poisson", "zinb", "normal"])
def test_against_finite_differences(rna):
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    setup = {"batch_key": "batch", "continuous_covariate_keys": ["age"]}
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, **setup)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2, n_hidden=16, likelihoods={"rna": rna})
    model.train(max_epochs=10, train_size=0.5, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 1e-2})
    cells = np.sort(model.validation_indices)
    covariates = np.hstack([pd.get_dummies(mdata.obs["batch"]), mdata.obs[["age"]]])[cells]
    module = copy.deepcopy(model.module).double()
    for m in model.modalities:
        shared = model.get_latent_representation(indices=cells).astype(float)
        private = model.get_latent_representation(indices=cells, space="private", modality=m).astype(float)
        has = ~np.isnan(private).any(1)
        z, c = np.hstack([shared, private])[has], torch.as_tensor(covariates[has].astype(float))

        def predicted(z, m=m, c=c):
            with torch.inference_mode():
                outputs = module.decode(m, torch.as_tensor(z), c)
                return module.likelihood(m).expected(outputs, torch.ones(len(z), 1, dtype=torch.float64)).numpy()

        step = 1e-6 * np.eye(5)
        expected = np.stack([(predicted(z + e) - predicted(z - e)).mean(0) / 2e-6 for e in step], axis=1)
        found = np.hstack([model.feature_scores(space, m, batch_size=7) for space in ("shared", "private")])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=m)


def fitted(**kwargs):
    mdata = toy_mudata(3)
    vennvi.MVAE.setup_mudata(mdata)
    model = vennvi.MVAE(mdata, n_shared=3, n_private=2, n_hidden=8)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, **kwargs)
    return model


def test_a_choice_of_cells():
    model = fitted(train_size=0.5)
    everyone = model.feature_scores("shared", "rna", max_cells=None)
    pd.testing.assert_frame_equal(everyone, model.feature_scores("shared", "rna", max_cells=30))
    some = model.feature_scores("shared", "rna", max_cells=10)
    pd.testing.assert_frame_equal(some, model.feature_scores("shared", "rna", max_cells=10))
    assert not np.allclose(some, everyone)


def test_new_data_without_the_modality():
    model = fitted()
    part = toy_mudata(2)
    assert model.feature_scores("private", "protein", mdata=part).isna().all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        pytest.param({"space": "joint", "modality": "rna"}, "'joint': choose", id="space"),
        pytest.param({"space": "shared", "modality": "dna"}, "'dna'; the modalities", id="modality"),
        pytest.param({"space": "shared", "modality": "rna", "scale": "z"}, "'z': choose", id="scale"),
        pytest.param({"space": "shared", "modality": "rna", "max_cells": 0}, "at least 1", id="max_cells"),
    ],
)
def test_refusals(arguments, match):
    with pytest.raises(ValueError, match=match):
        fitted().feature_scores(**arguments)
