"""A decoder's last layer, the likelihood and both their gradients, block by block of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vennvi._runs import Runs
from vennvi._sparse import SparseColumns
from vennvi.fused._elementwise import Rule
from vennvi.fused._gradients import empty_gradient, scaled

#: Outputs held at a time: as many as stay in a core's cache, or as a GPU needs to be busy.
_BLOCK = {"cpu": 2**18, "cuda": 2**26}


@torch.compiler.disable  # is one fused step already: nothing to trace
def blockwise_score(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    parameters: tuple[Tensor, ...],
    rule: Rule,
    values: Tensor | SparseColumns,
    observed: Tensor | None,
    size: Tensor,
    row_weight: Tensor,
    runs: Runs | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Weighted log-likelihood of a decoder's last layer, for an observation model that factorises over features.

    .. math:: \sum_{k,i} w_{ki} \sum_j \log p(x_{ij} \mid o_{kij}), \qquad o_{ki} = W h_{ki} + b

    Value and gradient are computed together: three matrix products a block of features, and the elementwise work while
    the block is in the cache. The memory does not grow with the number of terms times cells times features.

    Parameters
    ----------
    hidden
        Activations :math:`h` of the last hidden layer, shape ``(n_terms, n, n_hidden)``.
    weight, bias
        Last layer, shapes ``(n_features, n_hidden)`` and ``(n_features,)``.
    parameters
        Parameters of the observation model, ``(n_features,)`` each.
    rule
        Log-probability and derivatives on a block (see :mod:`vennvi.fused._elementwise`).
    values, observed
        Data ``(n, n_features)``, dense or sparse by column, and what counts: everything (``None``), or 0/1 of shape
        ``(n_features,)`` or ``(n, n_features)``. With ``runs``, those columns only.
    size
        Relative depth, shape ``(n, 1)``.
    row_weight
        Weight :math:`w` of each term and cell, shape ``(n_terms, n)``.
    runs
        Features to decode, all by default. The gradients of ``weight`` and ``bias`` are sparse then, but for processes
        that average them.

    Returns
    -------
    The weighted sum, which gradients flow through; and the log-probability of each term and cell, ``(n_terms, n)``,
    which they do not.

    Examples
    --------
    >>> import torch
    >>> from vennvi.fused import bernoulli
    >>> hidden, weight = torch.ones(1, 2, 1), torch.zeros(3, 1, requires_grad=True)
    >>> x, ones = torch.eye(2, 3), torch.ones(2, 1)
    >>> total, rows = blockwise_score(hidden, weight, torch.zeros(3), (), bernoulli, x, None, ones, torch.ones(1, 2))
    >>> rows
    tensor([[-2.0794, -2.0794]])
    >>> total.backward()
    >>> weight.grad.T
    tensor([[ 0.,  0., -1.]])
    """
    with_gradient = torch.is_grad_enabled()
    return _BlockwiseScore.apply(
        rule, values, observed, size, row_weight, runs, with_gradient, hidden, weight, bias, *parameters
    )


class _BlockwiseScore(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rule: Rule,
        values: Tensor | SparseColumns,
        observed: Tensor | None,
        size: Tensor,
        row_weight: Tensor,
        runs: Runs | None,
        with_gradient: bool,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            held = (weight, bias, *parameters)
            chosen = [slice(0, len(weight))] if runs is None else runs
            n_chosen = sum(run.stop - run.start for run in chosen)
            n_terms, n, n_hidden = hidden.shape
            h = hidden.reshape(n_terms * n, n_hidden)
            g = row_weight.reshape(-1, 1)
            weighted = h * g
            rows = hidden.new_zeros(n_terms, n)
            gradients = [torch.zeros_like(h), *(empty_gradient(p, n_chosen) for p in held)] if with_gradient else []
            width = max(_BLOCK.get(h.device.type, _BLOCK["cuda"]) // max(len(h), 1), 64)
            # one room for all blocks: fetching it anew takes as long as a pass over it
            room, done = h.new_empty(len(h) * min(width, n_chosen)), 0
            for start, stop in _blocks(chosen, width):
                block, place = slice(start, stop), slice(done, done + stop - start)
                w, b, *rest = (p[block] for p in held)
                o = torch.addmm(b, h, w.T, out=room[: len(h) * len(b)].view(len(h), len(b)))
                score, derivative, by_parameters = rule(
                    o.view(n_terms, n, stop - start),
                    values.block(place) if isinstance(values, SparseColumns) else values[:, place],
                    None if observed is None else observed[..., place],
                    size,
                    row_weight,
                    tuple(rest),
                )
                rows += score
                if with_gradient:
                    derivative = derivative.view(len(h), stop - start)
                    gradients[0].addmm_(derivative, w)
                    torch.mm(derivative.T, weighted, out=gradients[1][place])
                    torch.mv(derivative.T, g.squeeze(-1), out=gradients[2][place])
                    for gradient, by_parameter in zip(gradients[3:], by_parameters, strict=True):
                        gradient[place] = by_parameter
                done = place.stop
            if with_gradient:
                gradients[0] = (gradients[0] * g).view(hidden.shape)
        ctx.gradients, ctx.runs, ctx.shapes = gradients, runs, [p.shape for p in held]
        ctx.mark_non_differentiable(rows)
        return torch.where(row_weight != 0, row_weight * rows, 0.0).sum(), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # given away, not kept: a gradient that nobody else holds becomes `.grad` without a copy
        gradients, ctx.gradients = ctx.gradients, None
        if not gradients:
            raise RuntimeError("This score was computed without gradients, or its gradients were read already.")
        gradients = scaled(gradients, by_total)
        if ctx.runs is not None:
            rows = torch.cat([torch.arange(run.start, run.stop, device=by_total.device) for run in ctx.runs])
            gradients[1:3] = [_at_rows(g, rows, shape) for g, shape in zip(gradients[1:3], ctx.shapes[:2], strict=True)]
            gradients[3:] = [
                g.new_zeros(shape).index_copy_(0, rows, g)
                for g, shape in zip(gradients[3:], ctx.shapes[2:], strict=True)
            ]
        return (None,) * 7 + tuple(gradients)


def _blocks(runs: Runs, width: int) -> Iterator[tuple[int, int]]:
    for run in runs:
        for start in range(run.start, run.stop, width):
            yield start, min(start + width, run.stop)


def _at_rows(values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
    """Sparse tensor with the values at distinct rows; dense where processes average their gradients."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return values.new_zeros(shape).index_copy_(0, rows, values)
    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, size=shape, is_coalesced=True, check_invariants=False)
