"""Predictive distributions: moments against scipy, intervals of the model's own draws, coverage after training."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import stats
from scipy.special import expit, softmax
from toy import N_OBS, toy_mudata

import vennvi
from vennvi import MMVAE, MMVAEPlusPlus
from vennvi.data._summary import summarise
from vennvi.likelihoods import LIKELIHOODS
from vennvi.metrics import interval_coverage
from vennvi.model import Prediction
from vennvi.model._predictive import central_intervals

RNG = np.random.default_rng(0)
N, D = 400, 8
DATA = {
    "normal": RNG.normal(size=(N, D)) * 3 + 5,
    "bernoulli": (RNG.random((N, D)) < 0.3).astype(float),
    "poisson": RNG.poisson(2.0, size=(N, D)).astype(float),
    "nb": RNG.poisson(5.0, size=(N, D)).astype(float),
    "zinb": RNG.poisson(5.0, size=(N, D)).astype(float),
}
NAMES = list(DATA)


def _scipy(name, likelihood, outputs, size):
    """Mean and variance of every entry by scipy."""
    o = outputs.double().numpy()
    if name == "normal":
        frozen = stats.norm(
            o * likelihood.sd.numpy() + likelihood.mean.numpy(), likelihood.noise_sd.detach() * likelihood.sd
        )
    elif name == "bernoulli":
        frozen = stats.bernoulli(expit(o + np.log(size)))
    elif name == "poisson":
        frozen = stats.poisson(size * np.exp(o))
    else:
        mean, theta = (
            size * float(likelihood.total) * softmax(o[:, :D], axis=-1),
            likelihood.theta.detach().double().numpy(),
        )
        frozen = stats.nbinom(theta, theta / (theta + mean))
    mean, variance = frozen.mean(), frozen.var()
    if name == "zinb":  # a mixture of zero and the negative binomial
        keep = 1 - expit(o[:, D:])
        mean, variance = keep * mean, keep * (variance + mean**2) - (keep * mean) ** 2
    return mean, variance


@pytest.mark.parametrize("name", NAMES)
def test_moments_agree_with_scipy(name):
    likelihood = LIKELIHOODS[name](D)
    summary = summarise(DATA[name].astype(np.float32), "a")
    likelihood.read(summary, summary.median_total)
    outputs = 0.5 * torch.randn(4, likelihood.n_outputs * D)
    size = torch.tensor([[0.5], [1.0], [1.5], [3.0]])
    mean, variance = _scipy(name, likelihood, outputs, size.numpy())
    with torch.inference_mode():
        predictive = likelihood.predictive(outputs, size)
        np.testing.assert_allclose(predictive.mean, mean, rtol=1e-4)
        np.testing.assert_allclose(predictive.mean, likelihood.expected(outputs, size), rtol=1e-4)
        np.testing.assert_allclose(predictive.variance, variance, rtol=1e-4)
        columns = np.array([6, 2])
        read = outputs.unflatten(-1, (-1, D))[..., likelihood.decoded(columns)].flatten(-2)
        some = likelihood.predictive(read, size, columns)
        np.testing.assert_allclose(likelihood.expected(read, size, columns), mean[:, columns], rtol=1e-4)
        np.testing.assert_allclose(some.variance, variance[:, columns], rtol=1e-4)
        draws = torch.stack([some.sample() for _ in range(4000)]).numpy()
    error = np.sqrt(variance[:, columns] / len(draws))
    assert (np.abs(draws.mean(0) - mean[:, columns]) < 5 * error).all()
    np.testing.assert_allclose(draws.var(0), variance[:, columns], rtol=0.25)


@pytest.mark.parametrize("n_draws", [19, 20, 99, 200])
def test_one_more_draw_is_inside_with_the_nominal_probability(n_draws):
    rng = np.random.default_rng(1)
    draws, x = torch.as_tensor(rng.random((n_draws, 20_000))), rng.random(20_000)
    for level, (low, high) in zip((0.5, 0.9), central_intervals(draws, (0.5, 0.9)), strict=True):
        assert interval_coverage(x, low.numpy(), high.numpy()).total == pytest.approx(level, abs=0.012)


def _mudata(a: np.ndarray) -> MuData:
    b = np.random.default_rng(2).normal(size=(len(a), 5)).astype(np.float32)
    names = [f"cell{i}" for i in range(len(a))]
    mods = {
        m: ad.AnnData(
            x.astype(np.float32), pd.DataFrame(index=names), pd.DataFrame(index=[f"{m}{j}" for j in range(x.shape[1])])
        )
        for m, x in (("a", a), ("b", b))
    }
    return MuData(mods)


@pytest.fixture
def prior_model(request):
    """A model whose posteriors are the prior, and data drawn from it: its intervals must hold their level exactly."""
    name = request.param
    mdata = _mudata(DATA[name])
    MMVAE.setup_mudata(mdata)
    model = MMVAE(
        mdata,
        n_shared=2,
        n_private=2,
        n_hidden=16,
        likelihoods={"a": name, "b": "normal"},
        use_observed_lib_size={"a": False},
    )
    model.train(max_epochs=1, train_size=1.0, accelerator="cpu")
    module = model.module
    with torch.no_grad():
        for encoder in module.encoders.values():
            for head in (encoder.shared, encoder.private):
                head.weight.zero_()
                head.bias.zero_()
                head.bias[2:] = np.log(np.expm1(1 - 1e-3))  # sd 1
        module.decoders["a"].input.weight.mul_(3.0)
        outputs = module.decode("a", torch.randn(N, 4), None)
        drawn = module.likelihood("a").predictive(outputs, torch.ones(N, 1)).sample().numpy()
    return model, _mudata(drawn)


@pytest.mark.parametrize("prior_model", NAMES, indirect=True)
def test_intervals_of_a_models_own_draws_hold_their_level(prior_model):
    model, new = prior_model
    for source in ("b", None):
        table = model.predictive_coverage("a", source, levels=(0.5, 0.9), mdata=new, n_samples=99)
        np.testing.assert_allclose(table["coverage"], [0.5, 0.9], atol=0.05)
        assert table["n"].tolist() == [N * D, N * D]
    prediction = model.predict("a", "b", mdata=new, n_samples=99, return_intervals=(0.5, 0.9))
    x = new["a"].X
    for level in prediction.levels:  # intervals of counts end at whole numbers, and hold more
        coverage = interval_coverage(x, prediction.lower[level], prediction.upper[level]).total
        assert coverage > level - 0.05
    # every cell has the same predictive distribution: the prior's
    np.testing.assert_allclose(prediction.mean.mean(), x.mean(axis=0), atol=4 * x.std(axis=0).max() / np.sqrt(N))
    np.testing.assert_allclose(prediction.sd.mean(), x.std(axis=0), rtol=0.25)


def test_zeros_for_private_latents_would_be_overconfident():
    mdata = vennvi.data.simulate_gp(n_obs=600, n_private_features={"view1": 10, "view2": 10})
    MMVAEPlusPlus.setup_mudata(mdata)
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=32)
    model.train(max_epochs=80, train_size=0.7, batch_size=64, accelerator="cpu", plan_kwargs={"lr": 5e-3})
    for source in (None, ["view1", "view2"]):
        table = model.predictive_coverage("view1", source)
        np.testing.assert_allclose(table["coverage"], table["level"], atol=0.05)
    held_out = np.sort(model.validation_indices)
    prediction = model.predict("view1", "view2", indices=held_out, return_intervals=(0.5, 0.9))
    x = mdata["view1"].X[held_out]
    for level in prediction.levels:
        coverage = interval_coverage(x, prediction.lower[level], prediction.upper[level])
        assert coverage.total == pytest.approx(level, abs=0.05)
    mean = model.predict("view1", "view2", indices=held_out)
    noise = (model.module.likelihood("view1").noise_sd * model.module.likelihood("view1").sd).detach().numpy()
    half = stats.norm.ppf(0.95) * noise
    noise_alone = interval_coverage(x, mean - half, mean + half).per_feature
    assert noise_alone[10:].mean() < 0.8  # the features that a private factor drives


@pytest.fixture(scope="module")
def toy_model():
    mdata = toy_mudata(absent=True, missing_entries=True)
    MMVAEPlusPlus.setup_mudata(mdata, batch_key="batch")
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, train_size=0.6, accelerator="cpu")
    return model


def test_absent_cells_names_and_order(toy_model):
    cells = np.array([7, 3, 30])
    names = ["rna3", "rna1"]
    prediction = toy_model.predict("rna", "atac", indices=cells, var_names=names, return_intervals=0.9, n_samples=40)
    assert isinstance(prediction, Prediction)
    assert prediction.levels == (0.9,)
    absent = np.asarray(toy_model.adata.obsmap["atac"]).ravel()[cells] == 0
    for table in (prediction.mean, prediction.sd, prediction.lower[0.9], prediction.upper[0.9]):
        assert list(table.columns) == names
        assert list(table.index) == list(toy_model.adata.obs_names[cells])
        np.testing.assert_array_equal(table.isna().all(axis=1), absent)
    empty = toy_model.predict("rna", indices=np.zeros(N_OBS, bool), return_intervals=0.5)
    assert empty.mean.shape == (0, 12)


def test_coverage_counts_what_was_measured(toy_model):
    cells = np.sort(toy_model.validation_indices)
    table = toy_model.predictive_coverage("protein", levels=(0.5,), n_samples=20)
    x = toy_model.adata["protein"].to_df().reindex(toy_model.adata.obs_names[cells])
    other = np.asarray([np.asarray(toy_model.adata.obsmap[m]).ravel()[cells] > 0 for m in ("rna", "atac")]).any(axis=0)
    assert table["n"].tolist() == [int(x[other].notna().to_numpy().sum())]
    assert table["source"].tolist() == ["rna+atac"]


def test_default_is_as_it_was(toy_model):
    default = toy_model.predict("rna", "atac")
    pd.testing.assert_frame_equal(default, toy_model.predict("rna", "atac", n_samples=1))
    assert not default.equals(toy_model.predict("rna", "atac", n_samples=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"return_intervals": 1.0}, "between 0 and 1", id="level"),
        pytest.param({"return_intervals": []}, "between 0 and 1", id="no-level"),
        pytest.param({"return_intervals": 0.9, "n_samples": 10}, "at least 19 draws", id="draws"),
        pytest.param({"return_intervals": 0.9, "return_numpy": True}, "exclude", id="numpy"),
        pytest.param({"n_samples": 0}, "at least 1", id="none"),
    ],
)
def test_refuses(toy_model, arguments, message):
    with pytest.raises(ValueError, match=message):
        toy_model.predict("rna", **arguments)


def test_intervals_of_counts_end_at_whole_numbers(toy_model):
    found = toy_model.predict("rna", return_intervals=[0.5, 0.9], n_samples=50)
    for ends in (*found.lower.values(), *found.upper.values()):
        values = ends.to_numpy()
        assert (values == np.round(values))[~np.isnan(values)].all()


@pytest.mark.parametrize("target", ["rna", "protein"])
def test_a_seed_says_all_and_changes_nobody_elses_draws(toy_model, target):
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = toy_model.predictive_coverage(target, n_samples=39, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.manual_seed(17)
    pd.testing.assert_frame_equal(toy_model.predictive_coverage(target, n_samples=39, seed=3), first)
    assert not toy_model.predictive_coverage(target, n_samples=39, seed=4)["coverage"].equals(first["coverage"])
