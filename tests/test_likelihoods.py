"""Likelihoods against scipy's densities; sparse input against dense; defaults and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.special import expit, softmax

from vennvi._sparse import SparseColumns, is_sparse
from vennvi.data._dataset import csr_tensor
from vennvi.data._summary import summarise
from vennvi.likelihoods import LIKELIHOODS, resolve_likelihood
from vennvi.nn import InputLinear

N, D = 12, 6


def data(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "real":
        return (rng.normal(size=(N, D)) * [1, 5, 0.1, 1, 1, 2] + [0, 100, 0, -3, 1, 0]).astype(np.float32)
    counts = rng.poisson(rng.lognormal(size=(N, 1)) * [0.3, 1, 4, 0.2, 2, 1]).astype(np.float32)
    return counts if kind == "counts" else (counts > 0).astype(np.float32)


KIND = {"normal": "real", "bernoulli": "binary", "poisson": "counts", "nb": "counts", "zinb": "counts"}


def build(name, x):
    torch.manual_seed(0)
    likelihood = LIKELIHOODS[name](D)
    summary = summarise(x, "rna")
    likelihood.read(summary, summary.median_total)
    for parameter in likelihood.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    outputs = torch.randn(3, N, likelihood.n_outputs * D)
    return likelihood, outputs


def scipy_log_prob(name, likelihood, outputs, x):
    """Log-density of every entry, (3, N, D), by scipy."""
    o = outputs.numpy().astype(np.float64)
    total = x.sum(1, keepdims=True)
    ratio = np.maximum(total / np.median(total), 1e-4)
    if name == "normal":
        sd = np.log1p(np.exp(likelihood.raw_noise_sd.detach().numpy())) + 0.01
        return stats.norm.logpdf((x - x.mean(0)) / x.std(0), o, sd)
    if name == "bernoulli":
        return stats.bernoulli.logpmf(x, expit(o + np.log(ratio)))
    if name == "poisson":
        return stats.poisson.logpmf(x, ratio * np.exp(o))
    mean = ratio * np.median(total) * softmax(o[..., :D], axis=-1)
    theta = np.exp(likelihood.log_theta.detach().numpy())
    log_prob = stats.nbinom.logpmf(x, theta, theta / (theta + mean))
    if name == "nb":
        return log_prob
    zero = expit(o[..., D:])
    return np.where(x == 0, np.log(zero + (1 - zero) * np.exp(log_prob)), np.log1p(-zero) + log_prob)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("missing", [False, True])
def test_log_prob_is_scipys(name, missing):
    x = data(KIND[name])
    likelihood, outputs = build(name, x)
    elementwise = scipy_log_prob(name, likelihood, outputs, x.astype(np.float64))
    given, observed = torch.as_tensor(x), np.ones(x.shape, bool)
    size = likelihood.size(given, None)
    if missing:
        observed = np.random.default_rng(1).random(x.shape) > 0.3
        given = torch.where(torch.as_tensor(observed), given, torch.nan)
    found = likelihood.log_prob(outputs, likelihood.target(given, size)).detach().numpy()
    np.testing.assert_allclose(found, (elementwise * observed).sum(-1), rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_expected_is_the_mean_of_draws_in_the_datas_units(name):
    x = data(KIND[name])
    likelihood, outputs = build(name, x)
    size = likelihood.size(torch.as_tensor(x), None)
    torch.manual_seed(0)
    with torch.no_grad():
        distribution = likelihood.distribution(outputs, size)
        draws = distribution.sample((4000,)).double()
        if name == "normal":
            draws = draws * likelihood.sd + likelihood.mean
        expected = likelihood.expected(outputs, size)
    error = draws.std(0) / np.sqrt(4000)
    assert float(((draws.mean(0) - expected).abs() / (error + 1e-3)).max()) < 6


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_initial_bias_predicts_the_feature_means(name):
    x = data(KIND[name])
    likelihood, _ = build(name, x)
    size = torch.ones(N, 1)
    predicted = likelihood.expected(likelihood.initial_bias().expand(N, -1), size)[0].detach().numpy()
    if name == "zinb":  # an eighth of the mass is given to the extra zeros at the start
        predicted = predicted / expit(2.0)
    if name in ("nb", "zinb"):
        np.testing.assert_allclose(predicted / predicted.sum(), x.mean(0) / x.mean(0).sum(), rtol=1e-4)
    else:
        np.testing.assert_allclose(predicted, x.mean(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sparse_and_dense_input_are_the_same(name):
    x = data(KIND[name] if name != "normal" else "counts")
    likelihood, outputs = build(name, x)
    csr = sparse.csr_array(x)
    tensor = csr_tensor(csr.indptr, csr.indices, csr.data, D)
    dense = torch.as_tensor(x)
    size = likelihood.size(dense, None)
    torch.testing.assert_close(likelihood.size(tensor, None), size)
    ours = likelihood.encoder_input(tensor, size)
    layer = InputLinear(D, 4)
    torch.testing.assert_close(layer(ours), layer(likelihood.encoder_input(dense, size)))
    torch.testing.assert_close(
        likelihood.log_prob(outputs, likelihood.target(tensor, size)),
        likelihood.log_prob(outputs, likelihood.target(dense, size)),
    )


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "normal"])
@pytest.mark.parametrize(
    "chosen", [[5, 2, 11], [3], [], list(range(N))], ids=["some", "one without counts", "none", "all"]
)
def test_rows_of_a_sparse_target_are_those_of_the_dense_one_and_stay_sparse(name, chosen):
    x = data(KIND[name])
    x[3] = 0
    likelihood, _ = build(name, x)
    csr, chosen = sparse.csr_array(x), torch.tensor(chosen, dtype=torch.int64)
    size = likelihood.size(torch.as_tensor(x), None)
    rows = likelihood.target(csr_tensor(csr.indptr, csr.indices, csr.data, D), size).rows(chosen)
    of_dense = likelihood.target(torch.as_tensor(x), size).rows(chosen)
    torch.testing.assert_close(rows.dense, of_dense.dense)
    torch.testing.assert_close(rows.size, size[chosen])
    assert isinstance(rows.values, SparseColumns) or is_sparse(rows.values)


def test_depth_is_kept_out_of_the_encoder():
    x = torch.as_tensor(data("counts")) + 1
    likelihood, _ = build("poisson", x.numpy())
    a = likelihood.encoder_input(x, likelihood.size(x, None))
    b = likelihood.encoder_input(7 * x, likelihood.size(7 * x, None))
    torch.testing.assert_close(a, b)


def test_missing_entries_are_the_feature_mean_for_the_encoder():
    for name, kind in (("normal", "real"), ("nb", "counts")):
        x = data(kind)
        x[2, 3] = np.nan
        likelihood, _ = build(name, x)
        filled = x.copy()
        size = likelihood.size(torch.as_tensor(x), None)
        filled[2, 3] = np.nanmean(x[:, 3]) * (size[2, 0] if name == "nb" else 1)
        torch.testing.assert_close(
            likelihood.encoder_input(torch.as_tensor(x), size), likelihood.encoder_input(torch.as_tensor(filled), size),
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_constant_features_do_no_harm():
    x = data("real")
    x[:, 2] = 4.2
    likelihood, outputs = build("normal", x)
    size = torch.ones(N, 1)
    full = likelihood.log_prob(outputs, likelihood.target(torch.as_tensor(x), size))
    np.testing.assert_allclose(likelihood.expected(outputs, size)[..., 2].detach(), 4.2, rtol=1e-5)
    moved = outputs.clone()
    moved[..., 2] += 100
    torch.testing.assert_close(full, likelihood.log_prob(moved, likelihood.target(torch.as_tensor(x), size)))


@pytest.mark.parametrize(
    ("kind", "default", "fitting"),
    [
        ("real", "normal", {"normal"}),
        ("counts", "nb", {"normal", "poisson", "nb", "zinb"}),
        ("binary", "bernoulli", set(LIKELIHOODS)),
    ],
)
def test_defaults_and_refusals(kind, default, fitting):
    summary = summarise(data(kind), "rna")
    assert resolve_likelihood(None, summary, "rna") == default
    for name in LIKELIHOODS:
        if name in fitting:
            assert resolve_likelihood(name, summary, "rna") == name
        else:
            with pytest.raises(
                ValueError, match=rf"'{name}' does not fit modality 'rna', which holds .* use '"
            ) as error:
                resolve_likelihood(name, summary, "rna")
            assert all(repr(fit) in str(error.value) for fit in fitting)


def test_unknown_likelihood():
    with pytest.raises(ValueError, match=r"Unknown likelihood 'gaussian' for modality 'rna'"):
        resolve_likelihood("gaussian", summarise(data("real"), "rna"), "rna")
