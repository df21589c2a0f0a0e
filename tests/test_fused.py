"""Value and gradient of the fused scores against automatic differentiation of the likelihoods' own log-probability."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.special import digamma
from test_likelihoods import KIND, D, N, build, data
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from vennvi.data._dataset import csr_tensor
from vennvi.fused import (
    LateGradient,
    Multiply,
    NumpyMultiply,
    _blockwise,
    _input_product,
    _multiply,
    _negative_binomial,
    _threads,
    fastest_multiply,
    in_threads,
    input_product,
    late_gradients,
    multiplication,
    multiplied_by,
    n_shares,
    others_at_hand,
)
from vennvi.fused._elementwise import Rule
from vennvi.likelihoods import LIKELIHOODS

N_TERMS, N_HIDDEN = 3, 4
FACTORISING = [name for name, likelihood in LIKELIHOODS.items() if likelihood.factorises]


def setting(name, missing):
    """A likelihood, a minibatch with an absent cell, activations, a last layer, and weights of which some are zero."""
    x = data(KIND[name])
    likelihood, _ = build(name, x)
    given = torch.as_tensor(x)
    size = likelihood.size(given, None)
    if missing:
        given = torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.3, given, torch.nan)
    hidden = torch.randn(N_TERMS, N, N_HIDDEN, requires_grad=True)
    layer = nn.Linear(N_HIDDEN, likelihood.n_outputs * D)
    weight = torch.randn(N_TERMS, N) * (torch.rand(N_TERMS, N) > 0.2)
    return likelihood, given, size, hidden, layer, weight


def stored(x):
    """The same as a CSR tensor."""
    matrix = sparse.csr_matrix(x.numpy())
    return csr_tensor(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


def parameters_of(likelihood, layer, hidden):
    return [hidden, *layer.parameters(), *likelihood.parameters()]


def gradients(total, parameters):
    found = torch.autograd.grad(total, parameters)
    return [g.to_dense() if g.is_sparse else g for g in found]


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("block", [pytest.param(1, id="small blocks"), pytest.param(2**18, id="one block")])
def test_score_is_the_weighted_log_probability(name, missing, block, monkeypatch):
    monkeypatch.setitem(_blockwise._BLOCK, "cpu", block)
    monkeypatch.setattr(_negative_binomial, "_BLOCK", block)
    likelihood, x, size, hidden, layer, weight = setting(name, missing)
    target = likelihood.target(x, size)
    parameters = parameters_of(likelihood, layer, hidden)
    log_prob = likelihood.log_prob(layer(hidden), target)
    expected = (weight * log_prob).sum()
    total, rows = likelihood.score(hidden, layer, target, weight)
    assert not rows.requires_grad
    torch.testing.assert_close(rows, log_prob.detach(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    found, wanted = gradients(2 * total, parameters), gradients(2 * expected, parameters)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(likelihood.score(hidden, layer, target, weight)[0], expected, rtol=1e-5, atol=1e-4)


def test_narrow_blocks_are_really_used(monkeypatch):
    _, _, size, hidden, _, weight = setting("bernoulli", False)
    widths = []

    def spy(o, *rest):
        widths.append(len(o))
        return o.sum(0), o, ()

    wide = nn.Linear(N_HIDDEN, 200)
    monkeypatch.setitem(_blockwise._BLOCK, "cpu", 1)
    _blockwise.blockwise_score(hidden, wide.weight, wide.bias, (), Rule(spy), torch.zeros(N, 200), None, size, weight)
    assert widths == [66, 67, 67]


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "as on a GPU"])
@pytest.mark.parametrize("name", FACTORISING)
@pytest.mark.parametrize(("layout", "missing"), [("dense", False), ("dense", True), ("csr", False)])
def test_chosen_features_score_like_a_likelihood_that_has_no_others(name, missing, layout, in_place, monkeypatch):
    monkeypatch.setattr(_blockwise, "lie_in_place", lambda device: in_place)
    likelihood, x, size, hidden, layer, weight = setting(name, missing)
    runs, columns = [slice(0, 1), slice(3, 5)], torch.tensor([0, 3, 4])
    full = likelihood.target(x, size)
    if layout == "csr":
        x = stored(x)
    total, rows = likelihood.score(hidden, layer, likelihood.target(x, size, runs), weight, runs)
    # the other features count nothing: as if they were missing
    chosen = torch.zeros(D).index_fill_(0, columns, 1.0)
    observed = chosen if full.observed is None else full.observed * chosen
    log_prob = likelihood.log_prob(layer(hidden), type(full)(full.values, observed.expand(N, D), size))
    torch.testing.assert_close(rows, log_prob.detach(), rtol=1e-5, atol=1e-4)
    found = gradients(total, parameters_of(likelihood, layer, hidden))
    wanted = gradients((weight * log_prob).sum(), parameters_of(likelihood, layer, hidden))
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-4)


def test_gradients_of_chosen_features_are_sparse():
    likelihood, x, size, hidden, layer, weight = setting("bernoulli", False)
    runs = [slice(1, 2), slice(5, 6)]
    total, _ = likelihood.score(hidden, layer, likelihood.target(x, size, runs), weight, runs)
    total.backward()
    for parameter in layer.parameters():
        assert parameter.grad.is_sparse
        assert sorted(parameter.grad.coalesce().indices()[0].tolist()) == [1, 5]


@pytest.mark.parametrize("name", FACTORISING)
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_products_are_in_the_precision_of_autocast(name, layout):
    """In bfloat16 they differ from those in single precision by its three digits; in float16 they are in single."""
    likelihood, x, size, hidden, layer, weight = setting(name, missing=False)
    target = likelihood.target(stored(x) if layout == "csr" else x, size)
    parameters, found = parameters_of(likelihood, layer, hidden), {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            total, rows = likelihood.score(hidden, layer, target, weight)
        found[dtype] = [total.detach(), rows, *gradients(total, parameters)]
        assert {value.dtype for value in found[dtype]} == {torch.float32}
    for single, low, half in zip(*found.values(), strict=True):
        torch.testing.assert_close(half, single)
        torch.testing.assert_close(low, single, rtol=0.05, atol=0.02 * float(single.abs().max()))
    assert not torch.equal(found[torch.bfloat16][1], found[torch.float32][1])


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("few", [0, 32])
def test_products_by_numpy_are_those_by_torch(name, layout, threads, few, request, monkeypatch):
    monkeypatch.setattr(_multiply, "_FEW", few)
    if threads == 2:
        request.getfixturevalue("two_threads")
    likelihood, x, size, hidden, layer, weight = setting(name, missing=False)
    target = likelihood.target(stored(x) if layout == "csr" else x, size)
    parameters, found = parameters_of(likelihood, layer, hidden), []
    for multiply in (Multiply(), NumpyMultiply()):
        with multiplied_by(multiply):
            total, rows = likelihood.score(hidden, layer, target, weight)
        found.append([total.detach(), rows, *gradients(total, parameters)])
    for by_torch, by_numpy in zip(*found, strict=True):
        torch.testing.assert_close(by_numpy, by_torch, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 32, 33, 100])
@pytest.mark.parametrize("multiply", [Multiply(), NumpyMultiply(), _multiply.LowPrecisionMultiply(torch.bfloat16)])
def test_products_are_added_whatever_they_are_sums_of(multiply, n):
    a, b, before = torch.randn(6, n), torch.randn(n, 5), torch.randn(6, 5)
    to = before.clone()
    multiply.add(multiply.factor(a), multiply.factor(b), to=to, alpha=-1)
    tolerance = {"rtol": 0.1, "atol": 0.3} if isinstance(multiply, _multiply.LowPrecisionMultiply) else {}
    torch.testing.assert_close(to, before - a @ b, **tolerance)


@pytest.mark.parametrize(("amd", "blas", "mkl"), [(True, "scipy-openblas", True), (False, "scipy-openblas", True),
                                                  (True, "accelerate", True), (True, "openblas", False)])  # fmt: skip
def test_numpy_multiplies_where_torch_has_no_kernels_for_the_processor(amd, blas, mkl, monkeypatch):
    monkeypatch.setattr(_multiply, "_is_amd", lambda: amd)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(np, "show_config", lambda mode: {"Build Dependencies": {"blas": {"name": blas}}})
    assert isinstance(fastest_multiply(), NumpyMultiply) == (amd and mkl and "openblas" in blas)


def test_numpy_multiplies_on_one_thread_and_only_meanwhile():
    def threads():
        return {blas["filepath"]: blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert before
        assert set(before.values()) == {2}
        with multiplied_by(NumpyMultiply()):
            assert set(threads().values()) == {1}
            assert isinstance(multiplication("cpu"), NumpyMultiply)
            assert not isinstance(multiplication("cuda"), NumpyMultiply)
            with torch.autocast("cpu", torch.bfloat16):
                assert not isinstance(multiplication("cpu"), NumpyMultiply)
        assert threads() == before
        assert not isinstance(multiplication("cpu"), NumpyMultiply)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_activations_may_lie_in_any_order(name):
    likelihood, x, size, hidden, layer, weight = setting(name, missing=False)
    target, permuted = likelihood.target(x, size), hidden.detach().transpose(0, 1).contiguous().transpose(0, 1)
    found = []
    for given in (hidden, permuted.requires_grad_()):
        total, _ = likelihood.score(given, layer, target, weight)
        found.append(torch.autograd.grad(total, given)[0])
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_products_of_other_precisions_are_torchs(dtype):
    x, weight, c, loadings = (torch.randn(shape).to(dtype) for shape in ((5, 7), (7, 3), (5, 2), (2, 7)))
    with multiplied_by(NumpyMultiply()):
        found = input_product(x, weight.requires_grad_(), c, loadings)
        (gradient,) = torch.autograd.grad(found.sum(), weight)
    torch.testing.assert_close(found, x @ weight - c @ (loadings @ weight))
    assert gradient.dtype == dtype


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads, and any work is worth sharing out."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(_threads, "_WORTH_A_THREAD", 1e-9)
    yield
    torch.set_num_threads(before)


def on_one_thread(call):
    """Result of a call that shares nothing out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_threads, "_WORTH_A_THREAD", float("inf"))
        return call()


