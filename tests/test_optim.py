"""RowAdam against torch's Adam."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from vennvi import optim
from vennvi.fused import LateGradient, LateRows, _late, in_threads
from vennvi.optim import RowAdam


def at_rows(rows, values, shape):
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, size=shape, is_coalesced=True, check_invariants=False)


def test_dense_gradients_are_torchs():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    a, b = RowAdam([ours], lr=0.01, fused=True), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(5):
        ours.grad = torch.randn(4, 3)
        theirs.grad = ours.grad.clone()
        a.step(), b.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"weight_decay": 0.1},
        {"maximize": True},
        {"amsgrad": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
)
def test_shares_of_threads_are_torchs(changed, monkeypatch):
    """Three parameters of which two are dealt out, and one that has no gradient in some steps."""
    monkeypatch.setattr(optim, "_MANY", 10)
    monkeypatch.setattr(optim, "n_shares", lambda device, nanoseconds: 3)
    monkeypatch.setattr(optim, "n_threads", lambda: 3)
    torch.manual_seed(0)
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (2,), (5, 5))] for _ in range(2))
    a, b = RowAdam(ours, lr=0.01, fused=True, **changed), torch.optim.Adam(theirs, lr=0.01, **changed)
    dealt = []
    monkeypatch.setattr(optim, "in_threads", lambda work, parts: dealt.append(len(parts)) or in_threads(work, parts))
    for k in range(5):
        for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            x.grad = None if i == 2 and k % 2 else torch.randn(x.shape)
            y.grad = None if x.grad is None else x.grad.clone()
        held = [x.grad for x in ours]
        a.step(), b.step()
        assert all(x.grad is g for x, g in zip(ours, held, strict=True)), "gradients are left as they were"
    torch.testing.assert_close(ours, theirs)
    assert dealt == ([] if changed.keys() & {"amsgrad", "decoupled_weight_decay"} else [3] * 5)
    assert a.state_dict()["state"].keys() == b.state_dict()["state"].keys()
    for i, torchs in b.state_dict()["state"].items():
        torch.testing.assert_close(a.state_dict()["state"][i], torchs)


def test_shares_of_threads_update_rows_like_one(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(optim, "lie_in_place", lambda device: True)
    one, several = (torch.nn.Parameter(torch.ones(6, 3)) for _ in range(2))
    a, b = (RowAdam([weight], lr=0.01, fused=True) for weight in (one, several))
    for touched in ([0, 2, 3, 5], [1, 2], [0, 1, 2, 3, 4, 5]):
        gradient = torch.randn(len(touched), 3)
        for n, weight, optimizer in ((1, one, a), (3, several, b)):
            monkeypatch.setattr(optim, "n_shares", lambda device, nanoseconds, n=n: n)
            weight.grad = at_rows(touched, gradient.clone(), (6, 3))
            optimizer.step()
    torch.testing.assert_close(several, one)


@pytest.fixture(params=[True, False], ids=["in place", "as on a GPU"], autouse=True)
def where_rows_are_updated(request, monkeypatch):
    monkeypatch.setattr(optim, "lie_in_place", lambda device: request.param)


def test_all_rows_at_once_are_torchs():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    a, b = RowAdam([ours], lr=0.01, weight_decay=0.1, fused=True), torch.optim.Adam([theirs], lr=0.01, weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(4, 3)
        ours.grad, theirs.grad = at_rows([0, 1, 2, 3], gradient, (4, 3)), gradient
        a.step(), b.step()
    torch.testing.assert_close(ours, theirs)


def test_rows_without_gradient_stay_and_the_others_move_as_if_alone():
    """A row touched in every second step moves as under an Adam of its own, with twice the steps between."""
    torch.manual_seed(0)
    weight, alone = torch.nn.Parameter(torch.ones(4, 3)), torch.nn.Parameter(torch.ones(2, 3))
    bias = torch.nn.Parameter(torch.zeros(4))
    rows, other = RowAdam([weight, bias], lr=0.01), torch.optim.Adam([alone], lr=0.01)
    for k in range(8):
        gradient = torch.randn(2, 3)
        touched = [0, 2] if k % 2 == 0 else [1, 3]
        before = weight.detach().clone()
        weight.grad, bias.grad = at_rows(touched, gradient, (4, 3)), at_rows(touched, gradient[:, 0].clone(), (4,))
        rows.step()
        assert weight.grad.is_sparse, "gradients are left as they were"
        still = [i for i in range(4) if i not in touched]
        torch.testing.assert_close(weight.detach()[still], before[still], rtol=0, atol=0)
        if k % 2 == 0:
            alone.grad = gradient
            other.step()
    # t counts half a step too many at most: within the rounding of the bias correction
    torch.testing.assert_close(weight.detach()[[0, 2]], alone.detach(), rtol=0.02, atol=0.005)


def test_hooks_of_a_step_are_called_once():
    """Also when torch has wrapped its own Adam, which it does when one is made."""
    w, calls = torch.nn.Parameter(torch.zeros(3)), []
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    optimizer = RowAdam([w], lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    w.grad = torch.ones(3)
    optimizer.step()
    assert calls == ["before", "after"]


def test_closure_is_called_with_gradients_on():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = RowAdam([weight], lr=0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.9))


def test_accumulated_gradients_are_added_up():
    """What two backward passes leave has every row twice, or rows out of order."""
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.ones(4, 3)) for _ in range(2)]
    biases = [torch.nn.Parameter(torch.zeros(4)) for _ in range(2)]
    optimizers = RowAdam([weights[0], biases[0]], lr=0.1, fused=True), torch.optim.Adam([weights[1], biases[1]], lr=0.1)
    for order in ([0, 1, 2, 3], [2, 3, 0, 1]) * 2:
        for parameters in (weights, biases):
            first, second = torch.randn(2, *parameters[0].shape)
            rows, values = [0, 1, 2, 3, *order], torch.cat([first, second[order]])
            parameters[0].grad = torch.sparse_coo_tensor([rows], values, first.shape, check_invariants=True)
            parameters[1].grad = first + second
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(biases[0], biases[1])


@pytest.mark.parametrize("fused", [True, False])
def test_a_scaler_is_obeyed_by_rows_as_by_the_rest(fused):
    """A step that overflows changes neither; one that does not is that of the gradients before they were scaled."""
    torch.manual_seed(0)
    start = torch.ones(4, 3)
    scaled, plain, dense = (torch.nn.Parameter(start.clone()) for _ in range(3))
    optimizer = RowAdam([scaled, dense], lr=0.1, fused=fused)
    without = torch.optim.Adam([plain], lr=0.1, eps=1e-8)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for overflows in (False, True, False):
        gradient = torch.randn(4, 3)
        scale = scaler.scale(torch.ones(())).item()
        before = scaled.detach().clone(), dense.detach().clone()
        given = gradient * scale
        if overflows:
            given[1, 1] = torch.inf
        scaled.grad, dense.grad = at_rows([0, 1, 2, 3], given.clone(), (4, 3)), given.clone()
        scaler.step(optimizer)
        scaler.update()
        if overflows:
            torch.testing.assert_close((scaled.detach(), dense.detach()), before, rtol=0, atol=0)
        else:
            plain.grad = gradient
            without.step()
            torch.testing.assert_close(scaled, plain)
            torch.testing.assert_close(dense, plain)


def late(weight, factors):
    """A late gradient: a product that is made some rows at a time; and the calls that made them."""
    made = []
    rows = LateRows(weight, lambda some: made.append(some) or factors[0][some] @ factors[1])
    return LateGradient(rows), made


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "changed", [{}, {"weight_decay": 0.1}, {"maximize": True}, {"amsgrad": True}, {"fused": False}]
)
def test_late_gradients_update_as_the_whole_would(n_threads, changed, monkeypatch):
    monkeypatch.setattr(_late, "_N_ROWS", 4)
    monkeypatch.setattr(optim, "n_shares", lambda *_: n_threads)
    wholes, whole = [], LateRows.whole
    monkeypatch.setattr(LateRows, "whole", lambda rows: wholes.append(rows) or whole(rows))
    start, steps = torch.randn(11, 3), [(torch.randn(11, 2), torch.randn(2, 3)) for _ in range(3)]
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    options = {"lr": 0.01, "fused": True} | changed
    ours, torchs = RowAdam([weights[0]], **options), torch.optim.Adam([weights[1]], **options)
    for factors in steps:
        gradient, made = late(weights[0], factors)
        weights[0].grad, weights[1].grad = gradient, factors[0] @ factors[1]
        wholes.clear()
        ours.step()
        torchs.step()
        by_rows = not changed.keys() & {"amsgrad", "fused"}
        assert len(made) > 2
        assert (not wholes) == by_rows
        torch.testing.assert_close(weights[0].grad + 0, weights[1].grad)
    torch.testing.assert_close(weights[0], weights[1])
    for key, value in torchs.state[weights[1]].items():
        torch.testing.assert_close(ours.state[weights[0]][key], value)


def test_a_late_gradient_is_a_tensor_to_everyone_else():
    """Autograd hands it over as it is and adds others to it; norms and clipping read and write the whole."""
    factors = torch.randn(5, 2), torch.randn(2, 3)
    whole = factors[0] @ factors[1]

    class Late(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            ctx.weight = weight.detach()
            return weight.sum()

        @staticmethod
        def backward(ctx, _):
            return late(ctx.weight, factors)[0]

    weight = torch.nn.Parameter(torch.randn(5, 3))
    Late.apply(weight).backward()
    assert isinstance(weight.grad, LateGradient)
    assert weight.grad.shape == whole.shape
    torch.testing.assert_close(weight.grad.norm(), whole.norm())
    torch.nn.utils.clip_grad_norm_([weight], 0.5)
    torch.testing.assert_close(weight.grad + 0, whole * (0.5 / whole.norm()))
    torch.testing.assert_close(weight.grad.late_rows[1:3], (weight.grad + 0)[1:3])
    weight.grad = None
    for _ in range(2):
        Late.apply(weight).backward()
    (3 * weight.sum()).backward()
    torch.testing.assert_close(weight.grad + 0, 2 * whole + 3)
    torch.optim.SGD([weight], lr=1.0).step()
    weight.grad.zero_()
    assert not weight.grad.any()


def test_a_late_gradient_is_read_in_every_way():
    factors = torch.randn(5, 2), torch.randn(2, 3)
    whole = factors[0] @ factors[1]
    ways = {
        "array": lambda g: np.asarray(g),
        "numpy": lambda g: g.detach().cpu().numpy(),
        "list": lambda g: g.tolist(),
        "copy": lambda g: copy.deepcopy(g).numpy(),
        "pickle": lambda g: pickle.loads(pickle.dumps(g)).numpy(),
        "rows": lambda g: g.late_rows[0:5].numpy(),
    }
    for way, read in ways.items():
        np.testing.assert_allclose(read(late(torch.zeros(5, 3), factors)[0]), whole, rtol=1e-6, err_msg=way)
    assert repr(late(torch.zeros(5, 3), factors)[0]) == repr(whole)


def test_late_rows_may_lie_in_any_order():
    start, transposed = torch.randn(6, 3), torch.randn(3, 6)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    weights[0].grad, weights[1].grad = (
        LateGradient(LateRows(weights[0], lambda some: transposed.T[some])),
        transposed.T.contiguous(),
    )
    for weight in weights:
        RowAdam([weight], lr=0.1, fused=True).step()
    torch.testing.assert_close(weights[0], weights[1])
