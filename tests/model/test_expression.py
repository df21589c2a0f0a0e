"""Normalised expression and differential tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from toy import toy_mudata

import vennvi
from vennvi import MMVAEPlusPlus, MoPoEVAE


def _model(mdata, cls=MMVAEPlusPlus, max_epochs=1, **kwargs):
    cls.setup_mudata(mdata, batch_key="batch")
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16, **kwargs)
    model.train(max_epochs=max_epochs, train_size=0.8, accelerator="cpu", batch_size=32, plan_kwargs={"lr": 5e-3})
    return model


@pytest.fixture(scope="module")
def toy_model():
    return _model(toy_mudata(absent=True, permuted=True), cls=MoPoEVAE, max_epochs=3)


def _absent(model, modality):
    return np.asarray(model.adata.obsmap[modality]).ravel() == 0


@pytest.mark.parametrize("modality", ["rna", "atac", "protein"])
def test_all_agrees_with_predict_at_the_median_depth(toy_model, modality):
    likelihood = toy_model.module.likelihood(modality)
    found = toy_model.get_normalized_expression(modality)
    depth = float(likelihood.size_reference) if likelihood.use_size else None
    expected = toy_model.predict(modality, library_size=depth)
    absent = _absent(toy_model, modality)
    pd.testing.assert_frame_equal(found[~absent], expected[~absent], rtol=1e-4)
    assert found[absent].isna().all(axis=None)


def test_one_part_varies_and_the_other_is_held_at_its_mean(toy_model):
    module, present = toy_model.module, ~_absent(toy_model, "protein")
    shared = toy_model.get_latent_representation()
    private = toy_model.get_latent_representation(space="private", modality="protein")
    codes = toy_model.adata.obs["_scvi_batch"].to_numpy()
    covariates = np.eye(3, dtype=np.float32)[codes]
    means = {"shared": private[present].mean(0), "private": shared[present].mean(0)}
    for space, latents in {
        "shared": np.c_[shared, np.broadcast_to(means["shared"], private.shape)],
        "private": np.c_[np.broadcast_to(means["private"], shared.shape), private],
    }.items():
        with torch.inference_mode():
            outputs = module.decode("protein", torch.as_tensor(latents), torch.as_tensor(covariates))
            expected = module.likelihood("protein").expected(outputs, torch.ones(len(latents), 1)).numpy()
        found = toy_model.get_normalized_expression("protein", space=space, return_numpy=True)
        np.testing.assert_allclose(found[present], expected[present], rtol=1e-3, atol=1e-4)


def test_batches(toy_model):
    own = toy_model.get_normalized_expression("rna")
    each = {b: toy_model.get_normalized_expression("rna", transform_batch=b) for b in ("a", "b", "c")}
    in_a = (toy_model.adata.obs["batch"] == "a").to_numpy()
    pd.testing.assert_frame_equal(own[in_a], each["a"][in_a])
    assert not own[~in_a].dropna().equals(each["a"][~in_a].dropna())
    both = toy_model.get_normalized_expression("rna", transform_batch=["a", "b"])
    pd.testing.assert_frame_equal(both, (each["a"] + each["b"]) / 2, rtol=1e-4)


def test_depth_names_cells_and_draws(toy_model):
    expression = toy_model.get_normalized_expression("rna", library_size=50).dropna()
    np.testing.assert_allclose(expression.sum(axis=1), 50, rtol=1e-4)
    observed = toy_model.get_normalized_expression("rna", library_size="observed").dropna()
    counts = toy_model.adata["rna"].to_df().loc[observed.index].sum(axis=1)
    np.testing.assert_allclose(observed.sum(axis=1) / counts, observed.sum(axis=1).iloc[0] / counts.iloc[0], rtol=1e-4)
    some = toy_model.get_normalized_expression("rna", indices=[3, 1], var_names=["rna2"], n_samples=3)
    assert some.shape == (2, 1)
    assert list(some.index) == list(toy_model.adata.obs_names[[3, 1]])


@pytest.mark.parametrize("space", ["all", "shared"])
def test_draws_are_averaged_or_returned_one_by_one(toy_model, space):
    asked = {
        "modality": "rna",
        "space": space,
        "n_samples": 5,
        "transform_batch": ["a", "b"],
        "var_names": ["rna3", "rna1"],
    }
    torch.manual_seed(0)
    averaged = toy_model.get_normalized_expression(**asked)
    torch.manual_seed(0)
    each = toy_model.get_normalized_expression(**asked, return_mean=False)
    assert each.shape == (5, toy_model.adata.n_obs, 2)
    np.testing.assert_allclose(each.mean(0), averaged, rtol=1e-5)
    assert not np.allclose(each[0], each[1], equal_nan=True)
    none = toy_model.get_normalized_expression(**asked, return_mean=False, indices=[])
    assert none.shape == (5, 0, 2)
    one = toy_model.get_normalized_expression("rna", return_mean=False)
    pd.testing.assert_frame_equal(one, toy_model.get_normalized_expression("rna"))


def test_a_model_without_batches_says_so():
    mdata = toy_mudata(2)
    MMVAEPlusPlus.setup_mudata(mdata)
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu")
    with pytest.raises(ValueError, match="set up with a `batch_key`"):
        model.get_normalized_expression("rna", transform_batch="a")
    mdata.obs["batch"] = (mdata.obs["batch"] == "a").astype(int)
    MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu")
    with pytest.raises(ValueError, match=r"names 7; the batches are 0, 1\."):
        model.get_normalized_expression("rna", transform_batch=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"space": "both"}, "choose 'all'", id="space"),
        pytest.param({"transform_batch": "z"}, "the batches are 'a', 'b', 'c'", id="batch"),
        pytest.param({"n_samples": 0}, "at least 1", id="draws"),
        pytest.param({"modality": "rnaa"}, "the modalities", id="modality"),
    ],
)
def test_refuses(toy_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        toy_model.get_normalized_expression(**({"modality": "rna"} | arguments))


# ------------------------------------------------------------------------------------------------------ differences
@pytest.fixture(scope="module")
def two_factors():
    """Real values: features 0 to 9 follow a factor of both views, the others one of their own."""
    mdata = vennvi.data.simulate_gp(n_obs=500, n_private_features={"view1": 10, "view2": 10}, length_scale=4.0, seed=1)
    mdata.obs["batch"] = "all"
    mdata.obs["group"] = pd.Categorical(np.where(mdata.obsm["true_shared"][:, 0] > 0, "high", "low"))
    own = mdata["view1"].obsm["true_private"][:, 0]
    mdata["view1"].obs["own_group"] = pd.Categorical(np.where(own > 0, "high", "low"))
    return _model(mdata, max_epochs=60)


@pytest.mark.parametrize("space", ["all", "shared", "private"])
def test_effects_are_those_of_the_normalised_expression(two_factors, space):
    table = two_factors.differential_expression(
        "group", "high", "low", modality="view1", space=space, n_samples_overall=2000
    )
    group = two_factors.adata.obs["group"].to_numpy()
    expression = two_factors.get_normalized_expression("view1", space=space, n_samples=20)
    means = expression.groupby(group).mean()
    sd = two_factors.adata["view1"].to_df().std(ddof=0)
    expected = (means.loc["high"] - means.loc["low"]) / sd
    np.testing.assert_allclose(table["effect_mean"].loc[expected.index], expected, atol=0.15)
    raw = two_factors.adata["view1"].to_df().groupby(group).mean()
    np.testing.assert_allclose(table["raw_mean1"], raw.loc["high", table.index], rtol=1e-3, atol=1e-4)
    assert list(table["comparison"].unique()) == ["high vs low"]
    assert table["proba_de"].is_monotonic_decreasing


def test_groups_of_a_modalitys_own_obs(two_factors):
    table = two_factors.differential_expression(
        "own_group", "high", modality="view1", space="private", n_samples_overall=500
    )
    assert set(table.index[:5]) <= {f"view1_feature{j}" for j in range(10, 20)}


def test_counts_have_fold_changes_and_binary_data_differences(toy_model):
    assert "_scvi_temp_de" not in toy_model.adata.obs
    columns = {}
    for modality in ("rna", "atac"):
        table = toy_model.differential_expression("label", modality=modality, n_samples_overall=100)
        assert set(table["comparison"]) == {"high vs Rest", "low vs Rest"}
        columns[modality] = set(table)
        x = toy_model.adata[modality].to_df()
        rows = toy_model.adata.obs["label"].loc[x.index] == "high"
        high = table[table["group1"] == "high"].loc[x.columns]
        np.testing.assert_allclose(high["raw_mean1"], x[rows].mean(), rtol=1e-4)
        np.testing.assert_allclose(high["non_zeros_proportion2"], (x[~rows] != 0).mean(), rtol=1e-4)
    assert {"lfc_mean", "proba_de", "is_de_fdr_0.05"} <= columns["rna"]
    assert {"effect_mean", "proba_de", "is_de_fdr_0.05"} <= columns["atac"]


def test_effects_may_be_the_users(toy_model):
    """A fold change of probabilities is a fold change, with scvi-tools' names; a function comes with vennvi's."""
    asked = {"groupby": "label", "group1": "high", "modality": "atac", "n_samples_overall": 200}
    fold = toy_model.differential_expression(change_fn="log-fold", **asked)
    assert {"lfc_mean", "lfc_median"} <= set(fold)
    np.testing.assert_allclose(fold["delta"], 0.25)
    by_hand = toy_model.differential_expression(
        change_fn=lambda a, b, c: np.log2(a + c) - np.log2(b + c), delta=0.25, **asked
    )
    np.testing.assert_allclose(fold["lfc_mean"], by_hand["effect_mean"].loc[fold.index], rtol=1e-4)
    own = toy_model.differential_expression(**asked)
    twice = toy_model.differential_expression(change_fn=lambda a, b, c: 2 * (a - b), **asked)
    np.testing.assert_allclose(twice["effect_mean"].loc[own.index], 2 * own["effect_mean"], rtol=1e-4)


def test_cells_by_mask_position_and_query(toy_model):
    mask = (toy_model.adata.obs["label"] == "high").to_numpy()
    by_group = toy_model.differential_expression("label", "high", modality="rna", n_samples_overall=50)
    for idx1 in (mask, np.flatnonzero(mask), "label == 'high'"):
        found = toy_model.differential_expression(idx1=idx1, modality="rna", n_samples_overall=50)
        np.testing.assert_allclose(found["raw_mean2"].loc[by_group.index], by_group["raw_mean2"], rtol=1e-5)
    assert "_scvi_temp_de" not in toy_model.adata.obs


def test_batch_correction_and_vanilla(toy_model):
    table = toy_model.differential_expression(
        "label", "high", "low", modality="rna", batch_correction=True, mode="vanilla", n_samples_overall=90
    )
    assert {"proba_m1", "bayes_factor"} <= set(table)
    assert np.isfinite(table["bayes_factor"]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"groupby": "label"}, ValueError, "Name the `modality`", id="modality"),
        pytest.param({"modality": "rna"}, ValueError, "groupby", id="groups"),
        pytest.param({"modality": "rna", "groupby": "nowhere"}, KeyError, "groupby", id="column"),
        pytest.param(
            {"modality": "protein", "groupby": "label", "change_fn": "log-fold"}, ValueError, "no fold", id="real"
        ),
    ],
)
def test_differential_refuses(toy_model, arguments, error, message):
    with pytest.raises(error, match=message):
        toy_model.differential_expression(**arguments)


def test_groups_without_a_cell_of_the_modality():
    mdata = toy_mudata(2, absent=True)
    lacking = ~mdata.obs_names.isin(mdata["atac"].obs_names)
    mdata.obs["group"] = pd.Categorical(
        np.where(lacking, "no atac", mdata.obs["label"].astype(str)), categories=["high", "low", "no atac", "unused"]
    )
    model = _model(mdata)
    options = {"modality": "atac", "silent": True, "n_samples_overall": 20}
    table = model.differential_expression("group", **options)
    assert set(table["group1"]) == {"high", "low"}
    assert list(mdata.obs["group"].cat.categories) == ["high", "low", "no atac", "unused"]
    for groups in ({"group1": "no atac"}, {"group1": ["low"], "group2": "unused"}):
        with pytest.raises(ValueError, match=r"No cell with modality 'atac' is in group '(no atac|unused)' of 'group'"):
            model.differential_expression("group", **groups, **options)


@pytest.mark.parametrize("library_size", [100, np.int64(100), np.float32(100)])
def test_a_depth_is_any_number(toy_model, library_size):
    found = toy_model.get_normalized_expression("rna", library_size=library_size)
    pd.testing.assert_frame_equal(found, toy_model.get_normalized_expression("rna", library_size=100.0))


@pytest.mark.parametrize("library_size", ["latent", "obsrved", 0, -3.0, np.nan])
def test_other_depths_are_refused(toy_model, library_size):
    with pytest.raises(ValueError, match=r"`library_size` is .*observed"):
        toy_model.get_normalized_expression("rna", library_size=library_size)
    with pytest.raises(ValueError, match=r"`library_size` is .*positive number or None"):
        toy_model.predict("rna", library_size=library_size)


def test_names_come_in_many_forms(toy_model):
    one = toy_model.get_normalized_expression("rna", var_names="rna3", transform_batch=pd.Index(["a", "b"]))
    wanted = toy_model.get_normalized_expression("rna", var_names=["rna3"], transform_batch=["a", "b"])
    pd.testing.assert_frame_equal(one, wanted)


def test_variables_of_one_name_cannot_be_asked_for():
    mdata = toy_mudata(2)
    names = mdata["rna"].var_names.to_numpy().astype(object)
    names[1] = names[0]
    mdata["rna"].var_names = names
    model = _model(mdata)
    with pytest.raises(ValueError, match=r"'rna' has several variables 'rna0'.*var_names_make_unique"):
        model.predict("rna", var_names=["rna0"])
    assert list(model.predict("rna", var_names=["rna5"])) == ["rna5"]


@pytest.mark.parametrize("kind", [int, bool, "category"])
def test_groups_need_not_be_strings(kind):
    mdata = toy_mudata(2)
    values = np.arange(mdata.n_obs) % 2
    mdata.obs["group"] = pd.Categorical(values) if kind == "category" else values.astype(kind)
    model = fitted(mdata)
    one, two = (False, True) if kind is bool else (0, 1)
    options = {"modality": "rna", "n_samples_overall": 50, "silent": True}
    tables = [model.differential_expression("group", *groups, **options) for groups in ((one, two), ([one], str(two)))]
    for table in tables:
        assert table["comparison"].unique().tolist() == [f"{one} vs {two}"]
    assert mdata.obs["group"].dtype != object
    mdata.obs["none"] = np.nan
    with pytest.raises(ValueError, match="all values are missing"):
        model.differential_expression("none", "a", **options)


def test_a_modality_that_no_cell_has_is_not_expressed():
    model = fitted(toy_mudata(2))
    query = MuData({"atac": toy_mudata(2)["atac"]})
    values = model.get_normalized_expression("rna", query, space="shared", return_numpy=True)
    assert np.isnan(values).all()
    assert values.shape == (query.n_obs, 12)


def fitted(mdata):
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model
