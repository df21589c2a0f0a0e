"""Explained variance against the closed form of a linear model, and against naive computation on whole matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from linear_model import N_PRIVATE, N_SHARED, linear_model
from mudata import MuData
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import expit
from toy import toy_mudata

import vennvi
from vennvi.metrics import deviance_explained

LIKELIHOODS = {"rna": "nb", "atac": "bernoulli", "protein": "normal", "methylation": "normal"}


def by_block(table, modality):
    return table[(table["modality"] == modality) & table["dimension"].isna()].set_index("block")


# ------------------------------------------------------------------------------------------------------ linear case
def test_linear_model_against_its_own_arithmetic():
    linear = linear_model()
    held_out = linear.model.validation_indices
    table = linear.model.variance_explained()
    latents = linear.latents(held_out)
    shared = np.mean([z[:, :N_SHARED] for z in latents.values()], axis=0)
    for m, x in linear.x.items():
        truth, private = x[held_out], latents[m][:, N_SHARED:]
        (other,) = set(linear.x) - {m}

        def explained(s, p, truth=truth, x=x, m=m):
            predicted = x.mean(0) + np.hstack([s, p]) @ linear.loadings[m]
            return 1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()

        s_mean, p_mean = np.broadcast_to(shared.mean(0), shared.shape), np.broadcast_to(private.mean(0), private.shape)
        everything, nothing = explained(shared, private), explained(s_mean, p_mean)
        cross = latents[other][:, :N_SHARED]
        expected = {
            "shared": (explained(shared, p_mean), everything - explained(s_mean, private)),
            "cross": (explained(cross, 0 * private), explained(cross, private) - explained(s_mean, private)),
            "private": (explained(s_mean, private), everything - explained(shared, p_mean)),
            "all": (everything, everything - nothing),
        }
        blocks = by_block(table, m)
        assert list(blocks.index) == list(expected)
        for block, values in expected.items():
            np.testing.assert_allclose(blocks.loc[block, ["alone", "incremental"]].astype(float), values, atol=1e-5)
        rows = table[(table["modality"] == m) & table["dimension"].notna()]
        assert list(rows["block"]) == ["shared"] * N_SHARED + ["private"] * N_PRIVATE
        for row in rows.itertuples():
            only_s, only_p, rest_s, rest_p = s_mean.copy(), p_mean.copy(), shared.copy(), private.copy()
            source, only, rest, mean = (
                (shared, only_s, rest_s, s_mean) if row.block == "shared" else (private, only_p, rest_p, p_mean)
            )
            only[:, row.dimension], rest[:, row.dimension] = source[:, row.dimension], mean[:, row.dimension]
            assert row.alone == pytest.approx(explained(only_s, only_p) - nothing, abs=1e-5)
            assert row.incremental == pytest.approx(everything - explained(rest_s, rest_p), abs=1e-5)
    assert (table["measure"] == "R2").all()
    assert (table["n_cells"] == len(held_out)).all()


def test_linear_model_against_the_closed_form():
    """Independent standard normal latents: squared loadings over the variance; parts sum to the whole."""
    linear = linear_model(n_obs=6000, n_features=60, noise=0.3)
    table = linear.model.variance_explained()
    for m, w in linear.loadings.items():
        variance = (w**2).sum(0) + linear.noise**2
        blocks = by_block(table, m)
        for block, part in {"shared": w[:N_SHARED], "private": w[N_SHARED:], "all": w}.items():
            expected = (part**2).sum() / variance.sum()
            np.testing.assert_allclose(blocks.loc[block, ["alone", "incremental"]].astype(float), expected, atol=0.04)
        assert blocks.loc["cross", "alone"] == pytest.approx(blocks.loc["shared", "alone"], abs=0.04)
        assert blocks["alone"]["shared"] + blocks["alone"]["private"] == pytest.approx(blocks["alone"]["all"], abs=0.04)
        dimensions = table[(table["modality"] == m) & table["dimension"].notna()]
        np.testing.assert_allclose(dimensions["alone"], (w**2).sum(1) / variance.sum(), atol=0.04)
    linear.model.write_variance_explained()
    for m, w in linear.loadings.items():
        variance = (w**2).sum(0) + linear.noise**2
        var = linear.model.adata[m].var
        np.testing.assert_allclose(var["r2_shared"], (w[:N_SHARED] ** 2).sum(0) / variance, atol=0.08)
        np.testing.assert_allclose(var["r2_private"], (w[N_SHARED:] ** 2).sum(0) / variance, atol=0.08)
        np.testing.assert_allclose(var["r2_total"], (w**2).sum(0) / variance, atol=0.06)


# ------------------------------------------------------------------------------------------------- naive computation
def whole(mdata, m):
    """A modality's matrix in the order of the MuData's cells, float64, NaN where a cell lacks it."""
    x = mdata[m].X.toarray() if sparse.issparse(mdata[m].X) else mdata[m].X
    return pd.DataFrame(x.astype(float), index=mdata[m].obs_names).reindex(mdata.obs_names).to_numpy()


def null_of_binary(x, size):
    """Means of 0/1 data whose log-odds are a feature's constant plus the log of the depth, by root finding."""
    means = np.full(x.shape, np.nan)
    for j, column in enumerate(x.T):
        if 0 < column.sum() < len(column):
            a = brentq(lambda a, column=column: expit(a + np.log(size)).sum() - column.sum(), -30, 30)
            means[:, j] = expit(a + np.log(size))
    return means


