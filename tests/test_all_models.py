"""The contract that every model meets, whatever its objective."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scvi.model.base import BaseModelClass
from scvi.module.base import BaseModuleClass
from toy import N_OBS, toy_mudata

import vennvi

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]
LIKELIHOODS = {"rna": "nb", "atac": "bernoulli", "protein": "normal", "methylation": "normal"}


@pytest.fixture(params=MODELS, ids=lambda cls: cls.__name__)
def cls(request):
    return request.param


def fit(cls, mdata, max_epochs=2, setup=None, **kwargs):
    cls.setup_mudata(mdata, **(setup or {"batch_key": "batch"}))
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16, **kwargs)
    model.train(max_epochs=max_epochs, batch_size=32, accelerator="cpu", enable_progress_bar=False)
    return model


def spaces(model, mdata=None, **kwargs):
    """Every latent space of a model, by name."""
    read = model.get_latent_representation
    found = {"joint": read(mdata, **kwargs)}
    for m in model.modalities:
        found[f"shared {m}"] = read(mdata, modality=m, **kwargs)
        found[f"private {m}"] = read(mdata, space="private", modality=m, **kwargs)
    return found


def assert_same_spaces(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name, latents in a.items():
        np.testing.assert_allclose(latents, b[name], err_msg=name, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


@pytest.mark.parametrize("n_modalities", [2, 3, 4])
@pytest.mark.parametrize("absent", [pytest.param(False, id="paired"), pytest.param(True, id="absent cells")])
def test_setup_train_and_latents(cls, n_modalities, absent):
    mdata = toy_mudata(n_modalities, absent=absent, missing_entries=True, permuted=True)
    model = fit(cls, mdata)
    assert isinstance(model, BaseModelClass)
    assert isinstance(model.module, BaseModuleClass)
    assert model.modalities == tuple(mdata.mod)
    for name, latents in spaces(model).items():
        assert latents.shape == (N_OBS, 2 if name.startswith("private") else 3)
        m = name.split()[-1]
        lacking = np.zeros(N_OBS, bool) if name == "joint" else ~mdata.obs_names.isin(mdata[m].obs_names)
        np.testing.assert_array_equal(np.isnan(latents).any(1), lacking, err_msg=name)
        assert np.isfinite(latents[~lacking]).all()
        assert latents[~lacking].std() > 0
    history = model.history
    assert {"train_loss", "elbo_train", "kl_weight", "kl_private_rna_train"} <= set(history)
    terms = [key for key in history if key.startswith("reconstruction_") and "_to_" in key]
    assert len(terms) == len(model.module.objective.terms)
    assert all(len(curve) == 2 and np.isfinite(curve.to_numpy(float)).all() for curve in history.values())


def test_what_is_stored_for_an_absent_cell_does_not_matter(cls):
    """Zeros or garbage in the rows of a minibatch where the mask is 0: same loss, same gradients, same latents."""
    mdata = toy_mudata(3, absent=True)
    model = fit(cls, mdata, max_epochs=1)
    module = model.module.train()
    tensors = next(iter(model._make_data_loader(adata=mdata, batch_size=N_OBS)))
    results = []
    for garbage in (0.0, 7.0):
        filled = dict(tensors)
        for m in model.modalities:
            x = tensors[f"X_{m}"]
            x = x.to_dense() if x.layout == torch.sparse_csr else x
            filled[f"X_{m}"] = torch.where(tensors[f"mask_{m}"] > 0, x, garbage)
        module.zero_grad()
        torch.manual_seed(0)
        _, _, output = module(filled, loss_kwargs={"kl_weight": 0.5})
        output.loss.backward()
        results.append((output.loss.detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=0)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_row_order_does_not_matter(cls):
    """The same cells in another order in each modality: the same training, cell by cell."""
    paired, permuted = toy_mudata(3, absent=True), toy_mudata(3, absent=True, permuted=True)
    permuted = mudata.MuData({m: permuted[m] for m in permuted.mod})
    for column in paired.obs:
        permuted.obs[column] = paired.obs[column].reindex(permuted.obs_names)
    order = permuted.obs_names.get_indexer(paired.obs_names)
    a = fit(cls, paired, max_epochs=1)
    cls.setup_mudata(permuted, batch_key="batch")
    b = cls(permuted, n_shared=3, n_private=2, n_hidden=16)
    b.module.load_state_dict(a.module.state_dict())
    b.is_trained = True
    assert_same_spaces(spaces(a), {name: z[order] for name, z in spaces(b).items()})
    np.testing.assert_allclose(
        a.predict("atac", "rna", return_numpy=True),
        b.predict("atac", "rna", return_numpy=True)[order],
        rtol=1e-4,
        atol=1e-6,
    )


def test_training_is_reproducible(cls):
    import scvi

    runs = []
    for _ in range(2):
        scvi.settings.seed = 3
        runs.append(spaces(fit(cls, toy_mudata(2))))
    assert_same_spaces(*runs, rtol=0, atol=0)


def test_indices_and_batch_size_do_not_change_a_latent(cls):
    model = fit(cls, toy_mudata(3, absent=True))
    some = [5, 3, 41, 7]
    full = spaces(model)
    assert_same_spaces({k: v[some] for k, v in full.items()}, spaces(model, indices=some))
    assert_same_spaces(full, spaces(model, batch_size=7))


def test_samples(cls):
    model = fit(cls, toy_mudata(2, absent=True))
    for space, m in (("shared", None), ("shared", "rna"), ("private", "rna")):
        mean = model.get_latent_representation(space=space, modality=m)
        draws = model.get_latent_representation(space=space, modality=m, give_mean=False, n_samples=400)
        assert draws.shape == (400, *mean.shape)
        np.testing.assert_array_equal(np.isnan(draws[0]), np.isnan(mean))
        spread = np.nanmax(np.nanstd(draws[:, ~np.isnan(mean).any(1)], axis=0))
        np.testing.assert_allclose(np.nan_to_num(draws.mean(0)), np.nan_to_num(mean), atol=6 * spread / np.sqrt(400))


@pytest.mark.parametrize("joint", ["mean", "precision"])
def test_variances_are_those_of_the_samples(cls, joint):
    model = fit(cls, toy_mudata(2, absent=True))
    for space, m in (("shared", None), ("shared", "rna"), ("private", "rna")):
        where = {"space": space, "modality": m, "joint": joint}
        mean, variance = model.get_latent_representation(return_dist=True, **where)
        np.testing.assert_array_equal(mean, model.get_latent_representation(**where))
        np.testing.assert_array_equal(np.isnan(variance), np.isnan(mean))
        draws = model.get_latent_representation(give_mean=False, n_samples=2000, **where)
        np.testing.assert_allclose(draws.var(0), variance, rtol=0.25)
        assert np.nanmean(draws.var(0)) == pytest.approx(np.nanmean(variance), rel=0.02)
    with pytest.raises(ValueError, match="it excludes `give_mean=False`"):
        model.get_latent_representation(give_mean=False, return_dist=True)


def test_precision_joint_is_the_precision_weighted_mean(cls):
    mdata = toy_mudata(2, absent=True)
    model = fit(cls, mdata)
    q = next(iter(model._posteriors(None, None, N_OBS)))
    present = {m: (q[2][m] > 0).numpy() for m in model.modalities}
    prior = float(cls in (vennvi.MVAE, vennvi.MoPoEVAE))
    precision = {m: present[m] / q[0][m].scale.detach().numpy() ** 2 for m in model.modalities}
    expected = sum(precision[m] * q[0][m].loc.detach().numpy() for m in model.modalities) / (
        prior + sum(precision.values())
    )
    np.testing.assert_allclose(model.get_latent_representation(joint="precision"), expected, rtol=1e-4, atol=1e-5)
    if not prior:
        count = sum(present.values())
        mean = sum(np.where(present[m], q[0][m].loc.detach().numpy(), 0) for m in model.modalities) / count
        np.testing.assert_allclose(model.get_latent_representation(joint="mean"), mean, rtol=1e-4, atol=1e-5)


# of cells without any count, alike to the last digit, scanpy's first neighbour may be another
@pytest.mark.filterwarnings("ignore:Changing the sparsity structure")
def test_write_latents_survives_a_round_trip_and_scanpy(cls, tmp_path):
    mdata = toy_mudata(3, absent=True, permuted=True)
    model = fit(cls, mdata)
    before = {m: mdata[m].X.copy() for m in mdata.mod}
    model.write_latents(mdata, key_suffix="_v")
    mdata.write(tmp_path / "latents.h5mu")
    read = mudata.read_h5mu(tmp_path / "latents.h5mu")
    found = spaces(model)
    np.testing.assert_array_equal(read.obsm["X_shared_v"], found["joint"])
    for m in mdata.mod:
        rows = mdata.obs_names.get_indexer(mdata[m].obs_names)
        np.testing.assert_array_equal(read[m].obsm["X_private_v"], found[f"private {m}"][rows])
        np.testing.assert_array_equal(read[m].obsm["X_shared_v"], found[f"shared {m}"][rows])
        assert (before[m] != mdata[m].X).sum() == 0
    for data, rep in [(mdata, "X_shared_v"), *((mdata[m], "X_private_v") for m in mdata.mod)]:
        sc.pp.neighbors(data, use_rep=rep, n_neighbors=5)
        sc.tl.leiden(data, flavor="igraph", n_iterations=2, directed=False)
        sc.tl.umap(data, maxiter=5, init_pos="random")  # the spectral one may fail on a part of five cells
        assert data.obsm["X_umap"].shape == (data.n_obs, 2)


@pytest.mark.parametrize("with_data", [True, False])
def test_save_and_load(cls, tmp_path, with_data):
    mdata = toy_mudata(3, absent=True, missing_entries=True)
    model = fit(cls, mdata, setup={"batch_key": "batch", "labels_key": "label"})
    model.save(tmp_path / "model", save_anndata=with_data)
    loaded = cls.load(tmp_path / "model", adata=None if with_data else False, accelerator="cpu")
    assert loaded.modalities == model.modalities
    assert {m: list(v) for m, v in loaded.get_var_names().items()} == {m: list(mdata[m].var_names) for m in mdata.mod}
    if not with_data:  # a model without data takes data like those it was trained on
        loaded.save(tmp_path / "again")
        loaded = cls.load(tmp_path / "again", adata=toy_mudata(3, absent=True, missing_entries=True), accelerator="cpu")
    assert_same_spaces(spaces(model), spaces(loaded))
    pd.testing.assert_frame_equal(model.predict("protein", "rna"), loaded.predict("protein", "rna"))
    pd.testing.assert_frame_equal(model.predict_labels()[1], loaded.predict_labels()[1])


def test_query_data(cls):
    """New cells of the same modalities, fewer of them and in another order."""
    mdata = toy_mudata(3)
    model = fit(cls, mdata)
    query = toy_mudata(3)[np.random.default_rng(0).permutation(N_OBS)[:45]].copy()
    rows = mdata.obs_names.get_indexer(query.obs_names)
    assert_same_spaces({k: v[rows] for k, v in spaces(model).items()}, spaces(model, query))
    model.write_latents(query)
    np.testing.assert_allclose(query.obsm["X_shared"], spaces(model)["joint"][rows], rtol=1e-4, atol=1e-5)


def test_predict_is_the_decoder_of_the_latents(cls):
    mdata = toy_mudata(4, absent=True, missing_entries=True)
    model = fit(cls, mdata)
    module = model.module
    batch = torch.nn.functional.one_hot(
        torch.as_tensor(mdata.obs["batch"].cat.codes.to_numpy(copy=True)).long(), 3
    ).float()
    for target in model.modalities:
        has = mdata.obs_names.isin(mdata[target].obs_names)
        for source in ("rna", ["rna", "protein"], None):
            names = model.modalities if source is None else [source] if isinstance(source, str) else source
            s = (
                spaces(model)["joint"]
                if source is None
                else model.get_latent_representation(modality=source)
                if isinstance(source, str)
                else None
            )
            found = model.predict(target, source)
            assert found.shape == (N_OBS, mdata[target].n_vars)
            assert list(found.columns) == list(mdata[target].var_names)
            if s is None:
                continue
            p = model.get_latent_representation(space="private", modality=target)
            p = np.where((has & (target in names))[:, None], p, 0.0)
            with torch.inference_mode():
                code = torch.cat([torch.as_tensor(s), torch.as_tensor(p, dtype=torch.float32), batch], dim=-1)
                outputs = module.decoders[target](code).numpy()
            if target in ("protein", "methylation"):
                x = pd.DataFrame(mdata[target].X, index=mdata[target].obs_names)
                expected = outputs * np.nanstd(x, axis=0) + np.nanmean(x, axis=0)
            elif target == "rna":
                total = pd.Series(np.asarray(mdata["rna"].X.sum(1)).ravel(), index=mdata["rna"].obs_names)
                depth = total.reindex(mdata.obs_names).fillna(total.median()).to_numpy()[:, None]
                expected = depth * torch.softmax(torch.as_tensor(outputs), -1).numpy()
            else:
                total = pd.Series(np.asarray(mdata["atac"].X.sum(1)).ravel(), index=mdata["atac"].obs_names)
                depth = (total / total.median()).clip(1e-4).reindex(mdata.obs_names).fillna(1.0).to_numpy()[:, None]
                expected = 1 / (1 + np.exp(-outputs) / depth)
            np.testing.assert_allclose(found.to_numpy(), expected, rtol=2e-3, atol=2e-4)


def test_predict_options(cls):
    mdata = toy_mudata(3)
    model = fit(cls, mdata)
    names = ["rna3", "rna1"]
    full = model.predict("rna", "atac")
    pd.testing.assert_frame_equal(model.predict("rna", "atac", var_names=names), full[names])
    some = [4, 2]
    np.testing.assert_allclose(model.predict("rna", "atac", indices=some), full.iloc[some], rtol=1e-4)
    doubled = model.predict("rna", "atac", library_size=200) / model.predict("rna", "atac", library_size=100)
    np.testing.assert_allclose(doubled, 2.0, rtol=1e-4)
    drawn = model.predict("rna", "atac", give_mean=False, n_samples=200)
    assert np.corrcoef(drawn.to_numpy().ravel(), full.to_numpy().ravel())[0, 1] > 0.9
    with pytest.raises(ValueError, match="no variables 'nope'"):
        model.predict("rna", var_names=["nope"])
    with pytest.raises(ValueError, match="`target` is 'xyz'"):
        model.predict("xyz")
    with pytest.raises(ValueError, match="`source` is 'xyz'"):
        model.predict("rna", ["atac", "xyz"])


def test_labels(cls):
    """Labels that the data hold are learned; unlabelled cells are predicted, not learned from."""
    mdata = toy_mudata(2, absent=True)
    setup = {"labels_key": "partial_label", "unlabeled_category": "unknown"}
    model = fit(cls, mdata, max_epochs=120, setup=setup)
    labels, probabilities = model.predict_labels()
    assert list(probabilities.columns) == ["high", "low"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert (labels == probabilities.idxmax(axis=1)).all()
    labelled = (mdata.obs["partial_label"] != "unknown").to_numpy()
    truth = mdata.obs["label"].astype(str).to_numpy()
    assert (labels.astype(str).to_numpy() == truth)[labelled].mean() > 0.9
    assert {"classification_train", "accuracy_train"} <= set(model.history)
    alone, _ = model.predict_labels(modality="rna")
    assert alone.isna().sum() == N_OBS - mdata["rna"].n_obs
    with pytest.raises(ValueError, match="no labels"):
        fit(cls, toy_mudata(2)).predict_labels()


def test_covariates_reach_the_decoders_and_on_request_the_encoders(cls):
    mdata = toy_mudata(2)
    setup = {
        "batch_key": "batch",
        "categorical_covariate_keys": ["sex"],
        "continuous_covariate_keys": ["age"],
    }
    model = fit(cls, mdata, setup=setup)
    assert model.module.n_covariates == 3 + 2 + 1
    other = toy_mudata(2)
    other.obs["age"] = other.obs["age"].to_numpy()[::-1].copy()
    assert_same_spaces(spaces(model), spaces(model, other))
    assert not np.allclose(model.predict("rna", mdata=other), model.predict("rna"))
    encoded = fit(cls, mdata, setup=setup, encode_covariates=True)
    assert not np.allclose(spaces(encoded)["joint"], spaces(encoded, other)["joint"])


def test_early_stopping_and_validation_curves(cls):
    mdata = toy_mudata(2)
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(
        max_epochs=50, train_size=0.7, early_stopping=True, early_stopping_patience=1, early_stopping_min_delta=1e6,
        accelerator="cpu", enable_progress_bar=False,
    )  # fmt: skip
    assert len(model.history["train_loss"]) < 50
    assert {"elbo_validation", "reconstruction_rna_to_atac_validation"} <= set(model.history) | {
        "reconstruction_rna_to_atac_validation" if cls is vennvi.MVAE else ""
    }


def test_backed_data(cls, tmp_path):
    mdata = toy_mudata(3, absent=True, permuted=True)
    mdata.write(tmp_path / "toy.h5mu")
    model = fit(cls, mdata)
    model.save(tmp_path / "model")
    backed = mudata.read_h5mu(tmp_path / "toy.h5mu", backed=True)
    loaded = cls.load(tmp_path / "model", adata=backed, accelerator="cpu")
    shuffled = np.random.default_rng(0).permutation(N_OBS)
    assert_same_spaces(spaces(model, indices=shuffled), spaces(loaded, indices=shuffled))
    cls.setup_mudata(backed, batch_key="batch")
    trained = cls(backed, n_shared=3, n_private=2, n_hidden=16)
    trained.train(max_epochs=1, batch_size=32, accelerator="cpu", enable_progress_bar=False)
    backed.file.close()


def test_repr_says_what_the_model_is(cls, capsys):
    repr(fit(cls, toy_mudata(2)))  # scvi-tools prints it
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{cls.__name__}: 3 shared" in printed
    assert "rna nb" in printed
