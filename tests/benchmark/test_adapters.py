from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from anndata import AnnData
from mudata import MuData
from scipy.sparse import csr_matrix

from vennvi.benchmark import MODELS, BenchmarkData, CannotRun, Latents, Settings, get_experiment
from vennvi.benchmark._evaluate import evaluate
from vennvi.benchmark.adapters._mofa import MOFAAdapter, _active, _project

LATENTS = Latents(3, 2)
SETTINGS = Settings(max_epochs=2)

ours = pytest.mark.parametrize("name", ["MVAE", "MoPoEVAE", "MMVAE", "MMVAEPlusPlus"])


def named(values, prefix: str) -> AnnData:
    adata = AnnData(values)
    adata.obs_names = [f"sample{i}" for i in range(adata.n_obs)]
    adata.var_names = [f"{prefix}{j}" for j in range(adata.n_vars)]
    return adata


@pytest.fixture
def count_data() -> BenchmarkData:
    """RNA and ATAC, and RNA and protein, of two cell types."""
    rng = np.random.default_rng(0)
    n = 120
    y = rng.random(n) < 0.5
    rna = rng.poisson(1.0 + 4.0 * y[:, None] * (np.arange(20) < 5), size=(n, 20)).astype(np.float32)
    atac = (rng.random((n, 30)) < 0.2 + 0.4 * y[:, None] * (np.arange(30) < 10)).astype(np.float32)
    mdata = MuData({"rna": named(csr_matrix(rna), "gene"), "atac": named(csr_matrix(atac), "peak")})
    mdata.obs["y"] = np.where(y, "yes", "no")
    return BenchmarkData(
        mdata,
        np.arange(90),
        np.arange(90, n),
        kinds={"rna": "rna", "atac": "atac"},
        likelihoods={"rna": "nb", "atac": "bernoulli"},
        labels=("y",),
        nuisances={"log depth of rna": np.log(rna.sum(axis=1))},
    )


@ours
@pytest.mark.parametrize("supervised", [False, True], ids=["unsupervised", "supervised"])
def test_our_models_are_read_on_all_samples(name, supervised, tiny_data):
    fit = MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=supervised)
    n = tiny_data.mdata.n_obs
    assert {space: latent.shape for space, latent in fit.spaces.items()} == {
        "shared": (n, 3),
        "shared:a": (n, 3),
        "shared:b": (n, 3),
        "private:a": (n, 2),
        "private:b": (n, 2),
    }
    assert set(fit.predictions) == {(source, target) for source in ("joint", "a", "b") for target in ("a", "b")}
    assert all(values.shape == (len(tiny_data.test), 3) for values in fit.predictions.values())
    assert (fit.label_probabilities is not None) == supervised
    rows = evaluate(fit, tiny_data)
    assert np.isfinite(rows["value"]).all()
    assert ("classifier" in set(rows["space"])) == supervised


def test_our_models_train_on_training_samples_only(tiny_data):
    adapter = MODELS["MMVAEPlusPlus"].adapter
    before = adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=True)
    tiny_data.mdata["a"].X[tiny_data.test] += 10
    tiny_data.mdata.obs["y"] = np.where(
        np.isin(np.arange(tiny_data.mdata.n_obs), tiny_data.test), "high", tiny_data.label("y")
    )
    after = adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=True)
    for space, latent in before.spaces.items():
        np.testing.assert_allclose(latent[tiny_data.train], after.spaces[space][tiny_data.train], atol=1e-5)
    other = adapter.fit(tiny_data, LATENTS, SETTINGS, seed=1, supervised=True)
    assert not np.allclose(before.spaces["shared"], other.spaces["shared"])


def test_our_models_on_counts(count_data):
    fit = MODELS["MMVAE"].adapter.fit(count_data, LATENTS, SETTINGS, seed=0, supervised=False)
    rows = evaluate(fit, count_data).set_index(["space", "target", "metric"])["value"]
    assert np.isfinite(rows).all()
    assert rows["predict:rna", "data:atac", "deviance_explained_test"] < 1
    assert ("shared", "log depth of rna", "linear_r2_test") in rows.index


def test_supervision_needs_a_label(tiny_data):
    with pytest.raises(CannotRun, match="no label"):
        MODELS["MVAE"].adapter.fit(
            dataclasses.replace(tiny_data, labels=()), LATENTS, SETTINGS, seed=0, supervised=True
        )


@pytest.mark.parametrize(
    ("name", "module"),
    [
        pytest.param("MOFA", "mofapy2.run.entry_point", id="mofapy2"),
        pytest.param("multivae-DMVAE", "multivae", id="multivae"),
    ],
)
def test_absent_package_says_how_to_install_it(name, module, tiny_data, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CannotRun, match=r"needs the package .*pip install 'vennvi\[bench\]'"):
        MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=False)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.has_supervised])
def test_peers_refuse_labels(name, tiny_data):
    with pytest.raises(CannotRun, match="no supervised variant"):
        MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=True)


@pytest.mark.parametrize("name", ["MULTIVI", "TOTALVI"])
def test_count_models_refuse_real_values(name, tiny_data):
    with pytest.raises(CannotRun, match=r"these data hold a \(real\), b \(real\)"):
        MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=False)