def naive(model, mdata, m, s, p, cells, covariates=None):
    """Explained fractions of one prediction by whole matrices; ``s`` and ``p`` are of ``cells``."""
    likelihood, module = model.module.likelihood(m), model.module
    name = {"rna": LIKELIHOODS["rna"]}.get(m)
    x = whole(mdata, m)
    total = np.nansum(x, axis=1)
    size = np.maximum(total / np.median(total[~np.isnan(x).all(1)]), 1e-4) if m in ("rna", "atac") else np.ones(len(x))
    x, size = x[cells], size[cells]
    kept = ~(np.isnan(x).all(1) | np.isnan(s).any(1))
    if covariates is None and module.n_covariates:
        covariates = pd.get_dummies(mdata.obs["batch"]).to_numpy(dtype="f4")
        covariates = np.hstack([covariates, mdata.obs[["age"]].to_numpy(dtype="f4")])[cells]
    x, size, z = x[kept], size[kept], np.hstack([s, p])[kept]
    with torch.inference_mode():
        c = None if covariates is None else torch.as_tensor(covariates[kept])
        outputs = module.decode(m, torch.as_tensor(z), c)
        mean = likelihood.expected(outputs, torch.as_tensor(size, dtype=torch.float32)[:, None]).numpy()
    if m == "atac":
        deviance = [deviance_explained(x, mu, "bernoulli") for mu in (mean, null_of_binary(x, size))]
        ratio = [(1 - d.per_feature) for d in deviance]
        # both are fractions of the deviance from the plain frequency: their ratio is of the depth-aware one
        constant = np.isnan(x).all(0) | (np.nanmin(x, axis=0) == np.nanmax(x, axis=0))
        return np.where(constant, np.nan, 1 - ratio[0] / ratio[1])
    kind = {"rna": "poisson" if name == "poisson" else "nb"}.get(m, "normal")
    theta = likelihood.theta.detach().numpy() if kind == "nb" else None
    return deviance_explained(
        x, mean.astype(float), kind, theta=theta, size_factor=size if m == "rna" else None
    ).per_feature  # fmt: skip


