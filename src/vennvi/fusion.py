"""How several experts' beliefs about one latent become one: products, means and mixtures of Gaussians.

Every function takes ``loc`` and ``scale`` of shape ``(n_experts, n, d)`` and ``mask`` of shape ``(n_experts, n, 1)``
(1 where the expert may speak), and treats a masked expert as if it were not there, whatever its numbers are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal


def gaussian(loc: Tensor, scale: Tensor) -> Normal:
    """``N(loc, scale^2)`` without argument checks, which would cost a pass over the data each."""
    return Normal(loc, scale, validate_args=False)


def kl_to_standard_normal(q: Normal) -> Tensor:
    r"""KL divergence to the prior, summed over the last dimension; shape ``(..., d)`` to ``(...)``.

    .. math:: KL[N(\mu, \sigma^2) \| N(0, 1)] = \sum_d \tfrac12 (\mu_d^2 + \sigma_d^2 - 1) - \log \sigma_d
    """
    return (0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()).sum(-1)


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
