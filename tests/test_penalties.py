"""InfoNCE against its definition, one cell at a time."""

from __future__ import annotations

import math

import pytest
import torch

from vennvi.penalties import info_nce


def naive(a, b, present, scale):
    rows = [i for i in range(len(a)) if present[i] > 0]

    def log_odds(i, others, anchor_first):
        pairs = [(i, j) if anchor_first else (j, i) for j in others]
        scores = [-float((a[p] - b[q]).square().sum()) / (2 * scale**2) for p, q in pairs]
        own = -float((a[i] - b[i]).square().sum()) / (2 * scale**2)
        return own - math.log(sum(math.exp(score) for score in scores))

    return -sum(log_odds(i, rows, True) + log_odds(i, rows, False) for i in rows) / (2 * len(rows))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("absent", [False, True])
def test_definition(scale, absent):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    present = torch.tensor([1, 1, 0, 1, 1, 0, 1, 1, 1.0]) if absent else torch.ones(9)
    assert float(info_nce(a, b, present, scale)) == pytest.approx(naive(a, b, present, scale), rel=1e-4)


def test_symmetric_and_bounded():
    torch.manual_seed(0)
    a, b, present = torch.randn(64, 4), torch.randn(64, 4), torch.ones(64)
    torch.testing.assert_close(info_nce(a, b, present, 1.0), info_nce(b, a, present, 1.0))
    assert info_nce(a, a, present, 0.01) < 1e-4
    assert float(info_nce(torch.zeros(64, 4), torch.zeros(64, 4), present, 1.0)) == pytest.approx(
        math.log(64), rel=1e-5
    )


@pytest.mark.parametrize("present", [[0, 0, 0], [1, 0, 0]])
def test_nobody_to_compare_with_is_nothing(present):
    a = torch.randn(3, 2, requires_grad=True)
    loss = info_nce(a, torch.randn(3, 2), torch.tensor(present).float(), 1.0)
    assert loss == 0
    loss.backward()
    assert not a.grad.any()


def test_an_absent_cell_has_no_gradient():
    a, b = torch.randn(5, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    info_nce(a, b, torch.tensor([1.0, 1, 0, 1, 1]), 1.0).backward()
    for x in (a, b):
        assert not x.grad[2].any()
        assert x.grad[[0, 1, 3, 4]].abs().sum(1).min() > 0