@pytest.mark.parametrize("rna", ["nb", "poisson", "zinb"])
@pytest.mark.parametrize("cls", [vennvi.MVAE, vennvi.MMVAEPlusPlus], ids=lambda cls: cls.__name__)
def test_every_likelihood_against_whole_matrices(cls, rna, monkeypatch):
    monkeypatch.setitem(LIKELIHOODS, "rna", rna)
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    cls.setup_mudata(mdata, batch_key="batch", continuous_covariate_keys=["age"])
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16, likelihoods=LIKELIHOODS)
    model.train(max_epochs=15, train_size=0.5, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 1e-2})
    cells = np.sort(model.validation_indices)
    model.write_variance_explained(batch_size=7)
    s = model.get_latent_representation(indices=cells)
    for m in model.modalities:
        p = model.get_latent_representation(indices=cells, space="private", modality=m)
        has = ~np.isnan(p).any(1)
        s_rest, p_rest = (np.where(has[:, None], z[has].mean(0), np.nan).astype("f4") for z in (s, p))
        var = mdata[m].var
        for column, (shared, private) in {
            "r2_shared": (s, p_rest),
            "r2_private": (s_rest, p),
            "r2_total": (s, p),
        }.items():
            expected = naive(model, mdata, m, shared, private, cells)
            np.testing.assert_allclose(var[column], expected, rtol=1e-3, atol=2e-4, err_msg=f"{m} {column}")
        # cross-modal: what `predict` says
        others = [o for o in model.modalities if o != m]
        predicted = model.predict(m, others, indices=cells, return_numpy=True).astype(float)
        x = np.where(np.isnan(predicted), np.nan, whole(mdata, m)[cells])
        if m == "protein":
            np.testing.assert_allclose(
                var["r2_cross"], deviance_explained(x, predicted, "normal").per_feature, rtol=1e-3
            )
        if m == "rna":
            kept = ~np.isnan(x).any(1)
            theta = None if rna == "poisson" else model.module.likelihood(m).theta.detach().numpy()
            expected = deviance_explained(
                x[kept], predicted[kept], "poisson" if rna == "poisson" else "nb", theta=theta, size_factor=x[kept].sum(1)
            ).per_feature  # fmt: skip
            np.testing.assert_allclose(var["r2_cross"], expected, rtol=1e-3, atol=2e-4)


def test_numbers_do_not_depend_on_the_batch_size_and_are_sums_over_features():
    mdata = toy_mudata(4, absent=True, missing_entries=True)
    model = fitted(mdata, train_size=0.5)
    a, b = model.variance_explained(batch_size=3), model.variance_explained(batch_size=100)
    pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-5)
    model.write_variance_explained(key_suffix="_new")
    x = whole(mdata, "methylation")[np.sort(model.validation_indices)]
    spread = np.nansum((x - np.nanmean(x, axis=0)) ** 2, axis=0)
    expected = np.average(mdata["methylation"].var["r2_private_new"], weights=spread)
    assert by_block(a, "methylation").loc["private", "alone"] == pytest.approx(expected, rel=1e-4)


def fitted(mdata, train_size=None, setup=None, cls=vennvi.MMVAEPlusPlus, **kwargs):
    cls.setup_mudata(mdata, **(setup or {}))
    model = cls(mdata, **({"n_shared": 3, "n_private": 2, "n_hidden": 16} | kwargs))
    model.train(max_epochs=2, train_size=train_size, accelerator="cpu", enable_progress_bar=False)
    return model


# ------------------------------------------------------------------------------------------------- which cells, edges
def test_which_cells():
    mdata = toy_mudata(2)
    model = fitted(mdata, train_size=0.5)
    n = by_block(model.variance_explained(dimensions=False), "rna")["n_cells"]
    assert set(n) == {30}
    assert set(model.variance_explained(mdata, dimensions=False)["n_cells"]) == {30}  # the MuData trained on
    assert set(model.variance_explained(mdata.copy(), dimensions=False)["n_cells"]) == {60}
    assert set(model.variance_explained(indices=[0, 4, 5, 9], dimensions=False)["n_cells"]) == {4}
    with pytest.raises(ValueError, match="chooses no cell"):
        model.variance_explained(indices=[])


def test_test_cells_are_held_out_too():
    mdata = toy_mudata(2)
    vennvi.MVAE.setup_mudata(mdata)
    model = vennvi.MVAE(mdata, n_shared=2, n_private=2, n_hidden=8)
    split = {"external_indexing": [np.arange(40), None, np.arange(40, 60)]}
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, datasplitter_kwargs=split)
    explicit = model.variance_explained(indices=np.arange(40, 60))
    pd.testing.assert_frame_equal(model.variance_explained(), explicit)


def test_all_cells_without_a_split():
    model = fitted(toy_mudata(2), train_size=1.0)
    assert set(model.variance_explained(dimensions=False)["n_cells"]) == {60}


