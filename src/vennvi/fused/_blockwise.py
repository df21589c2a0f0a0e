"""A decoder's last layer, the likelihood and both their gradients, block by block of features."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vennvi._runs import Runs, length_of, lie_in_place, rows_of, shares, take_runs
from vennvi._sparse import EntriesInBlocks, SparseColumns
from vennvi.fused._elementwise import Rule
from vennvi.fused._gradients import empty_gradient, scaled
from vennvi.fused._multiply import multiplication
from vennvi.fused._threads import PRODUCT_NS, in_threads, n_shares

#: Outputs held at a time: a CPU takes longer with more than its caches hold, and with many small blocks; a GPU needs more
#: to be busy.
_BLOCK = {"cpu": 2**19, "cuda": 2**26}


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

    Value and gradient are computed together: three matrix products a block of features (in bfloat16 where autocast says so),
    and the elementwise work while the block is in the cache. The memory grows with the stored entries and the terms, not
    with terms times cells times features.

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
    """Feature by feature: outputs, values and gradients lie so that every product reads them as they are."""

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
        hidden = hidden.float()
        n_terms, n, n_hidden = hidden.shape
        n_outputs = n_terms * n  # of a feature
        g = row_weight.reshape(n_outputs, 1)
        multiply, h = multiplication(hidden.device.type), hidden.reshape(n_outputs, n_hidden)
        across, weighted = multiply.factor((rule.sign * h).T.contiguous()), multiply.factor(h * g)
        with torch.autocast(hidden.device.type, enabled=False):
            held, shapes = (weight, bias, *parameters), [p.shape for p in (weight, bias, *parameters)]
            chosen = None if runs is None else rows_of(runs).to(hidden.device)
            if chosen is not None and not lie_in_place(hidden.device):
                held, runs = tuple(p.index_select(0, chosen) for p in held), None
            log_size = size.log().squeeze(-1)
            offset = (rule.sign * log_size).repeat(n_terms) if rule.sized else hidden.new_zeros(n_outputs)
            width = max(_BLOCK.get(hidden.device.type, _BLOCK["cuda"]) // max(n_outputs, 1), 64)
            runs = [slice(0, len(held[0]))] if runs is None else runs
            n_chosen = length_of(runs)
            n_parts = min(n_shares(hidden.device, 3 * PRODUCT_NS * n_outputs * n_hidden * n_chosen), max(n_chosen, 1))
            dealt = [shares(share, max(round(length_of(share) / width), 1)) for share in shares(runs, n_parts)]
            places = _places(length_of(block) for blocks in dealt for block in blocks)
            parts = [[(block, next(places)) for block in blocks] for blocks in dealt]
            gradients = [empty_gradient(p, n_chosen) for p in held] if with_gradient else []

            def score_blocks(blocks: Sequence[tuple[Runs, slice]]) -> tuple[Tensor, Tensor]:
                rows, by_hidden = hidden.new_zeros(n_terms, n), torch.zeros_like(h)
                # one room for all blocks: fetching it anew takes as long as a pass over it
                room = hidden.new_empty(n_outputs * max((length_of(features) for features, _ in blocks), default=0))
                given = values if isinstance(values, Tensor) else values.in_blocks([p for _, p in blocks], n_terms)
                for features, place in blocks:
                    weight, b, *rest = (take_runs(p, features) for p in held)
                    w = multiply.factor(weight)
                    o = room[: n_outputs * len(b)].view(len(b), n_outputs)
                    multiply.affine(w, across, offset, out=o, column=(rule.sign * b).unsqueeze(-1))
                    score, derivative, by_parameters = rule.score(
                        o.view(len(b), n_terms, n),
                        given[:, place].T.contiguous() if isinstance(given, Tensor) else given.block(place),
                        None if observed is None else _by_feature(observed[..., place]),
                        log_size,
                        row_weight,
                        tuple(rest),
                    )
                    rows += score
                    if with_gradient:
                        derivative = derivative.view(len(b), n_outputs)
                        torch.mv(derivative, g.squeeze(-1), out=gradients[1][place])
                        derivative = multiply.factor(derivative)
                        multiply.add(derivative.T, w, to=by_hidden)
                        multiply(derivative, weighted, out=gradients[0][place])
                        for gradient, by_parameter in zip(gradients[2:], by_parameters, strict=True):
                            gradient[place] = by_parameter
                if isinstance(given, EntriesInBlocks):
                    rows.add_(given.dot(), alpha=rule.sign)
                return rows, by_hidden

            results = in_threads(score_blocks, parts)
            rows, by_hidden = (functools.reduce(torch.add, each) for each in zip(*results, strict=True))
            if with_gradient:
                gradients.insert(0, by_hidden.mul_(g).view(hidden.shape))
        ctx.gradients, ctx.chosen, ctx.shapes = gradients, chosen, shapes
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
        if (rows := ctx.chosen) is not None:
            gradients[1:3] = [_at_rows(g, rows, shape) for g, shape in zip(gradients[1:3], ctx.shapes[:2], strict=True)]
            gradients[3:] = [
                g.new_zeros(shape).index_copy_(0, rows, g)
                for g, shape in zip(gradients[3:], ctx.shapes[2:], strict=True)
            ]
        return (None,) * 7 + tuple(gradients)


def _by_feature(observed: Tensor) -> Tensor:
    """What counts, ``(n_block,)`` or ``(n, n_block)``, as ``(n_block, 1)`` or ``(n_block, n)``."""
    return observed.unsqueeze(-1) if observed.ndim == 1 else observed.T


def _places(lengths: Iterable[int]) -> Iterator[slice]:
    """Where blocks are that follow each other."""
    done = 0
    for length in lengths:
        yield slice(done, done := done + length)


def _at_rows(values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
    """Sparse tensor with the values at distinct rows; dense where processes average their gradients."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return values.new_zeros(shape).index_copy_(0, rows, values)
    return torch.sparse_coo_tensor(rows.unsqueeze(0), values, size=shape, is_coalesced=True, check_invariants=False)
