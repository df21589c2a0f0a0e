"""Encoder and decoder of one modality."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import embedding_bag, softplus

from vennvi._sparse import is_sparse
from vennvi.fusion import gaussian

#: Floor of every posterior sd: without one, wide data drive it to zero and the loss to NaN within a dozen steps.
POSTERIOR_SD_FLOOR = 1e-3


class InputLinear(nn.Module):
    r"""Affine map :math:`x W + b` of a dense or CSR minibatch; a CSR one costs what its stored entries cost.

    The weight has shape ``(n_input, n_output)``, so that a stored entry reads one contiguous row of it.
    """

    def __init__(self, n_input: int, n_output: int):
        super().__init__()
        bound = 1 / math.sqrt(max(n_input, 1))  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(n_input, n_output).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_output).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        if is_sparse(x):
            summed = embedding_bag(
                x.col_indices(),
                self.weight,
                x.crow_indices(),
                mode="sum",
                per_sample_weights=x.values(),
                include_last_offset=True,
            )
            return summed + self.bias
        return torch.addmm(self.bias, x, self.weight)


def hidden_layers(n_hidden: int, n_layers: int, dropout_rate: float) -> nn.Sequential:
    """What follows a first affine map: LeakyReLU (and dropout), then ``n_layers - 1`` more affine maps with the same."""
    layers: list[nn.Module] = []
    for i in range(n_layers):
        if i:
            layers.append(nn.Linear(n_hidden, n_hidden))
        layers.append(nn.LeakyReLU())
        if dropout_rate:
            layers.append(nn.Dropout(dropout_rate))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    r"""One modality's beliefs, :math:`x_m \mapsto q(s \mid x_m),\; q(p_m \mid x_m)`: two Gaussian heads on one network.

    .. math:: h = f(x W + c V + b), \quad \mu = h A_\mu, \quad \sigma = \text{softplus}(h A_\sigma) + 10^{-3}
    """

    def __init__(
        self,
        n_input: int,
        n_shared: int,
        n_private: int,
        n_hidden: int,
        n_layers: int,
        dropout_rate: float = 0.0,
        n_covariates: int = 0,
    ):
        super().__init__()
        self.input = InputLinear(n_input, n_hidden)
        self.covariates = nn.Linear(n_covariates, n_hidden, bias=False) if n_covariates else None
        self.hidden = hidden_layers(n_hidden, n_layers, dropout_rate)
        self.shared = nn.Linear(n_hidden, 2 * n_shared)
        self.private = nn.Linear(n_hidden, 2 * n_private)

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Normal, Normal]:
        """Posterior of the shared latents ``(n, n_shared)`` and of the private ones ``(n, n_private)``."""
        h = self.input(x)
        if self.covariates is not None:
            h = h + self.covariates(covariates)
        h = self.hidden(h)
        return _posterior(self.shared(h)), _posterior(self.private(h))


def _posterior(parameters: Tensor) -> Normal:
    loc, raw = parameters.chunk(2, dim=-1)
    return gaussian(loc, softplus(raw) + POSTERIOR_SD_FLOOR)


class Decoder(nn.Module):
    r"""Latents and covariates to the parameters of a modality's likelihood, :math:`(s, p_m, c) \mapsto o_m`."""

    def __init__(
        self,
        n_latent: int,
        n_output: int,
        n_hidden: int,
        n_layers: int,
        dropout_rate: float = 0.0,
        n_covariates: int = 0,
    ):
        super().__init__()
        self.input = nn.Linear(n_latent + n_covariates, n_hidden)
        self.hidden = hidden_layers(n_hidden, n_layers, dropout_rate)
        self.output = nn.Linear(n_hidden, n_output)

    def forward(self, latents: Tensor) -> Tensor:
        """Outputs of shape ``(..., n_output)`` for latents and covariates side by side, ``(..., n_latent + n_covariates)``."""
        return self.output(self.hidden(self.input(latents)))
