r"""Observation models that factorise over features: log-probability and its derivatives on a block of decoder outputs.

A rule's ``score`` takes the block's outputs, which it may overwrite, feature by feature, shape ``(b, n_terms, n)``: those of
the decoder, plus :math:`\log r` of the cell's relative depth with ``sized``, times ``sign``. Besides, what belongs to the
same ``b`` features: values ``(b, n)``, or where few are stored :class:`~vennvi._sparse.Entries`, ``observed`` (``None``, or
0/1 of shape ``(b, 1)`` or ``(b, n)``) and parameters ``(b,)``; and for all of them :math:`\log r`, shape ``(n,)``, and the
weight of each row, ``(n_terms, n)``.

It returns the log-probability of each row, summed over the block, ``(n_terms, n)``; its derivative by the decoder's outputs,
unweighted, ``(b, n_terms, n)``; and the derivatives of the weighted sum by the parameters, ``(b,)`` each. Terms that only
depend on the values are left out; so is, for ``Entries``, what is linear in them, :math:`\sum_j x_j o_j`: their outputs
are read, and summed when all blocks are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vennvi._sparse import Entries

#: A score's result.
Scored = tuple[Tensor, Tensor, tuple[Tensor, ...]]

#: Largest log-rate of ``poisson``, at the typical depth.
MAX_LOG_RATE = 20.0
_LOG_SQRT_2PI = 0.9189385332046727
#: Logarithm of a product that is still far from underflow.
_LOG_SMALLEST = -80.0


@dataclass(frozen=True)
class Rule:
    """An observation model on a block; see the module."""

    score: Callable[
        [Tensor, Tensor | Entries, Tensor | None, Tensor, Tensor, tuple[Tensor, ...]],
        Scored,
    ]
    """Of outputs, values, ``observed``, log depth, row weight and parameters."""
    sign: float = 1.0
    """Factor of the outputs that ``score`` takes."""
    sized: bool = True
    """Whether they have the cell's log depth in them."""


def _bernoulli(
    against: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    log_size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""0/1 data with log-odds :math:`\ell = o + \log r`: :math:`\log p = x \ell + \log \operatorname{sigmoid}(-\ell)`.

    Takes the log-odds against, :math:`-\ell`.

    Examples
    --------
    >>> import torch
    >>> against, x = torch.zeros(2, 1, 1), torch.tensor([[0.0], [1.0]])
    >>> rows, derivative, _ = bernoulli.score(against, x, None, torch.zeros(1), torch.ones(1, 1), ())
    >>> rows, derivative.squeeze()
    (tensor([[-1.3863]]), tensor([-0.5000,  0.5000]))
    """
    if isinstance(values, Entries):
        values.read(against)
        rows = against.new_zeros(against.shape[1:])
    else:
        counted = (values if observed is None else values * observed).unsqueeze(1)
        rows = (against * counted).sum(0).neg_()
    # what a CPU does without logarithms, where looking at the largest costs little
    lowest = (
        float(against.amin()) if against.numel() and against.device.type == "cpu" and observed is None else -torch.inf
    )
    if not lowest >= -20:  # P(x = 0) would be rounded (or is NaN): its logarithm by itself
        zeros = logsigmoid(against)
        rows += (zeros if observed is None else zeros.mul_(observed.unsqueeze(1))).sum(0)
    absent = against.sigmoid_()  # P(x = 0)
    if lowest >= -20:
        rows += _sum_of_logs(absent, lowest)
    derivative = absent.sub_(1.0)
    if isinstance(values, Entries):
        return rows, values.add_to(derivative), ()
    derivative += values.unsqueeze(1)
    return rows, derivative if observed is None else derivative.mul_(observed.unsqueeze(1)), ()


def _sum_of_logs(p: Tensor, lowest: float) -> Tensor:
    """Sum of the logarithms of probabilities over the first dimension, by the logarithms of products of several.

    Of as many, 32 at most, as cannot underflow, given that no log-odds is below the lowest.
    """
    together = max(int(_LOG_SMALLEST / min(lowest, _LOG_SMALLEST / 32)), 1)
    whole = len(p) - len(p) % together
    products = p[:whole].view(-1, together, *p.shape[1:]).prod(1)
    return torch.cat([products, p[whole:]]).log_().sum(0)


def _poisson(
    log_rate: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    log_size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""Counts with rate :math:`\lambda = r e^o`: :math:`\log p = x \log \lambda - \lambda`, less :math:`\log x!`.

    Takes :math:`\log \lambda`.

    Examples
    --------
    >>> import torch
    >>> rows, derivative, _ = poisson.score(torch.zeros(1, 1, 1), torch.tensor([[3.0]]), None, torch.zeros(1), torch.ones(1, 1), ())
    >>> rows, derivative
    (tensor([[-1.]]), tensor([[[2.]]]))
    """
    largest, capped = MAX_LOG_RATE + log_size, None
    if log_rate.numel() and (log_rate.device.type != "cpu" or float(log_rate.amax()) > float(largest.amin())):
        capped = log_rate > largest
        torch.minimum(log_rate, largest, out=log_rate)
    if isinstance(values, Entries):
        values.read(log_rate)
        rate = log_rate.exp_()
        rows = rate.sum(0).neg_()
        derivative = values.add_to(rate.neg_())
    else:
        counted = (values if observed is None else values * observed).unsqueeze(1)
        rows = (log_rate * counted).sum(0)
        expected = log_rate.exp_()
        if observed is not None:
            expected *= observed.unsqueeze(1)
        rows -= expected.sum(0)
        derivative = expected.neg_().add_(counted)
    return rows, derivative if capped is None else derivative.masked_fill_(capped, 0.0), ()


def _normal(
    o: Tensor,
    values: Tensor | Entries,
    observed: Tensor | None,
    log_size: Tensor,
    weight: Tensor,
    parameters: tuple[Tensor, ...],
) -> Scored:
    r"""Real values with one noise sd a feature: :math:`\log p = -(x - o)^2 / 2 s^2 - \log s - \tfrac12 \log 2\pi`.

    Examples
    --------
    >>> import torch
    >>> o, x, sd = torch.zeros(1, 1, 1), torch.ones(1, 1), torch.ones(1)
    >>> rows, derivative, (by_sd,) = normal.score(o, x, None, torch.zeros(1), torch.ones(1, 1), (sd,))
    >>> rows, derivative, by_sd
    (tensor([[-1.4189]]), tensor([[[1.]]]), tensor([0.]))
    """
    if isinstance(values, Entries):
        raise TypeError("Real values are standardised, which leaves none of them zero: they are given as they are.")
    sd = parameters[0].unsqueeze(-1)
    counted = torch.ones_like(sd) if observed is None else observed
    precision = (counted / sd.square()).unsqueeze(1)
    error = o.neg_().add_(values.unsqueeze(1))
    squares = error.square()
    constants = (counted * (sd.log() + _LOG_SQRT_2PI)).expand(values.shape).sum(0)
    rows = -0.5 * (squares * precision).sum(0) - constants
    if counted.shape[1] == 1:
        weighted = squares.flatten(1) @ weight.reshape(-1, 1), weight.sum()
    else:
        weighted = (weight * squares).sum(1), weight.sum(0)
    by_sd = (weighted[0] / sd.square() - weighted[1]) * counted
    return rows, error * precision, ((by_sd / sd).sum(1),)


bernoulli = Rule(_bernoulli, sign=-1.0)
poisson = Rule(_poisson)
normal = Rule(_normal, sized=False)