@pytest.mark.parametrize(
    ("name", "kind", "spaces"),
    [
        pytest.param("MULTIVI", "atac", {"shared", "shared:rna", "shared:other"}, id="MULTIVI"),
        pytest.param("TOTALVI", "protein", {"shared"}, id="TOTALVI"),
    ],
)
def test_scvi_peers_are_read_on_all_cells(name, kind, spaces, count_data):
    mdata = MuData({"rna": count_data.mdata["rna"].copy(), "other": count_data.mdata["atac"].copy()})
    if kind == "protein":
        mdata["other"].X = mdata["other"].X.toarray() + 1
    mdata.obs["y"] = count_data.mdata.obs["y"]
    data = dataclasses.replace(
        count_data,
        mdata=mdata,
        kinds={"rna": "rna", "other": kind},
        likelihoods={"rna": "nb", "other": "bernoulli" if kind == "atac" else "nb"},
    )
    fit = MODELS[name].adapter.fit(data, LATENTS, SETTINGS, seed=0, supervised=False)
    assert set(fit.spaces) == spaces
    assert all(latent.shape == (data.mdata.n_obs, 3) for latent in fit.spaces.values())
    assert np.isfinite(evaluate(fit, data)["value"]).all()


@pytest.mark.parametrize("rank", [2, 4])
def test_canonical_variates_of_a_view_of_lower_rank(rank):
    """As of proteins, whose centred log-ratios sum to 0: there are no more variates than the rank."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(300, rank))
    wide = np.hstack([factor, np.zeros((300, 10 - rank))]) + rng.normal(size=(300, 10))
    narrow = factor + rng.normal(size=(300, rank))
    views = {"a": named(wide, "a"), "b": named(np.hstack([narrow, -narrow.sum(axis=1, keepdims=True)]), "b")}
    real = dict.fromkeys(views, "real")
    data = BenchmarkData(MuData(views), np.arange(200), np.arange(200, 300), kinds=real, likelihoods=real)
    fit = MODELS["PCA+CCA"].adapter.fit(
        data, dataclasses.replace(LATENTS, n_shared=6), SETTINGS, seed=0, supervised=False
    )
    assert {space.shape[1] for space in fit.spaces.values()} == {rank}

    a, b = (np.linalg.qr(view[:200] - view[:200].mean(axis=0)).Q for view in (wide, narrow))
    expected = np.linalg.svd(a.T @ b, compute_uv=False)
    found = np.corrcoef(fit.spaces["shared:a"][:200], fit.spaces["shared:b"][:200], rowvar=False)
    np.testing.assert_allclose(np.diag(found, k=rank), expected, atol=1e-6)


def test_mofa_projection_is_the_posterior_mean():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(6, 2)), "b": rng.normal(size=(4, 2))}
    precision = {"a": rng.uniform(1, 5, 6), "b": rng.uniform(1, 5, 4)}
    views = {m: rng.normal(size=(3, len(w))) for m, w in weights.items()}
    # the same as ridge regression on the stacked, scaled loadings, one sample at a time
    stacked = np.concatenate([weights[m] * np.sqrt(precision[m])[:, None] for m in weights])
    for i, factors in enumerate(_project(views, weights, precision)):
        x = np.concatenate([views[m][i] * np.sqrt(precision[m]) for m in weights])
        ridge = np.linalg.lstsq(np.vstack([stacked, np.eye(2)]), np.concatenate([x, np.zeros(2)]), rcond=None)[0]
        np.testing.assert_allclose(factors, ridge)


def test_mofa_factors_are_active_where_they_explain_enough():
    explained = np.array([[0.30, 0.005, 0.02], [0.004, 0.0005, 0.0001]])
    assert _active(explained).tolist() == [[True, False, True], [True, False, False]]


def test_mofa_finds_a_linear_shared_factor(tiny_data):
    pytest.importorskip("mofapy2", reason="of the bench extra")
    rng = np.random.default_rng(0)
    n = tiny_data.mdata.n_obs
    wide = MuData(
        {
            m: named(
                (
                    tiny_data.shared_factor @ rng.normal(size=(1, 30))
                    + 0.5 * own @ rng.normal(size=(1, 30))
                    + 0.2 * rng.normal(size=(n, 30))
                ).astype(np.float32),
                m,
            )
            for m, own in tiny_data.private_factors.items()
        }
    )
    wide.obs["y"] = tiny_data.label("y")
    data = dataclasses.replace(tiny_data, mdata=wide)
    fit = MOFAAdapter().fit(data, Latents(1, 1), SETTINGS, seed=0, supervised=False)
    rows = evaluate(fit, data).set_index(["space", "target", "metric"])["value"]
    assert fit.numbers["n_shared_factors"] >= 1
    assert rows["shared", "shared factor", "knn_r2_test"] > 0.8


@pytest.mark.parametrize("name", ["multivae-MMVAEPlus", "multivae-DMVAE"])
def test_multivae_is_read_on_all_samples_and_quiet(name, tiny_data, capfd):
    pytest.importorskip("multivae", reason="of the bench extra")
    fit = MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=False)
    assert set(fit.spaces) == {"shared", "shared:a", "shared:b", "private:a", "private:b"}
    assert fit.spaces["shared"].shape == (tiny_data.mdata.n_obs, 3)
    assert fit.spaces["private:a"].shape == (tiny_data.mdata.n_obs, 2)
    again = MODELS[name].adapter.fit(tiny_data, LATENTS, SETTINGS, seed=0, supervised=False)
    np.testing.assert_allclose(fit.spaces["shared"], again.spaces["shared"], atol=1e-5)
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_our_models_rank_as_in_the_paper_on_gp():
    gp = get_experiment("gp")
    data = gp.build(seed=0, **gp.condition("20/100").params)
    auc = {}
    for name in ("MMVAEPlusPlus", "MVAE"):
        fit = MODELS[name].adapter.fit(data, Latents(2, 2), gp.settings, seed=0, supervised=False)
        rows = evaluate(fit, data).set_index(["space", "target", "metric"])["value"]
        auc[name] = rows["shared", "y", "auc_test"]
    assert auc["MMVAEPlusPlus"] > 0.8 > auc["MVAE"]
