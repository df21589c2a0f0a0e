"""Which features an encoder reads: integrated gradients from a baseline, summed up over cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.distributions import Normal

from vennvi.nn import Encoder, _posterior

#: From what the first layer says of cells, ``(n, n_read)``, and their covariates to latents ``(n, n_latent)``.
Rest = Callable[[Tensor, Tensor | None], Tensor]


def require_captum(purpose: str) -> None:
    """Refuse to go on without captum, and say how to get it.

    Raises
    ------
    ImportError
        If captum is not installed; the message names the extra.
    """
    if find_spec("captum") is None:
        raise ImportError(f"captum is not installed, and {purpose} needs it: `pip install 'vennvi[explain]'`.")


def first_layer(encoder: Encoder, *, private: bool) -> tuple[Tensor, Tensor]:
    r"""Affine map :math:`x W + b` through which alone an encoder sees its input, for one of its two heads.

    Its hidden layer; for the shared head of a canonical encoder the canonical variates, and for the private one, if it
    reads what these leave of the input, the hidden layer with that taken out.

    Returns
    -------
    Weight ``(n_input, n_read)`` and bias ``(n_read,)``.
    """
    weight, bias, head = encoder.input.weight.detach(), encoder.input.bias.detach(), encoder.canonical
    if head is None or (private and not encoder.residual_private):
        return weight, bias
    projection, offset = head.projection.weight.detach(), head.projection.bias.detach()
    if not private:
        return projection, offset
    variates, loadings = head.explained(projection)  # linear in them, and so of the map itself
    explained = loadings @ weight
    return weight - variates @ explained, bias - head.explained(offset.unsqueeze(0))[0].squeeze(0) @ explained


def remaining_layers(encoder: Encoder, read: Tensor, covariates: Tensor | None, *, private: bool) -> Normal:
    """Posterior of the latent from what :func:`first_layer` says, and the covariates that the encoder reads."""
    if encoder.canonical is not None and not private:
        return encoder.canonical(read, covariates)
    if encoder.covariates is not None:
        read = read + encoder.covariates(covariates)
    head = encoder.private if private or encoder.shared is None else encoder.shared
    return _posterior(head(encoder.hidden(read)))


def integrated_gradients(
    rest: Rest,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    baseline: Tensor,
    covariates: Tensor | None,
    dimension: int,
    n_steps: int,
) -> Tensor:
    r"""What each feature of each cell adds to one latent dimension, on the way from a baseline to the cell.

    .. math:: a_{ij} = (x_{ij} - b_j) \int_0^1 \frac{\partial \mu}{\partial x_j}\big(b + t (x_i - b)\big) \, dt,
              \qquad \sum_j a_{ij} = \mu(x_i) - \mu(b)

    for :math:`\mu(x) = \text{rest}(x W + b_0)`. Since :math:`x W` is linear, the integral is that of the gradient by
    :math:`x W`, times :math:`W^\top`: no wide gradient is taken at any step of the way.

    Parameters
    ----------
    rest
        All but the first layer.
    weight, bias
        The first layer, shapes ``(n_features, n_read)`` and ``(n_read,)``.
    x
        Dense input, shape ``(n, n_features)``.
    baseline
        Shape ``(n_features,)``.
    covariates
        Held at the cell's own, shape ``(n, n_covariates)``, or ``None``.
    dimension
        Position of the latent.
    n_steps
        Points on the way (Gauss-Legendre).

    Returns
    -------
    Attributions, shape ``(n, n_features)``.

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.

    Examples
    --------
    >>> weight, x = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 1.0]])
    >>> integrated_gradients(lambda read, _: read**2, weight, torch.zeros(1), x, torch.zeros(2), None, 0, 4).round()
    tensor([[15., 10.]])
    """
    from captum.attr import IntegratedGradients

    gradients = IntegratedGradients(rest, multiply_by_inputs=False).attribute(
        x @ weight + bias,
        (baseline @ weight + bias).unsqueeze(0),
        target=dimension,
        additional_forward_args=(covariates,),
        n_steps=n_steps,
    )
    return (x - baseline) * (gradients @ weight.T)


class AttributionSums:
    r"""Attributions of many cells, minibatch by minibatch: only sums over cells are kept.

    Parameters
    ----------
    n_features, n_dimensions
        Shape of the result.
    """

    def __init__(self, n_features: int, n_dimensions: int):
        self.n_cells = 0
        self._a, self._aa, self._ax = torch.zeros(3, n_features, n_dimensions, dtype=torch.float64)
        self._x = torch.zeros(n_features, dtype=torch.float64)

    def add(self, difference: Tensor, attributions: Iterable[Tensor]) -> None:
        """Add a minibatch: its input less the baseline, and the attributions for each dimension, ``(n, n_features)``."""
        self.n_cells += len(difference)
        self._x += difference.sum(0, dtype=torch.float64).cpu()
        for k, a in enumerate(attributions):
            self._a[:, k] += a.sum(0, dtype=torch.float64).cpu()
            self._aa[:, k] += a.square().sum(0, dtype=torch.float64).cpu()
            self._ax[:, k] += (a * difference).sum(0, dtype=torch.float64).cpu()

    def mean(self) -> Tensor:
        """Mean over cells; NaN without cells."""
        return self._a / self.n_cells if self.n_cells else self._a * torch.nan

    def signed_sd(self) -> Tensor:
        r"""Standard deviation over cells, with the sign of the covariance with the feature; NaN without cells."""
        if not self.n_cells:
            return self._a * torch.nan
        mean = self._a / self.n_cells
        variance = (self._aa / self.n_cells - mean.square()).clamp_min(0)
        covariance = self._ax / self.n_cells - mean * (self._x / self.n_cells).unsqueeze(-1)
        return covariance.sign() * variance.sqrt()