@pytest.fixture
def parts(monkeypatch):
    """Numbers of parts that work was shared out in, call by call."""
    seen = []
    for module in (_blockwise, _negative_binomial, _input_product):
        monkeypatch.setattr(
            module, "in_threads", lambda work, parts: seen.append(len(parts)) or in_threads(work, parts)
        )
    return seen


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", [*FACTORISING, "nb"])
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_shares_of_threads_score_as_one(name, layout, inference, parts, monkeypatch):
    torch.manual_seed(0)
    d, n = 301, 5
    likelihood = LIKELIHOODS[name](d)
    x = torch.poisson(torch.full((n, d), 0.3)).clamp_max(1.0)
    if layout == "csr":
        x = stored(x)
    if name == "normal" and layout == "csr":
        pytest.skip("real values are dense")
    size, weight, layer = torch.ones(n, 1), torch.randn(N_TERMS, n), nn.Linear(N_HIDDEN, d)
    hidden = torch.randn(N_TERMS, n, N_HIDDEN, requires_grad=True)
    parameters = parameters_of(likelihood, layer, hidden)

    def score():
        with torch.inference_mode(inference):
            total, rows = likelihood.score(hidden, layer, likelihood.target(x, size), weight)
        return [total.detach(), rows, *([] if inference else gradients(total, parameters))]

    one = on_one_thread(score)
    monkeypatch.setitem(_blockwise._BLOCK, "cpu", 1)  # blocks of 64
    several = score()
    assert parts == ([1] * (len(parts) // 2) + [2] * (len(parts) // 2))
    assert torch.get_num_threads() == 2
    for a, b in zip(one, several, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("two_threads")
def test_threads_report_errors_and_know_their_process(monkeypatch):
    for bad in ([1, 0], [0, 1]):  # of another thread, and of the caller
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda part: 1 // part, bad)
    first, second = in_threads(lambda _: threading.get_ident(), [0, 1])
    assert first == threading.get_ident() != second
    assert in_threads(lambda _: torch.get_num_threads(), [0, 1]) == [1, 1]
    others = []
    thread = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
    thread.start(), thread.join()
    assert others == [2], "what threads of others start with is not changed"
    monkeypatch.setattr("os.getpid", lambda: -1)  # as in a forked process, which has none of these threads
    assert second != in_threads(lambda _: threading.get_ident(), [0, 1])[1]


@pytest.mark.usefixtures("two_threads")
def test_others_are_at_hand_while_the_caller_is_on_one_thread():
    cpu = torch.device("cpu")
    with others_at_hand():
        assert torch.get_num_threads() == 1
        assert n_shares(cpu, 1.0) == 2
        with others_at_hand():
            assert n_shares(cpu, 1.0) == 2
        assert in_threads(lambda _: n_shares(cpu, 1.0), [0, 1]) == [1, 1], "a share is not shared out again"
        nested = in_threads(lambda i: in_threads(lambda j: 10 * i + j, [0, 1]), [0, 1])
        assert nested == [[0, 1], [10, 11]]
    assert torch.get_num_threads() == 2
    assert n_shares(torch.device("meta"), 1.0) == 1


@pytest.mark.parametrize("log_odds", [15.0, 25.0, 60.0, 500.0])
@pytest.mark.parametrize("missing", [False, True])
def test_zero_one_data_that_the_model_is_sure_of(log_odds, missing):
    """Right or wrong: no probability is rounded to 0 or 1 on the way to its logarithm."""
    likelihood, x, size, hidden, layer, weight = setting("bernoulli", missing)
    layer.bias.data.fill_(log_odds)
    target = likelihood.target(x, size)
    total, rows = likelihood.score(hidden, layer, target, weight)
    wanted = likelihood.log_prob(layer(hidden).double(), target)
    assert (rows <= 1e-3).all()
    torch.testing.assert_close(rows, wanted.detach().float(), rtol=1e-4, atol=1e-3)
    assert torch.isfinite(total)


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("wide", "multiply", "few"),
    [(1, Multiply(), 32), (1000, Multiply(), 32), (1, NumpyMultiply(), 32), (1, NumpyMultiply(), 0)],
)
def test_input_product_is_the_dense_one(deflated, layout, threads, wide, multiply, few, parts, request, monkeypatch):
    monkeypatch.setattr(_input_product, "_WIDE", wide)
    monkeypatch.setattr(_multiply, "_FEW", few)
    with multiplied_by(multiply):
        check_input_product(deflated, layout, threads, parts, request)


def check_input_product(deflated, layout, threads, parts, request):
    if threads == 2:
        request.getfixturevalue("two_threads")
    rng = np.random.default_rng(0)
    dense = torch.as_tensor((rng.random((5, 7)) * (rng.random((5, 7)) < 0.4)).astype(np.float32))
    dense[2] = 0  # an absent cell
    x = stored(dense) if layout == "csr" else dense
    weight = torch.randn(7, 3, requires_grad=True)
    by_product = torch.randn(5, 3)
    out = (torch.randn(5, 2), torch.randn(2, 7)) if deflated else ()
    meant = dense - out[0] @ out[1] if deflated else dense
    torch.testing.assert_close(input_product(x, weight, *out), meant @ weight)
    (found,) = torch.autograd.grad(input_product(x, weight, *out), weight, by_product)
    torch.testing.assert_close(found, meant.T @ by_product)
    with late_gradients():
        product = input_product(x, weight, *out)
    (late,) = torch.autograd.grad(product, weight, by_product)
    assert isinstance(late, LateGradient) == (_input_product._WIDE == 1)
    with torch.autocast("cpu", torch.bfloat16):
        rows = late.late_rows[1:4] if isinstance(late, LateGradient) else late[1:4]
        torch.testing.assert_close(rows, found[1:4])
        torch.testing.assert_close(late + 0, found)
    with torch.no_grad():
        torch.testing.assert_close(input_product(x, weight, *out), meant @ weight)
    assert set(parts) <= {threads}


def test_gradients_are_not_late_where_processes_average_them(monkeypatch):
    monkeypatch.setattr(_input_product, "_WIDE", 1)
    weight = torch.randn(7, 3, requires_grad=True)
    for processes in (False, True):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda processes=processes: processes)
        with late_gradients():
            product = input_product(stored(torch.eye(5, 7)), weight)
        (gradient,) = torch.autograd.grad(product.sum(), weight)
        assert isinstance(gradient, LateGradient) != processes


def test_input_product_reaches_whatever_needs_a_gradient():
    x, weight, c, loadings = (torch.randn(shape, requires_grad=True) for shape in ((5, 7), (7, 3), (5, 2), (2, 7)))
    given = (x, weight, c, loadings)
    found = torch.autograd.grad(input_product(*given).square().sum(), given)
    wanted = torch.autograd.grad(((x - c @ loadings) @ weight).square().sum(), given)
    torch.testing.assert_close(found, wanted)


def test_input_product_is_in_single_precision_under_autocast():
    """Also where the backward pass is."""
    x, weight = stored(torch.eye(5, 7)), torch.randn(7, 3, requires_grad=True)
    out = torch.randn(5, 2), torch.randn(2, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = input_product(x, weight, *out)
        (found,) = torch.autograd.grad(product.sum(), weight)
    torch.testing.assert_close(product, (torch.eye(5, 7) - out[0] @ out[1]) @ weight)
    torch.testing.assert_close(found, (torch.eye(5, 7) - out[0] @ out[1]).T @ torch.ones(5, 3))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", [*FACTORISING, "nb"])
def test_a_single_feature_is_no_work_for_two_threads(name):
    _, x, size, hidden, _, weight = setting(name, missing=False)
    one = LIKELIHOODS[name](1)
    target, narrow = one.target(x[:, :1], size), nn.Linear(N_HIDDEN, 1)
    total, rows = one.score(hidden, narrow, target, weight)
    expected = one.log_prob(narrow(hidden), target)
    torch.testing.assert_close(rows, expected.detach(), rtol=1e-4, atol=1e-4)
    found, wanted = (gradients(t, parameters_of(one, narrow, hidden)) for t in (total, (weight * expected).sum()))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("theta", [0.1, 1.0, 100.0, 3000.0])
def test_negative_binomial_keeps_its_precision_over_many_features(theta):
    """Against double precision: with a large theta, it is a small difference of sums of thousands."""
    rng, n, d = np.random.default_rng(0), 6, 20_000
    outputs = rng.normal(size=d)
    rate = np.exp(outputs) / np.exp(outputs).sum() * 2000
    x = rng.poisson(rate, size=(n, d))
    parameters = (torch.tensor(outputs, dtype=torch.float32), torch.full((d,), theta, requires_grad=True))
    layer = torch.zeros(1, n, 2), torch.zeros(d, 2), parameters[0]
    values, rates = stored(torch.tensor(x, dtype=torch.float32)), torch.full((n, 1), 2000.0)
    total, rows = _negative_binomial.negative_binomial_score(*layer, parameters[1], values, rates, torch.ones(1, n))
    expected = stats.nbinom.logpmf(x, theta, theta / (theta + rate)).sum(1)
    np.testing.assert_allclose(rows[0].numpy(), expected, rtol=1e-5, atol=0.01 + 1e-3 * theta)
    if theta > 100:  # the derivative is far below what single precision tells of digamma
        return
    by_theta = digamma(x + theta) - digamma(theta) - np.log1p(rate / theta) + (rate - x) / (theta + rate)
    (found,) = torch.autograd.grad(total, parameters[1])
    scale = np.abs(by_theta).sum(0).max()
    np.testing.assert_allclose(found.numpy(), by_theta.sum(0), rtol=1e-3, atol=1e-2 * scale)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "nb"])
def test_no_cell_has_no_score(name):
    """A minibatch in which every cell lacks the modality."""
    likelihood, x, _, _, layer, _ = setting(name, missing=False)
    nobody = stored(x[:0])
    target = likelihood.target(nobody, torch.ones(0, 1))
    hidden = torch.zeros(N_TERMS, 0, N_HIDDEN, requires_grad=True)
    total, rows = likelihood.score(hidden, layer, target, torch.ones(N_TERMS, 0))
    total.backward()
    assert total.item() == 0
    assert rows.shape == (N_TERMS, 0)
    assert not layer.weight.grad.any()
