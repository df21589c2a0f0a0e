"""How several experts' beliefs about one latent become one: products, means and mixtures of Gaussians.

But for the KL divergences, every function takes ``loc`` and ``scale`` of shape ``(n_experts, n, d)`` and ``mask`` of
shape ``(n_experts, n, 1)`` (1 where the expert may speak), and treats a masked expert as if it were not there, whatever its numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Normal


def gaussian(loc: Tensor, scale: Tensor) -> Normal:
    """``N(loc, scale^2)`` without argument checks, which would cost a pass over the data each."""
    return Normal(loc, scale, validate_args=False)


def weighted_kl(q: Sequence[Normal], weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Weighted sum of the KL divergences of several posteriors to the prior, in one pass over them all.

    .. math:: \sum_{k,i} w_{ki} \, KL[N(\mu_{ki}, \sigma_{ki}^2) \| N(0, I)], \qquad
        KL[N(\mu, \sigma^2) \| N(0, I)] = \sum_d \tfrac12 (\mu_d^2 + \sigma_d^2 - 1) - \log \sigma_d

    Parameters
    ----------
    q
        Posteriors, of shapes ``(n, d_k)``.
    weight
        Weight :math:`w` of each row, shape ``(len(q), n)``.

    Returns
    -------
    The weighted sum, which gradients flow through; and the divergence of each row, ``(len(q), n)``, which they do not.

    Examples
    --------
    >>> total, rows = weighted_kl([gaussian(torch.ones(1, 2), torch.ones(1, 2))], torch.tensor([[3.0]]))
    >>> total, rows
    (tensor(3.), tensor([[1.]]))
    """
    widths = [each.loc.shape[-1] for each in q]
    loc, scale = torch.cat([each.loc for each in q], dim=-1), torch.cat([each.scale for each in q], dim=-1)
    return _WeightedKL.apply(loc, scale, weight, widths)


class _WeightedKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor, weight: Tensor, widths: Sequence[int]) -> tuple[Tensor, Tensor]:
        each = 0.5 * (loc.square() + scale.square() - 1) - scale.log()
        rows = torch.stack([part.sum(-1) for part in each.split(widths, dim=-1)])
        ctx.save_for_backward(loc, scale, weight)
        ctx.widths = widths
        ctx.mark_non_differentiable(rows)
        return (weight * rows).sum(), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        loc, scale, weight = ctx.saved_tensors
        factor = by_total * weight.T
        of_dimension = torch.cat(
            [w.expand(-1, d) for w, d in zip(factor.split(1, dim=-1), ctx.widths, strict=True)], -1
        )
        return of_dimension * loc, of_dimension * (scale - scale.reciprocal()), None, None


def product_of_experts(loc: Tensor, scale: Tensor, mask: Tensor, *, prior: bool = True) -> Normal:
    r"""Product of the present experts and, with ``prior``, of a standard normal expert (Cao & Fleet 2014).

    .. math:: \tau = 1 + \sum_k m_k \sigma_k^{-2}, \qquad \mu = \tau^{-1} \sum_k m_k \sigma_k^{-2} \mu_k,
              \qquad \sigma = \tau^{-1/2}

    Without the prior, a row in which no expert is present is NaN.
    """
    precision = torch.where(mask > 0, scale.square().reciprocal(), 0.0)
    weighted = torch.where(mask > 0, loc, 0.0) * precision
    total = precision.sum(0) + (1.0 if prior else 0.0)
    return gaussian(weighted.sum(0) / total, total.rsqrt())


def mean_of_experts(loc: Tensor, mask: Tensor) -> Tensor:
    r"""Mean of the present experts' locations, :math:`\sum_k m_k \mu_k / \sum_k m_k`, shape ``(n, d)``.

    A row in which no expert is present is NaN.
    """
    return torch.where(mask > 0, loc, 0.0).sum(0) / mask.sum(0)


def variance_of_mixture(loc: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
    r"""Variance of the uniform mixture of the present experts, shape ``(n, d)``.

    .. math:: \frac{1}{M} \sum_k m_k \left[\sigma_k^2 + (\mu_k - \mu)^2\right], \qquad M = \sum_k m_k,
              \quad \mu = \frac{1}{M} \sum_k m_k \mu_k

    A row in which no expert is present is NaN.
    """
    within = scale.square() + (loc - mean_of_experts(loc, mask)).square()
    return mean_of_experts(within, mask)


def sample_mixture(loc: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
    """Draw from the uniform mixture of the present experts: pick one for each row, then draw from it; ``(n, d)``.

    A row in which no expert is present is NaN.
    """
    present = mask.squeeze(-1).T  # (n, n_experts)
    nobody = present.sum(-1, keepdim=True) == 0
    chosen = torch.multinomial(torch.where(nobody, 1.0, present), 1)  # (n, 1)
    index = chosen.T.unsqueeze(-1).expand(1, *loc.shape[1:])
    draw = gaussian(loc.gather(0, index)[0], scale.gather(0, index)[0]).sample()
    return draw.masked_fill(nobody, torch.nan)