def test_cells_that_lack_a_modality_are_counted():
    mdata = toy_mudata(2, absent=True)
    model = fitted(mdata)
    table = model.variance_explained(indices=np.arange(60), dimensions=False)
    rna = by_block(table, "rna")["n_cells"]
    both = mdata["rna"].obs_names.isin(mdata["atac"].obs_names).sum()
    assert (rna["all"], rna["cross"]) == (mdata["rna"].n_obs, both)


def test_a_row_of_nan_is_an_absent_cell():
    mdata = toy_mudata(4)
    mdata["protein"].X[:7] = np.nan
    table = fitted(mdata).variance_explained(indices=np.arange(60), dimensions=False)
    assert by_block(table, "protein")["n_cells"].to_list() == [53] * 4
    assert by_block(table, "rna")["n_cells"].to_list() == [60] * 4
    assert table["alone"].notna().all()


def test_given_size_factors_are_in_the_null_model():
    mdata = toy_mudata(2)
    depth = np.random.default_rng(1).lognormal(size=60)
    mdata["rna"].obs["depth"] = depth
    model = fitted(mdata, setup={"size_factor_key": {"rna": "depth"}})
    model.write_variance_explained(indices=np.arange(60))
    predicted, theta = model.predict("rna", "atac", return_numpy=True), model.module.likelihood("rna").theta
    expected = deviance_explained(mdata["rna"].X, predicted, "nb", theta=theta.detach().numpy(), size_factor=depth)
    np.testing.assert_allclose(mdata["rna"].var["r2_cross"], expected.per_feature, rtol=1e-3, atol=1e-4)


def test_covariates_are_a_block_of_their_own():
    """Data that only the covariate moves: it explains them, the latents do not."""
    rng = np.random.default_rng(0)
    mdata = toy_mudata(4)
    batch = mdata.obs["batch"].cat.codes.to_numpy()[:, None]
    for m in ("protein", "methylation"):
        mdata[m].X = (batch * rng.normal(size=mdata[m].n_vars) + 0.01 * rng.normal(size=mdata[m].shape)).astype("f4")
    vennvi.MMVAE.setup_mudata(mdata, layers=["protein", "methylation"], batch_key="batch")
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2, n_hidden=16)
    model.train(max_epochs=150, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 1e-2}, batch_size=60)
    blocks = by_block(model.variance_explained(indices=np.arange(60)), "protein")
    assert list(blocks.index) == ["shared", "cross", "private", "covariates", "all"]
    assert blocks.loc["covariates", "alone"] > 0.5
    assert blocks.loc["all", "alone"] > 0.9


def test_one_modality_has_no_cross():
    mdata = toy_mudata(2)
    model = fitted(mdata, setup={"layers": ["rna"]}, cls=vennvi.MVAE)
    assert list(by_block(model.variance_explained(), "rna").index) == ["shared", "private", "all"]
    model.write_variance_explained()
    assert list(mdata["rna"].var) == ["r2_shared", "r2_private", "r2_total"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_private_dimensions_explain_nothing_more():
    mdata = toy_mudata(2)
    blocks = by_block(fitted(mdata, n_private=0, cls=vennvi.MVAE).variance_explained(), "rna")
    assert blocks.loc["private", "incremental"] == pytest.approx(0, abs=1e-6)


def test_writing_touches_nothing_else():
    mdata = toy_mudata(3)
    model = fitted(mdata)
    copy = mdata.copy()
    model.write_variance_explained(copy)
    assert list(copy["rna"].var) == ["r2_shared", "r2_cross", "r2_private", "r2_total"]
    assert list(mdata["rna"].var) == []
    assert set(copy.uns) == set(mdata.uns)
    with pytest.raises(ValueError, match="is a view"):
        model.write_variance_explained(copy[:10])


def test_new_data_may_lack_a_modality():
    mdata = toy_mudata(3)
    model = fitted(mdata)
    part = MuData({m: mdata[m].copy() for m in ("rna", "atac")})
    table = model.variance_explained(part, dimensions=False)
    assert table[table["modality"] == "protein"]["alone"].isna().all()
    assert table[table["modality"] == "rna"]["alone"].notna().all()
    model.write_variance_explained(part)
    assert "r2_total" in part["atac"].var
