"""New data: checked like the training data, completed where labels or a modality are not there."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from mudata import MuData
from toy import N_OBS, toy_mudata

import vennvi


def trained(mdata=None, setup=None, cls=vennvi.MMVAEPlusPlus, **kwargs):
    mdata = toy_mudata(2) if mdata is None else mdata
    cls.setup_mudata(mdata, **(setup or {}))
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16, **kwargs)
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
    return model


def without_data(model, folder):
    model.save(folder / "model")
    return type(model).load(folder / "model", adata=False, accelerator="cpu")


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


def numbers(result):
    if isinstance(result, pd.DataFrame):
        return result.select_dtypes("number").to_numpy(float, na_value=np.nan)
    return np.asarray(result, dtype=float)


METHODS = {
    "latents": lambda model, query: model.get_latent_representation(query),
    "predict": lambda model, query: model.predict("atac", "rna", mdata=query),
    "intervals": lambda model, query: model.predict("rna", mdata=query, return_intervals=0.9, n_samples=50).mean,
    "labels": lambda model, query: model.predict_labels(query)[1],
    "signal": lambda model, query: model.shared_signal_test(19, query).null,
    "variance": lambda model, query: model.variance_explained(query),
    "scores": lambda model, query: model.feature_scores("shared", "rna", mdata=query),
    "features": lambda model, query: model.shared_features("rna", mdata=query, n_permutations=9),
    "expression": lambda model, query: model.get_normalized_expression("rna", query),
    "differential": lambda model, query: model.differential_expression(
        "batch", "a", modality="rna", mdata=query, n_samples_overall=50, silent=True
    )[["raw_mean1", "raw_mean2"]],
    "coverage": lambda model, query: model.predictive_coverage("rna", mdata=query, n_samples=50),
    "diagnosis": lambda model, query: model.diagnose(query).table,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_data_keeps_none(method, tmp_path):
    """What it is given is new data each time, and read as by a model with data of its own."""
    setup = {"batch_key": "batch", "labels_key": "label"}
    model = trained(setup=setup)
    alone, query = without_data(model, tmp_path), toy_mudata(2)
    results = []
    for one in (model, alone, alone):
        torch.manual_seed(0)
        results.append(numbers(METHODS[method](one, query)))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-3, atol=1e-5)
    assert alone.adata is None


@pytest.mark.parametrize("cls", [vennvi.MVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI], ids=lambda cls: cls.__name__)
def test_a_model_without_data_reads_all_of_a_query(cls, tmp_path):
    """Also of a copy, of a view and of another MuData; what is not there it does not take from the last one."""
    model = trained(cls=cls)
    alone, query, expected = without_data(model, tmp_path), toy_mudata(2), model.get_latent_representation()
    for mdata, rows in ((query, slice(None)), (query.copy(), slice(None)), (query[10:30], slice(10, 30))):
        np.testing.assert_allclose(alone.get_latent_representation(mdata), expected[rows], rtol=1e-4, atol=1e-5)
        assert alone.variance_explained(mdata).equals(alone.variance_explained(mdata, indices=range(mdata.n_obs)))
    np.testing.assert_allclose(alone.get_latent_representation(query), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="has no MuData of its own"):
        alone.get_latent_representation()
    for several in (["a"], ["a", True, True]):
        with pytest.raises(ValueError, match="leave `save_anndata` out"):
            alone.save(tmp_path / "again", *several, **({} if several[1:] else {"save_anndata": True}))
    assert not (tmp_path / "again").exists()
    with pytest.raises(ValueError, match="has no MuData"):
        alone.train(max_epochs=1)
    only = MuData({"rna": query["rna"]})
    found = alone.predict("atac", "rna", mdata=only, library_size=5)
    np.testing.assert_allclose(found, model.predict("atac", "rna", library_size=5), rtol=1e-4, atol=1e-6)
    alone.adata = query
    np.testing.assert_allclose(alone.get_latent_representation(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(alone.validation_indices, model.validation_indices)


def test_a_missing_layer_is_refused(tmp_path):
    mdata = toy_mudata(2)
    mdata["rna"].layers["counts"] = mdata["rna"].X.copy()
    model = trained(mdata, setup={"layers": {"rna": "counts", "atac": None}})
    for one in (model, without_data(model, tmp_path)):
        with pytest.raises(KeyError, match="Modality 'rna' has no layer 'counts'"):
            one.predict("atac", mdata=toy_mudata(2))


@pytest.mark.parametrize("home", ["atac", "global"])
@pytest.mark.parametrize("own", [True, False], ids=["with data", "without data"])
def test_size_factors_of_an_absent_modality_are_not_needed(own, home, tmp_path):
    mdata = toy_mudata(2)
    if home == "atac":
        mdata["atac"].obs["sf"] = np.linspace(0.5, 2, N_OBS)
    else:
        mdata.obs["sf"] = np.linspace(0.5, 2, N_OBS)
    model = trained(mdata, setup={"size_factor_key": {"atac": "sf"}}, likelihoods={"atac": "poisson"})
    expected = model.predict("atac", "rna", library_size=5)
    if not own:
        model = without_data(model, tmp_path)
    only = MuData({"rna": toy_mudata(1)["rna"]})
    np.testing.assert_allclose(model.predict("atac", "rna", mdata=only, library_size=5), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("own", [True, False], ids=["with data", "without data"])
def test_what_was_completed_is_not_kept(own, tmp_path):
    model = trained()
    if not own:
        model = without_data(model, tmp_path)
    whole = toy_mudata(2)
    model.predict("atac", "rna", mdata=MuData({"rna": whole["rna"]}))
    kept = len(model._per_instance_manager_store[model.id])
    for m in ("rna", "atac", "rna"):
        only = MuData({m: whole[m]})
        model.predict(source=m, target="atac", mdata=only)
        model.variance_explained(only)
    assert len(model._per_instance_manager_store[model.id]) == kept == own + 1


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


@pytest.mark.parametrize("change", ["order", "names", "fewer"])
def test_a_model_is_not_loaded_with_other_variables(change, tmp_path):
    model, data = trained(), toy_mudata(2)
    model.save(tmp_path / "model")
    rna = data["rna"][:, ::-1] if change == "order" else data["rna"][:, :9] if change == "fewer" else data["rna"]
    rna = rna.copy()
    if change == "names":
        rna.var_names = [f"other{j}" for j in range(rna.n_vars)]
    words = "'rna' are not in the order of the setup" if change == "order" else "'rna' lacks"
    other = with_modality(data, "rna", rna)
    with pytest.raises(ValueError, match=words):
        type(model).load(tmp_path / "model", adata=other, accelerator="cpu")
    assert not [key for key in other.uns if "scvi" in key]
    with pytest.raises(TypeError, match="Expected a MuData, got AnnData"):
        type(model).load(tmp_path / "model", adata=rna, accelerator="cpu")
    with pytest.raises(TypeError, match="`load` takes no `datamodule`"):
        type(model).load(tmp_path / "model", adata=False, datamodule=object(), accelerator="cpu")


@pytest.mark.parametrize(
    ("argument", "key", "given"),
    [("batch_key", "batch", "batch"), ("categorical_covariate_keys", "sex", ["sex"])],
)
def test_new_categories_are_refused_and_leave_no_trace(argument, key, given):
    model, query = trained(setup={argument: given}), toy_mudata(2)
    query.obs[key] = "new"
    before = (set(query.uns), set(query.obs))
    with pytest.raises(ValueError, match=f"`{argument}`: '{key}' has categories .*'new'"):
        model.get_latent_representation(query)
    assert (set(query.uns), set(query.obs)) == before


def test_what_changed_in_new_data_is_read_anew():
    model, query = trained(setup={"batch_key": "batch"}, encode_covariates=True), toy_mudata(2)
    model.get_latent_representation(query)
    query.obs["batch"] = "a"
    again, fresh = model.get_latent_representation(query), toy_mudata(2)
    fresh.obs["batch"] = "a"
    np.testing.assert_allclose(again, model.get_latent_representation(fresh), rtol=1e-5, atol=1e-6)


def test_masks_have_an_entry_a_cell_and_a_query_has_cells():
    model = trained()
    with pytest.raises(IndexError):
        model.get_latent_representation(indices=np.ones(10, dtype=bool))
    assert model.get_latent_representation(indices=5).shape == (1, 3)
    with pytest.raises(ValueError, match="no cells"):
        model.get_latent_representation(toy_mudata(2)[:0].copy())


def test_a_source_named_twice_counts_once():
    model = trained()
    once, twice = (
        model.predict("rna", source, return_numpy=True) for source in (["atac", "rna"], ["atac", "rna", "atac"])
    )
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("order", [("rna", "atac"), ("atac", "rna")])
def test_cells_keep_their_order_where_a_modality_is_not_there(order):
    """Whatever the order of the modalities: mudata's copies put cells that lack one elsewhere."""
    whole = toy_mudata(3, absent=True)
    model = trained(whole, setup={"batch_key": "batch"})
    query = MuData({m: whole[m].copy() for m in order})
    query.obs["batch"] = whole.obs["batch"].astype(str).loc[query.obs_names].to_numpy()
    names = query.obs_names.copy()
    cells = whole.obs_names.get_indexer(names)
    for m in order:
        found = model.get_latent_representation(query, modality=m)
        np.testing.assert_allclose(
            found, model.get_latent_representation(indices=cells, modality=m), rtol=1e-4, atol=1e-5
        )
    assert list(model.predict("protein", "rna", mdata=query).index) == list(query.obs_names) == list(names)


