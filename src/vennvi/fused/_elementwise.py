"""Observation models that factorise over features: log-probability and its derivatives on a block of decoder outputs.

Each rule takes the outputs ``o`` of shape ``(n_terms, n, b)``, which it may overwrite, and what belongs to the same ``b``
features: values ``(n, b)``, dense or as :class:`~vennvi._sparse.Entries`, ``observed`` (``None``, ``(b,)`` or ``(n, b)``)
and parameters ``(b,)``; besides, the size
``(n, 1)`` and the weight of each row ``(n_terms, n)``. It returns the log-probability of each row, summed over the
block, ``(n_terms, n)``; its derivative by ``o``, unweighted, ``(n_terms, n, b)``; and the derivatives of the weighted sum
by the parameters, ``(b,)`` each. Terms that only depend on the values are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vennvi._sparse import Entries

#: A rule's result.
Scored = tuple[Tensor, Tensor, tuple[Tensor, ...]]
#: Outputs, values, observed, size, row weight, parameters.
Rule = Callable[[Tensor, Tensor | Entries, Tensor | None, Tensor, Tensor, tuple[Tensor, ...]], Scored]

#: Largest log-rate of ``poisson``.
MAX_LOG_RATE = 20.0
_LOG_SQRT_2PI = 0.9189385332046727


def bernoulli(
    o: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""0/1 data with log-odds :math:`\ell = o + \log r`: :math:`\log p = x \ell + \log \operatorname{sigmoid}(-\ell)`.

    Examples
    --------
    >>> import torch
    >>> o, x = torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]])
    >>> rows, derivative, _ = bernoulli(o, x, None, torch.ones(1, 1), torch.ones(1, 1), ())
    >>> rows, derivative
    (tensor([[-1.3863]]), tensor([[[-0.5000,  0.5000]]]))
    """
    log_size = size.log()
    largest = float(o.amax() + log_size.amax()) if o.numel() else 0.0
    values = values if observed is None else _dense(values)
    if isinstance(values, Entries):
        rows = values.dot(o) + values.row_sums() * log_size.squeeze(-1)
    else:
        counted = values if observed is None else values * observed
        rows = (o * counted).sum(-1) + counted.sum(-1) * log_size.squeeze(-1)
    if largest > 20:  # P(x = 0) would be rounded: its logarithm by itself
        zeros = softplus(o + log_size).neg_()
        rows += (zeros if observed is None else zeros.mul_(observed)).sum(-1)
    absent = torch.sub(-log_size, o, out=o).sigmoid_()  # P(x = 0)
    if largest <= 20:
        rows += _sum_of_logs(absent if observed is None else torch.where(observed > 0, absent, 1.0), largest)
    if isinstance(values, Entries):
        return rows, values.add_to(absent.sub_(1.0)), ()
    gradient = absent.add_(values - 1)
    return rows, gradient if observed is None else gradient.mul_(observed), ()


def _dense(values: Tensor | Entries) -> Tensor:
    """Values as one tensor: what is read where some entries are missing."""
    return values.dense() if isinstance(values, Entries) else values


def _sum_of_logs(p: Tensor, largest: float) -> Tensor:
    """Sum of the logarithms of probabilities over the last dimension, by the logarithms of products of several.

    Of as many as cannot underflow: eight if no log-odds against is above 9 (1e-32 together), four up to 20.
    """
    rest = p.new_zeros(p.shape[:-1])
    for _ in range(3 if largest < 9 else 2):
        half = p.shape[-1] // 2
        if p.shape[-1] % 2:
            rest = rest + p[..., -1].log()
        p = p[..., :half] * p[..., half : 2 * half]
    return rest + p.log_().sum(-1)


def poisson(
    o: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""Counts with rate :math:`\lambda = r e^o`: :math:`\log p = x \log \lambda - \lambda`, less :math:`\log x!`.

    Examples
    --------
    >>> import torch
    >>> rows, derivative, _ = poisson(torch.zeros(1, 1, 1), torch.tensor([[3.0]]), None, torch.ones(1, 1), torch.ones(1, 1), ())
    >>> rows, derivative
    (tensor([[-1.]]), tensor([[[2.]]]))
    """
    log_size = size.log()
    capped = o > MAX_LOG_RATE if o.numel() and float(o.amax()) > MAX_LOG_RATE else None
    log_rate = o if capped is None else o.clamp_max_(MAX_LOG_RATE)
    rate = torch.add(log_rate, log_size).exp_()
    values = values if observed is None else _dense(values)
    if isinstance(values, Entries):
        rows = values.dot(log_rate).add_(values.row_sums() * log_size.squeeze(-1)).sub_(rate.sum(-1))
        derivative = values.add_to(rate.neg_())
    else:
        counted, expected = (values, rate) if observed is None else (values * observed, rate.mul_(observed))
        rows = (log_rate * counted).sum(-1) + counted.sum(-1) * log_size.squeeze(-1) - expected.sum(-1)
        derivative = expected.neg_().add_(counted)
    return rows, derivative if capped is None else derivative.masked_fill_(capped, 0.0), ()


def normal(
    o: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""Real values with one noise sd a feature: :math:`\log p = -(x - o)^2 / 2 s^2 - \log s - \tfrac12 \log 2\pi`.

    Examples
    --------
    >>> import torch
    >>> o, x, sd = torch.zeros(1, 1, 1), torch.ones(1, 1), torch.ones(1)
    >>> rows, derivative, (by_sd,) = normal(o, x, None, torch.ones(1, 1), torch.ones(1, 1), (sd,))
    >>> rows, derivative, by_sd
    (tensor([[-1.4189]]), tensor([[[1.]]]), tensor([0.]))
    """
    (sd,) = parameters
    values = _dense(values)
    counted = torch.ones_like(sd) if observed is None else observed
    precision = counted / sd.square()
    error = o.neg_().add_(values)
    squares = error.square()
    constants = (counted * (sd.log() + _LOG_SQRT_2PI)).expand(values.shape).sum(-1)
    rows = -0.5 * (squares * precision).sum(-1) - constants
    if counted.ndim == 1:
        weighted = weight.reshape(1, -1) @ squares.view(-1, len(sd)), weight.sum()
    else:
        weighted = (weight.unsqueeze(-1) * squares).sum(0), weight.sum(0).unsqueeze(-1)
    by_sd = (weighted[0] / sd.square() - weighted[1]) * counted
    return rows, error * precision, (by_sd.sum(0) / sd,)
