"""Draws of the data from the posterior predictive distribution."""

from __future__ import annotations

import numpy as np
import pytest
import sparse
import torch
from scvi.criticism import PosteriorPredictiveCheck
from toy import toy_mudata

import vennvi

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]


def fit(cls=vennvi.MMVAEPlusPlus, n_modalities=3, **toy):
    mdata = toy_mudata(n_modalities, **toy)
    cls.setup_mudata(mdata, batch_key="batch")
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=3, train_size=0.8, batch_size=16, accelerator="cpu", enable_progress_bar=False)
    return model


def dense(draws):
    return draws.todense() if isinstance(draws, sparse.SparseArray) else draws


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("source", [None, "rna", ["atac", "protein"]], ids=str)
def test_their_mean_and_spread_are_the_predictions(cls, source):
    model = fit(cls, absent=True, permuted=True)
    n = 400
    torch.manual_seed(1)
    draws = model.posterior_predictive_sample(n_samples=n, source=source)
    assert list(draws) == list(model.modalities)
    for m, drawn in draws.items():
        assert isinstance(drawn, np.ndarray if m == "protein" else sparse.GCXS)
        drawn = dense(drawn)
        assert drawn.shape == (model.adata.n_obs, model.adata[m].n_vars, n)
        expected = model.predict(m, source, n_samples=n, return_intervals=0.9, calibrated=False)
        np.testing.assert_array_equal(np.isnan(drawn[..., 0]), np.isnan(expected.mean.to_numpy()))
        sd = expected.sd.to_numpy()
        error = (drawn.mean(-1) - expected.mean.to_numpy()) / (sd / np.sqrt(n))
        assert np.nanmean(error**2) == pytest.approx(1, abs=0.7), "of both, the draws of the latents' mean too"
        assert np.nanmean(drawn.var(-1)) == pytest.approx(np.nanmean(sd**2), rel=0.2)


def test_draws_are_of_the_kind_of_the_data():
    draws = fit().posterior_predictive_sample(n_samples=2)
    counts, binary, real = (dense(draws[m]) for m in ("rna", "atac", "protein"))
    np.testing.assert_array_equal(counts, counts.round())
    assert counts.max() > 1
    assert set(np.unique(binary)) == {0.0, 1.0}
    assert not np.array_equal(real, real.round())
    assert not np.array_equal(counts[..., 0], counts[..., 1])


def test_what_another_modality_predicts_does_not_depend_on_the_target():
    model, mdata = fit(), toy_mudata(3)
    mdata["protein"].X = mdata["protein"].X[::-1].copy()
    found = []
    for data in (None, mdata):
        torch.manual_seed(0)
        found.append(model.posterior_predictive_sample(data, target="protein", source="rna")["protein"])
    np.testing.assert_array_equal(*found)
    torch.manual_seed(0)
    assert not np.array_equal(found[0], model.posterior_predictive_sample(target="protein")["protein"])


def test_cells_features_and_numbers_of_draws():
    model = fit(absent=True)
    names = ["rna7", "rna2"]
    torch.manual_seed(0)
    one = model.posterior_predictive_sample(indices=[4, 1], target="rna", var_names=names)
    assert list(one) == ["rna"]
    assert one["rna"].shape == (2, 2)
    assert model.posterior_predictive_sample(indices=[], target=["rna", "protein"], n_samples=3)["protein"].shape == (
        0,
        7,
        3,
    )
    deep = dense(model.posterior_predictive_sample(target="rna", library_size=1e5, n_samples=20)["rna"])
    assert np.nanmean(deep.sum(1)) == pytest.approx(1e5, rel=0.1)
    by_small_batches = dense(model.posterior_predictive_sample(target="atac", n_samples=50, batch_size=7)["atac"])
    assert np.nanmean(by_small_batches) == pytest.approx(np.nanmean(model.adata["atac"].X.toarray()), abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "lipids"}, "`target` is 'lipids'; the modalities"),
        ({"source": "lipids"}, "`source` is 'lipids'"),
        ({"var_names": ["rna1"]}, "name it as `target`"),
        ({"target": "rna", "var_names": ["x"]}, "'rna' has no variables 'x'"),
        ({"n_samples": 0}, "at least 1"),
        ({"target": "rna", "library_size": -1.0}, "library_size"),
    ],
    ids=str,
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit().posterior_predictive_sample(**arguments)


def test_scvi_tools_checks_read_them():
    mdata = vennvi.data.simulate_multiome(n_obs=80, n_genes=20, n_peaks=30)
    mdata["rna"].X = mdata["rna"].X.toarray()  # scvi-tools 1.4.2 checks dense counts only
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2)
    model.train(max_epochs=20, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 5e-3})
    check = PosteriorPredictiveCheck(mdata, {"model": model}, modality="rna", n_samples=5)
    check.zero_fraction()
    zeros = check.metrics["zero_fraction"]
    assert np.corrcoef(zeros["model"].to_numpy(float), zeros["Raw"].to_numpy(float))[0, 1] > 0.9
