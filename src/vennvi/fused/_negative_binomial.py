"""Negative binomial counts whose means share out a cell's depth: value and gradient together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vennvi._sparse import is_sparse, pattern_of
from vennvi.fused._gradients import scaled

#: Outputs held at a time on a CPU, so that they stay in the cache.
_BLOCK = 2**18


@torch.compiler.disable  # is one fused step already: nothing to trace
def negative_binomial_score(
    outputs: Tensor, theta: Tensor, values: Tensor, rate: Tensor, row_weight: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Weighted log-likelihood of counts :math:`x_{ij} \sim \text{NB}(c_i \operatorname{softmax}(o_{ki})_j, \theta_j)`.

    .. math:: \sum_{k,i} w_{ki} \sum_j \log \text{NB}(x_{ij} \mid \mu_{kij}, \theta_j),\quad
        \frac{\partial \log \text{NB}}{\partial \log \mu} = \frac{\theta (x - \mu)}{\theta + \mu} = q, \quad
        \frac{\partial}{\partial o_j} = q_j - \operatorname{softmax}(o)_j \sum_l q_l

    The gamma functions are read at the counts above zero only, once for all terms.

    Parameters
    ----------
    outputs
        Decoder outputs, shape ``(n_terms, n, n_features)``.
    theta
        Inverse dispersion, shape ``(n_features,)``.
    values
        Counts, dense or CSR, shape ``(n, n_features)``.
    rate
        Total :math:`c` that the cell's means sum to, shape ``(n, 1)``.
    row_weight
        Weight :math:`w` of each term and cell, shape ``(n_terms, n)``.

    Returns
    -------
    The weighted sum, which gradients flow through; and the log-probability of each term and cell, ``(n_terms, n)``,
    which they do not.

    Examples
    --------
    >>> import torch
    >>> from scvi.distributions import NegativeBinomial
    >>> x, theta = torch.tensor([[0.0, 3.0, 1.0]]), torch.tensor([1.0, 2.0, 0.5])
    >>> total, rows = negative_binomial_score(torch.zeros(1, 1, 3), theta, x, torch.tensor([[4.0]]), torch.ones(1, 1))
    >>> torch.allclose(total, NegativeBinomial(mu=torch.full((1, 3), 4 / 3), theta=theta).log_prob(x).sum())
    True
    """
    counts = _Counts.of(values)
    theta_of, lgamma_of = (each.index_select(0, counts.column) for each in (theta, torch.lgamma(theta)))
    at_counts = torch.lgamma(counts.x + theta_of) - lgamma_of - torch.lgamma(counts.x + 1)
    constant = at_counts.new_zeros(len(values)).index_add(0, counts.row, at_counts)
    total, rows = _MeanPart.apply(torch.is_grad_enabled(), counts, rate, row_weight, outputs, theta)
    return total + (constant * row_weight.sum(0)).sum(), rows + constant.detach()


@dataclass(frozen=True)
class _Counts:
    """The counts above zero of a minibatch, row after row: values, rows and columns, each of shape ``(n_stored,)``."""

    x: Tensor
    row: Tensor
    column: Tensor

    def of_rows(self, rows: slice, n: int) -> _Counts:
        """The counts of some of ``n`` rows, numbered anew."""
        if rows == slice(0, n):
            return self
        first, last = torch.searchsorted(self.row, torch.tensor([rows.start, rows.stop])).tolist()
        return _Counts(self.x[first:last], self.row[first:last] - rows.start, self.column[first:last])

    @classmethod
    def of(cls, values: Tensor) -> _Counts:
        if is_sparse(values):
            return cls(values.values(), pattern_of(values).rows, pattern_of(values).columns)
        row, column = (values > 0).nonzero().unbind(-1)
        return cls(values[row, column], row, column)


class _MeanPart(torch.autograd.Function):
    """What depends on the means: x log mu - (x + theta) log(mu + theta) + theta log theta."""

    @staticmethod
    def forward(
        ctx: Any, with_gradient: bool, counts: _Counts, rate: Tensor, row_weight: Tensor, outputs: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(outputs.device.type, enabled=False):
            outputs = outputs.float()
            n_terms, n, n_features = outputs.shape
            rows = outputs.new_empty(n_terms, n)
            by_outputs = torch.empty_like(outputs) if with_gradient else None
            by_theta = torch.zeros_like(theta)
            log_theta, log_rate = theta.log(), rate.log()
            height = max(_BLOCK // (n_terms * n_features) if outputs.device.type == "cpu" else n, 1)
            for start in range(0, n, height):
                block = slice(start, min(start + height, n))
                counted = counts.of_rows(block, n)
                x, row, place = counted.x, counted.row, counted.row * n_features + counted.column
                o, c, g = outputs[:, block], rate[block], row_weight[:, block].unsqueeze(-1)
                share = o.softmax(-1)
                log_sum = o.amax(-1, keepdim=True) - share.amax(-1, keepdim=True).log()
                mean = share * c
                total = mean + theta
                log_total = total.log()
                score = o.flatten(1).index_select(1, place) - log_total.flatten(1).index_select(1, place)
                score += (log_rate[block].squeeze(-1) - log_sum.squeeze(-1)).index_select(1, row)
                rows[:, block] = (theta * log_theta).sum() - log_total @ theta
                rows[:, block].index_add_(1, row, score.mul_(x))
                if by_outputs is not None:
                    q = mean.neg_()
                    q.view(n_terms, -1).index_add_(1, place, x.expand(n_terms, -1))
                    q /= total
                    by_theta -= (g.reshape(1, -1) @ log_total.add_(q).flatten(0, 1)).squeeze(0) - g.sum() * log_theta
                    q *= theta
                    torch.addcmul(q, share, q.sum(-1, keepdim=True), value=-1, out=q)
                    torch.mul(q, g, out=by_outputs[:, block])
        ctx.gradients = (by_outputs, by_theta)
        ctx.mark_non_differentiable(rows)
        return torch.where(row_weight != 0, row_weight * rows, 0.0).sum(), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (by_outputs, by_theta), ctx.gradients = ctx.gradients, (None, None)
        if by_outputs is None:
            raise RuntimeError("This score was computed without gradients, or its gradients were read already.")
        return None, None, None, None, *scaled([by_outputs, by_theta], by_total)
