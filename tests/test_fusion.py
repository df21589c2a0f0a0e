"""Products and mixtures of Gaussians against densities, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal, kl_divergence

from vennvi.fusion import mean_of_experts, product_of_experts, sample_mixture, weighted_kl


@pytest.fixture
def experts():
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(3, 5, 2, generator=generator)
    scale = torch.rand(3, 5, 2, generator=generator) + 0.3
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 0, 1, 0]]).float().unsqueeze(-1)
    return loc, scale, mask


@pytest.mark.parametrize("prior", [True, False])
def test_product_is_the_normalised_product_of_densities(experts, prior):
    loc, scale, mask = experts
    q = product_of_experts(loc, scale, mask, prior=prior)
    grid = np.linspace(-12, 12, 20001)
    for i in range(5):
        for d in range(2):
            density = stats.norm.logpdf(grid) if prior else np.zeros_like(grid)
            for k in range(3):
                if mask[k, i, 0]:
                    density = density + stats.norm.logpdf(grid, loc[k, i, d], scale[k, i, d])
            if not prior and mask[:, i].sum() == 0:
                assert torch.isnan(q.loc[i]).all()
                continue
            weight = np.exp(density - density.max())
            weight /= weight.sum()
            mean = (weight * grid).sum()
            assert q.loc[i, d] == pytest.approx(mean, abs=1e-4)
            assert q.scale[i, d] == pytest.approx(np.sqrt((weight * (grid - mean) ** 2).sum()), rel=1e-4)


def test_masked_experts_may_be_garbage(experts):
    loc, scale, mask = experts
    spoiled = torch.where(mask > 0, loc, torch.nan), torch.where(mask > 0, scale, torch.inf)
    a, b = product_of_experts(loc, scale, mask), product_of_experts(*spoiled, mask)
    torch.testing.assert_close(a.loc, b.loc)
    torch.testing.assert_close(a.scale, b.scale)
    torch.testing.assert_close(mean_of_experts(loc, mask), mean_of_experts(spoiled[0], mask), equal_nan=True)


def test_mean_of_experts(experts):
    loc, _, mask = experts
    mean = mean_of_experts(loc, mask)
    torch.testing.assert_close(mean[0], loc[:, 0].mean(0))
    torch.testing.assert_close(mean[2], loc[:2, 2].mean(0))
    assert torch.isnan(mean[4]).all()


def test_mixture_samples_every_present_expert_alike(experts):
    loc, _, mask = experts
    torch.manual_seed(0)
    draws = torch.stack([sample_mixture(loc, torch.full_like(loc, 1e-4), mask) for _ in range(3000)])
    for i, present in enumerate(mask.squeeze(-1).T):
        for k in range(3):
            near = ((draws[:, i] - loc[k, i]).abs() < 0.01).all(-1).float().mean()
            assert near == pytest.approx(float(present[k] / present.sum().clamp_min(1)), abs=0.04)
    assert torch.isnan(draws[:, 4]).all()


def test_kl(experts):
    loc, scale, _ = experts
    expected = kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).sum(-1)
    weight = torch.rand(expected.shape)
    for parameter in (loc, scale):
        parameter.requires_grad_()
    total, rows = weighted_kl([Normal(*each) for each in zip(loc, scale, strict=True)], weight)
    torch.testing.assert_close(rows, expected)
    reference = (weight * kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).sum(-1)).sum()
    torch.testing.assert_close(total, reference)
    for found, wanted in zip(*(torch.autograd.grad(each, (loc, scale)) for each in (total, reference)), strict=True):
        torch.testing.assert_close(found, wanted)