def test_views_of_cells_in_another_order():
    """Of cells that all have all modalities as they are; where some lack one, mudata's copy may not keep the order."""
    mdata = toy_mudata(2, absent=True)
    model = trained(mdata)
    expected = model.get_latent_representation(indices=np.arange(mdata.n_obs)[::-1])
    view = mdata[::-1]
    names = list(view.obs_names)
    if list(mdata[::-1].copy().obs_names) == names:
        np.testing.assert_allclose(model.get_latent_representation(view), expected, rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match="`indices`"):
            model.get_latent_representation(view)
        assert list(view.obs_names) == names
    paired = toy_mudata(2)
    view = paired[:30]
    model.get_latent_representation(view)  # which makes it a MuData of its own
    for own in (view, paired):
        vennvi.MVAE.setup_mudata(own)
    vennvi.MVAE(view, n_shared=2, n_private=2)
    model = trained(paired)
    found = model.get_latent_representation(paired[::-1])
    np.testing.assert_allclose(found, model.get_latent_representation()[::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(np.log1p, "'nb' does not fit modality 'rna', which holds real values", id="log-normalised"),
        pytest.param(np.negative, "'nb' does not fit modality 'rna'", id="negative"),
    ],
)
def test_values_that_contradict_the_likelihood_are_refused(change, message):
    model, query = trained(), toy_mudata(2)
    query["rna"].X = change(query["rna"].X.toarray())
    with pytest.raises(ValueError, match=message):
        model.get_latent_representation(query)


def test_training_reads_the_columns_of_its_own_setup():
    """Five models on one MuData: what the last one set up is not what the first one trains on."""
    mdata = toy_mudata(2)
    losses = []
    for another in (False, True):
        scvi.settings.seed = 0
        vennvi.MMVAE.setup_mudata(mdata, batch_key="batch")
        model = vennvi.MMVAE(mdata, n_shared=3, n_private=2, n_hidden=16)
        if another:
            vennvi.MVAE.setup_mudata(mdata, batch_key="sex")
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        losses.append(model.history["train_loss"].to_numpy(float))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
