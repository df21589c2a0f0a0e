"""The log-linear count model, checked against its stated truth."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from vennvi.data import simulate_multiome

FLAT = {"shared_effect": 0.0, "private_effect": 0.0, "batch_effect": 0.0, "depth_sd": 0.0}


@pytest.fixture(scope="module")
def mdata():
    return simulate_multiome(1500, n_genes=200, n_peaks=600, n_batches=3, seed=2)


def expected_counts(mdata, modality, features):
    """Means of some features from the truth stored in the MuData, written out as in the docstring."""
    adata = mdata[modality]
    s, p = mdata.obsm["true_shared"], adata.obsm["true_private"]
    batch = mdata.obs["batch"].cat.codes.to_numpy()
    columns = []
    for j in features:
        a = adata.varm["true_loadings"][j]
        g = adata.varm["true_batch_effect"][j]
        if adata.var["factor"].iloc[j] == "shared":
            eta = s @ a[: s.shape[1]] + g[batch]
        else:
            eta = p @ a[s.shape[1] :] + g[batch]
        size = adata.obs["size_factor"].to_numpy()
        columns.append(size * adata.var["rate"].iloc[j] * np.exp(eta) / np.exp(eta).mean())
    return np.stack(columns, axis=1)


def test_layout(mdata):
    assert list(mdata.mod) == ["rna", "atac"]
    assert mdata["rna"].shape == (1500, 200)
    assert mdata["atac"].shape == (1500, 600)
    assert mdata.var_names.is_unique
    assert mdata.obsm["true_shared"].shape == (1500, 2)
    assert list(mdata.obs["cell_type"].value_counts()) == [300] * 5
    assert list(mdata.obs["batch"].value_counts()) == [500] * 3
    for modality, n_shared_features in (("rna", 40), ("atac", 120)):
        adata = mdata[modality]
        assert sparse.issparse(adata.X)
        assert adata.X.format == "csr"
        assert adata.X.dtype == np.float32
        assert (adata.X.data >= 1).all()
        assert (adata.X.data == np.round(adata.X.data)).all()
        assert adata.obsm["true_private"].shape == (1500, 2)
        assert (adata.var["factor"] == "shared").sum() == n_shared_features
        assert (adata.var["factor"].iloc[:n_shared_features] == "shared").all()


def test_rna_is_negative_binomial_and_atac_poisson_about_the_stated_mean(mdata):
    for modality, theta in (("rna", 5.0), ("atac", np.inf)):
        features = range(0, mdata[modality].n_vars, 3)
        mean = expected_counts(mdata, modality, features)
        counts = mdata[modality].X[:, list(features)].toarray()
        variance = mean + mean**2 / theta
        assert abs((counts - mean).sum() / np.sqrt(variance.sum())) < 4
        assert np.mean((counts - mean) ** 2) / variance.mean() == pytest.approx(1, abs=0.1)
        no_count = stats.nbinom.pmf(0, theta, theta / (theta + mean)) if np.isfinite(theta) else np.exp(-mean)
        assert (counts == 0).mean() == pytest.approx(no_count.mean(), abs=0.005)


@pytest.mark.parametrize("theta", [0.5, 3.0, 50.0])
def test_negative_binomial_mean_variance(theta):
    mdata = simulate_multiome(3000, n_genes=200, n_peaks=1, rna_mean=3.0, rna_dispersion=theta, **FLAT)
    counts = mdata["rna"].X.toarray()
    mean = mdata["rna"].var["rate"].to_numpy()
    assert mean.mean() == pytest.approx(3)
    np.testing.assert_allclose(counts.mean(0), mean, atol=5 * np.sqrt((mean + mean**2 / theta).max() / 3000))
    ratio = counts.var(0) / (mean + mean**2 / theta)
    assert np.median(ratio) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("density", [0.01, 0.05, 0.3])
def test_atac_density(density):
    mdata = simulate_multiome(800, n_genes=1, n_peaks=1500, atac_density=density, seed=5)
    counts = mdata["atac"].X
    assert counts.nnz / np.prod(counts.shape) == pytest.approx(density, rel=0.1)


def test_atac_is_mostly_zeros_and_ones(mdata):
    assert (mdata["atac"].X.data == 1).mean() > 0.85


def test_size_factors_are_log_normal_and_independent_of_the_biology(mdata):
    bound = 4 / np.sqrt(1500)
    logs = {m: np.log(mdata[m].obs["size_factor"].to_numpy()) for m in mdata.mod}
    biology = [*mdata.obsm["true_shared"].T, *(f for m in mdata.mod for f in mdata[m].obsm["true_private"].T)]
    for modality, log_size in logs.items():
        assert log_size.std() == pytest.approx(0.4, rel=0.1)
        assert mdata[modality].obs["size_factor"].mean() == pytest.approx(1, abs=0.05)
        assert max(abs(np.corrcoef(log_size, factor)[0, 1]) for factor in biology) < bound
        total = np.asarray(mdata[modality].X.sum(axis=1)).ravel()
        assert np.corrcoef(total, np.exp(log_size))[0, 1] > 0.7
    assert abs(np.corrcoef(logs["rna"], logs["atac"])[0, 1]) < bound


def test_effects_are_standard_deviations_of_the_log_mean():
    mdata = simulate_multiome(
        5000, 200, 10, n_shared=1, shared_effect=0.5, private_effect=2.0, batch_effect=0.0, depth_sd=0.0
    )
    log_mean = np.log(expected_counts(mdata, "rna", range(200)))
    np.testing.assert_allclose(log_mean.std(0)[:40], 0.5, rtol=0.05)
    np.testing.assert_allclose(log_mean.std(0)[40:], 2.0, rtol=0.05)


def test_batch_effect_separates_batches():
    mdata = simulate_multiome(4000, 50, 1, rna_mean=20.0, **{**FLAT, "batch_effect": 0.5})
    batch = mdata.obs["batch"].to_numpy()
    counts = mdata["rna"].X.toarray()
    ratio = np.log(counts[batch == "batch1"].mean(0) / counts[batch == "batch0"].mean(0))
    effect = mdata["rna"].varm["true_batch_effect"]
    np.testing.assert_allclose(ratio, effect[:, 1] - effect[:, 0], atol=0.15)


def test_cell_types_are_in_the_shared_factor_only(mdata):
    types = mdata.obs["cell_type"].to_numpy()
    classifier = KNeighborsClassifier(15)
    assert cross_val_score(classifier, mdata.obsm["true_shared"], types).mean() > 0.95
    for modality in mdata.mod:
        assert cross_val_score(classifier, mdata[modality].obsm["true_private"], types).mean() < 0.3
    np.testing.assert_allclose(mdata.obsm["true_shared"].std(0), 1, rtol=1e-6)


@pytest.mark.parametrize("n_cell_types", [1, 2, 12])
@pytest.mark.parametrize("n_shared", [1, 4])
def test_any_number_of_types_and_dimensions(n_cell_types, n_shared):
    mdata = simulate_multiome(60, 5, 5, n_cell_types=n_cell_types, n_shared=n_shared)
    assert mdata.obs["cell_type"].nunique() == n_cell_types
    assert mdata.obsm["true_shared"].shape == (60, n_shared)
    assert np.isfinite(mdata.obsm["true_shared"]).all()


@pytest.mark.parametrize("modality", ["rna", "atac"])
def test_private_programmes_dominate(modality):
    mdata = simulate_multiome(1000, seed=4)
    shared, private = mdata.obsm["true_shared"], mdata[modality].obsm["true_private"]
    strength = (mdata[modality].varm["true_loadings"] ** 2).sum(0)
    assert strength[2:].sum() == pytest.approx(4 * strength[:2].sum())

    counts = mdata[modality].X.toarray()
    log = np.log1p(counts / counts.sum(1, keepdims=True) * np.median(counts.sum(1)))
    leading = PCA(2, random_state=0).fit_transform(log)
    knn = KNeighborsRegressor(10, weights="distance")
    assert cross_val_score(knn, private, leading).mean() > 0.8
    assert cross_val_score(knn, shared, leading).mean() < 0.1


def test_shared_fraction_one_and_zero():
    for fraction, category in ((1.0, "shared"), (0.0, "private")):
        mdata = simulate_multiome(50, 10, 10, shared_fraction=fraction)
        assert (mdata["atac"].var["factor"] == category).all()


def test_blocks_of_features_join(monkeypatch):
    whole = simulate_multiome(50, 30, 70, seed=1)
    monkeypatch.setattr("vennvi.data._simulate_multiome._BLOCK", 32)
    blocks = simulate_multiome(50, 30, 70, seed=1)
    assert blocks["atac"].shape == whole["atac"].shape
    assert list(blocks["atac"].var["rate"]) == list(whole["atac"].var["rate"])
    np.testing.assert_array_equal(blocks["rna"].X.toarray(), whole["rna"].X.toarray())
    np.testing.assert_allclose(blocks["atac"].X.toarray().mean(0), whole["atac"].X.toarray().mean(0), atol=0.2)


def test_seed_decides_everything():
    first, again, other = (simulate_multiome(40, 10, 30, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.obsm["true_shared"], again.obsm["true_shared"])
    assert list(first.obs["cell_type"]) == list(again.obs["cell_type"])
    for modality in ("rna", "atac"):
        np.testing.assert_array_equal(first[modality].X.toarray(), again[modality].X.toarray())
        assert not np.array_equal(first[modality].X.toarray(), other[modality].X.toarray())


@pytest.mark.parametrize("missing", [{"atac": 0.1}, {"rna": 0.3, "atac": 0.7}], ids=["one", "disjoint"])
def test_missing(missing):
    complete = simulate_multiome(100, 10, 30)
    mdata = simulate_multiome(100, 10, 30, missing=missing)
    assert set(mdata.obs_names) == set(complete.obs_names)
    assert list(mdata.obs["cell_type"]) == list(complete.obs["cell_type"].loc[mdata.obs_names])
    for modality in mdata.mod:
        assert mdata[modality].n_obs == round(100 * (1 - missing.get(modality, 0)))
        kept = complete[modality][mdata[modality].obs_names]
        np.testing.assert_array_equal(mdata[modality].X.toarray(), kept.X.toarray())
        assert list(mdata[modality].obs["size_factor"]) == list(kept.obs["size_factor"])


def test_h5mu_round_trip(tmp_path):
    mdata = simulate_multiome(50, 10, 30, missing={"atac": 0.1})
    mdata.write(tmp_path / "multiome.h5mu")
    read = mudata.read_h5mu(tmp_path / "multiome.h5mu")
    np.testing.assert_array_equal(read.obsm["true_shared"], mdata.obsm["true_shared"])
    assert list(read.obs["cell_type"]) == list(mdata.obs["cell_type"])
    for modality in ("rna", "atac"):
        assert read[modality].X.format == "csr"
        np.testing.assert_array_equal(read[modality].X.toarray(), mdata[modality].X.toarray())
        np.testing.assert_array_equal(read[modality].varm["true_loadings"], mdata[modality].varm["true_loadings"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"n_obs": 3}, "n_obs", id="fewer cells than types"),
        pytest.param({"n_genes": 0}, "n_genes", id="no genes"),
        pytest.param({"n_peaks": 2.5}, "n_peaks", id="not an integer"),
        pytest.param({"n_private": 0}, "n_private", id="no private dimension"),
        pytest.param({"shared_fraction": 1.2}, "shared_fraction", id="fraction"),
        pytest.param({"atac_density": 0.0}, "atac_density", id="empty atac"),
        pytest.param({"atac_density": 1.0}, "atac_density", id="full atac"),
        pytest.param({"rna_dispersion": 0.0}, "rna_dispersion", id="dispersion"),
        pytest.param({"private_effect": -1.0}, "private_effect", id="negative effect"),
        pytest.param({"depth_sd": np.inf}, "depth_sd", id="infinite"),
        pytest.param({"n_cell_types": 1, "type_spread": 0.0}, "type_spread", id="a constant shared factor"),
        pytest.param({"missing": {"protein": 0.1}}, "protein", id="unknown modality"),
        pytest.param({"missing": {"rna": 0.6, "atac": 0.6}}, "without any modality", id="absent from both"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_multiome(**{"n_obs": 50, "n_genes": 10, "n_peaks": 10, **arguments})
