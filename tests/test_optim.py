"""RowAdam against torch's Adam."""

from __future__ import annotations

import torch

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


def test_closure_is_called_with_gradients_on():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = RowAdam([weight], lr=0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    torch.testing.assert_close(weight.detach(), torch.full((2,), 0.9))
