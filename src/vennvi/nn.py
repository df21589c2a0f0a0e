"""Encoder and decoder of one modality."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import linear, softplus

from vennvi._sparse import is_sparse
from vennvi.canonical import Projection
from vennvi.fused import input_product, worth_sharing
from vennvi.fusion import gaussian

if TYPE_CHECKING:
    from vennvi.likelihoods import Columns

_ALL = slice(None)
#: Floor of every posterior sd: without one, wide data drive it to zero and the loss to NaN within a dozen steps.
POSTERIOR_SD_FLOOR = 1e-3
#: A canonical variate whose agreement is within two standard errors of zero is dropped if two more leave it below this;
#: otherwise the samples are too few to tell, and it is kept, shrunk to two standard errors.
EXCLUDED_AGREEMENT = 0.2
#: From this agreement on (two standard errors added), a canonical variate is taken out of the private encoder's input as a whole.
WHOLE_AGREEMENT = 0.3
#: Variates that can be taken out of it.
MAX_EXPLAINED_VARIATES = 20


class InputLinear(nn.Module):
    r"""Affine map :math:`x W + b` of a dense or CSR minibatch; a CSR one costs what its stored entries cost.

    The weight has shape ``(n_input, n_output)``, so that a stored entry reads one contiguous row of it.
    """

    def __init__(self, n_input: int, n_output: int):
        super().__init__()
        bound = 1 / math.sqrt(max(n_input, 1))  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(n_input, n_output).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_output).uniform_(-bound, bound))

    def forward(self, x: Tensor, coefficients: Tensor | None = None, loadings: Tensor | None = None) -> Tensor:
        """Map of ``x``, or of ``x - coefficients @ loadings``, which is never made."""
        return affine(x, self.weight, self.bias, coefficients, loadings)


def affine(
    x: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor | None = None, loadings: Tensor | None = None
) -> Tensor:
    """``x @ weight + bias`` of a dense or CSR minibatch, or of ``x - coefficients @ loadings``, which is never made."""
    if is_sparse(x) or worth_sharing(x, weight):
        return input_product(x, weight, coefficients, loadings) + bias
    mapped = torch.addmm(bias, x, weight)
    return mapped if coefficients is None or loadings is None else mapped - coefficients @ (loadings @ weight)


class LastResult:
    """What was computed of a tensor, for as long as nothing is written to it: by training, loading, or a move."""

    def __init__(self) -> None:
        self._of: tuple[int, int] | None = None
        self._result: tuple[Tensor, Tensor]

    def get(self, tensor: Tensor, compute: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The result of before, or a new one if the tensor has changed (or cannot say)."""
        of = None if tensor.is_inference() else (tensor.data_ptr(), tensor._version)
        if of is None or of != self._of:
            self._of, self._result = of, compute()
        return self._result


def _without_zeros(matrix: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Rows (``dim=0``) or columns (``dim=1``) of a matrix with anything but zeros: which, and what they hold, contiguous."""
    with torch.inference_mode(False):  # what is selected while reading may be needed in training
        matrix = matrix.detach()
        chosen = matrix.any(dim=1 - dim).nonzero().squeeze(-1)
        first = matrix.narrow(dim, 0, len(chosen))
        come_first = first.is_contiguous() and bool((chosen == torch.arange(len(chosen), device=chosen.device)).all())
        return chosen, first if come_first else matrix.index_select(dim, chosen)


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


class CanonicalHead(nn.Module):
    r"""Shared posterior read off a few canonical variates instead of the whole modality.

    .. math:: c = a \odot (x - \bar x) W, \qquad \mu = c A + f_\mu(c), \qquad \sigma = \text{softplus}(f_\sigma(c)) + 10^{-3}

    The projection :math:`W` is set by :func:`vennvi.canonical.canonical_projections` and stays fixed: a network on
    ``n_canonical`` numbers cannot memorise which cells belong together, as one on the whole modality does. Each variate
    is shrunk by its agreement :math:`a` with the other modalities on held-out cells; one within two standard errors of
    zero is dropped if even two more leave it below .2, and otherwise kept, shrunk to two standard errors.

    What the agreeing variates explain of the modality is at hand for the private encoder to be spared
    (:meth:`explained`): variates with an agreement of .3 or more, two standard errors granted, count whole, weaker ones
    in proportion.
    """

    explained_loadings: Tensor
    explained_variates: Tensor

    def __init__(self, n_input: int, n_canonical: int, n_shared: int, n_hidden: int, n_covariates: int = 0):
        super().__init__()
        self.projection = InputLinear(n_input, n_canonical)
        self.projection.requires_grad_(False)
        self.linear = nn.Linear(n_canonical, n_shared, bias=False)
        self.hidden = nn.Sequential(nn.Linear(n_canonical + n_covariates, n_hidden), nn.LeakyReLU())
        self.output = nn.Linear(n_hidden, 2 * n_shared)
        n_explained = min(n_canonical, MAX_EXPLAINED_VARIATES)
        self.register_buffer("explained_loadings", torch.zeros(n_explained, n_input))
        self.register_buffer("explained_variates", torch.arange(n_explained))
        self._kept, self._explaining = LastResult(), LastResult()
        with torch.no_grad():  # at the start the latents are the first canonical variates, nearly
            self.linear.weight.copy_(torch.eye(n_shared, n_canonical))
            self.output.weight[:n_shared].mul_(0.1)

    def start(self, projection: Projection) -> None:
        """Set the projection, the variates shrunk by their agreement."""
        agreement, margin = projection.agreement, 2 * projection.error
        doubtful = np.where(agreement + margin >= EXCLUDED_AGREEMENT, margin, 0.0)
        shrink = np.where(agreement > margin, agreement, doubtful)
        weight = torch.as_tensor(projection.weight * shrink)
        with torch.no_grad():
            self.projection.weight.copy_(weight)
            self.projection.bias.copy_(-(torch.as_tensor(projection.mean) @ weight))
        agreeing = np.sort(np.argsort(-agreement, kind="stable")[: len(self.explained_loadings)])
        shrink, loadings = shrink[agreeing], projection.loadings[agreeing]
        fraction = np.clip((agreement[agreeing] + margin) / WHOLE_AGREEMENT, 0, 1) * (shrink > 0)
        scale = np.divide(fraction, shrink, out=np.zeros_like(fraction), where=shrink > 0)
        self.explained_loadings.copy_(torch.as_tensor(scale[:, None] * loadings))
        self.explained_variates.copy_(torch.as_tensor(agreeing))

    @torch.compiler.disable  # a look-up and a selection: nothing to trace
    def variates(self, x: Tensor) -> Tensor:
        """Canonical variates of a dense or CSR minibatch, ``(n, n_canonical)``; those that are dropped are zero, and cost nothing."""
        weight = self.projection.weight
        chosen, kept = self._kept.get(weight, lambda: _without_zeros(weight, dim=1))
        if len(chosen) == weight.shape[1]:
            return self.projection(x)
        variates = torch.zeros(x.shape[0], weight.shape[1], device=x.device)
        if not len(chosen):
            return variates
        found = affine(x, kept, self.projection.bias[chosen])
        return variates.index_copy(1, chosen, found.to(variates.dtype))  # autocast's: a GPU copies within a type only

    @torch.compiler.disable
    def explained(self, variates: Tensor) -> tuple[Tensor, Tensor] | tuple[()]:
        """What the agreeing variates explain of the input, as a product: ``(n, k)`` and ``(k, n_input)``; empty if nothing."""
        loadings = self.explained_loadings
        chosen, kept = self._explaining.get(loadings, lambda: _without_zeros(loadings, dim=0))
        return (variates[:, self.explained_variates[chosen]], kept) if len(chosen) else ()

    def forward(self, variates: Tensor, covariates: Tensor | None = None) -> Normal:
        """Posterior of the shared latent, from the variates ``(n, n_canonical)`` and what the encoders read besides."""
        read = variates if covariates is None else torch.cat([variates, covariates], dim=-1)
        loc, raw = self.output(self.hidden(read)).chunk(2, dim=-1)
        return gaussian(loc + self.linear(variates), softplus(raw) + POSTERIOR_SD_FLOOR)


class Encoder(nn.Module):
    r"""One modality's beliefs, :math:`x_m \mapsto q(s \mid x_m),\; q(p_m \mid x_m)`: two Gaussian heads on one network.

    .. math:: h = f(x W + c V + b), \quad \mu = h A_\mu, \quad \sigma = \text{softplus}(h A_\sigma) + 10^{-3}

    With ``n_canonical``, the shared one is a :class:`CanonicalHead`; with ``residual_private`` besides, the private one
    reads what the agreeing variates leave of :math:`x`.
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
        n_canonical: int = 0,
        residual_private: bool = False,
    ):
        super().__init__()
        self.input = InputLinear(n_input, n_hidden)
        self.covariates = nn.Linear(n_covariates, n_hidden, bias=False) if n_covariates else None
        self.hidden = hidden_layers(n_hidden, n_layers, dropout_rate)
        self.canonical = CanonicalHead(n_input, n_canonical, n_shared, n_hidden, n_covariates) if n_canonical else None
        self.residual_private = residual_private and n_canonical > 0
        self.shared = None if n_canonical else nn.Linear(n_hidden, 2 * n_shared)
        self.private = nn.Linear(n_hidden, 2 * n_private)

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Normal, Normal]:
        """Posterior of the shared latents ``(n, n_shared)`` and of the private ones ``(n, n_private)``."""
        head = self.canonical
        if head is not None:
            variates = head.variates(x)
        h = self.input(x, *(head.explained(variates) if head is not None and self.residual_private else ()))
        if self.covariates is not None:
            h = h + self.covariates(covariates)
        h = self.hidden(h)
        shared = _posterior(self.shared(h)) if head is None else head(variates, covariates)  # type: ignore[misc]
        return shared, _posterior(self.private(h))


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

    def activations(self, latents: Tensor) -> Tensor:
        """What the last layer reads, ``(..., n_hidden)``, for latents and covariates side by side."""
        return self.hidden(self.input(latents))

    def forward(self, latents: Tensor, columns: Columns = _ALL) -> Tensor:
        """Outputs (some of them, if asked for) for latents and covariates side by side, ``(..., n_latent + n_covariates)``."""
        h, layer = self.activations(latents), self.output
        if isinstance(columns, slice) and columns == _ALL:
            return layer(h)
        return linear(h, layer.weight[columns], layer.bias[columns])
