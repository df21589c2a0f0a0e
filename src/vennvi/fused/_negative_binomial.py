"""Negative binomial counts whose means share out a cell's depth: a decoder's last layer, value and gradient together."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vennvi._runs import pieces, shares
from vennvi._sparse import is_sparse, pattern_of
from vennvi.fused._gradients import empty_gradient, scaled
from vennvi.fused._multiply import multiplication
from vennvi.fused._threads import PRODUCT_NS, in_threads, n_shares

#: Outputs that the elementwise work is done on at a time there, so that they stay in the cache.
_BLOCK = 2**17


@torch.compiler.disable  # is one fused step already: nothing to trace
def negative_binomial_score(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    theta: Tensor,
    values: Tensor,
    rate: Tensor,
    row_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""Weighted log-likelihood of counts :math:`x_{ij} \sim \text{NB}(c_i \operatorname{softmax}(o_{ki})_j, \theta_j)`.

    .. math:: \sum_{k,i} w_{ki} \sum_j \log \text{NB}(x_{ij} \mid \mu_{kij}, \theta_j),\quad o_{ki} = W h_{ki} + b, \quad
        \frac{\partial \log \text{NB}}{\partial \log \mu} = \frac{\theta (x - \mu)}{\theta + \mu} = q, \quad
        \frac{\partial}{\partial o_j} = q_j - \operatorname{softmax}(o)_j \sum_l q_l

    The gamma functions are read at the counts above zero only, once for all terms. On a CPU threads share out the cells, and
    the features for the gradient of the layer.

    Parameters
    ----------
    hidden
        Activations :math:`h` of the last hidden layer, shape ``(n_terms, n, n_hidden)``.
    weight, bias
        Last layer, shapes ``(n_features, n_hidden)`` and ``(n_features,)``. Products are in bfloat16 where autocast says so.
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
    >>> layer = torch.ones(1, 1, 2), torch.zeros(3, 2), torch.zeros(3)
    >>> total, rows = negative_binomial_score(*layer, theta, x, torch.tensor([[4.0]]), torch.ones(1, 1))
    >>> torch.allclose(total, NegativeBinomial(mu=torch.full((1, 3), 4 / 3), theta=theta).log_prob(x).sum())
    True
    """
    with_gradient = torch.is_grad_enabled()
    return _Score.apply(with_gradient, _Counts.of(values), rate, row_weight, hidden, weight, bias, theta)


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


@dataclass(frozen=True)
class _OfTheta:
    """Functions of the inverse dispersion, each of shape ``(n_features,)``."""

    theta: Tensor
    inverse: Tensor
    log: Tensor
    lgamma: Tensor
    digamma: Tensor

    @classmethod
    def of(cls, theta: Tensor) -> _OfTheta:
        return cls(theta, theta.reciprocal(), theta.log(), torch.lgamma(theta), torch.digamma(theta))


class _Score(torch.autograd.Function):
    """Cells first, for all but the layer's own gradient; then features, for that."""

    @staticmethod
    def forward(
        ctx: Any,
        with_gradient: bool,
        counts: _Counts,
        rate: Tensor,
        row_weight: Tensor,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        theta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        multiply, hidden = multiplication(hidden.device.type), hidden.float().contiguous()
        (n_terms, n, n_hidden), n_features = hidden.shape, len(weight)
        n_outputs = max(n_terms * n_features, 1)  # of a cell
        height = max(_BLOCK // n_outputs, 1) if hidden.device.type == "cpu" else max(n, 1)
        nanoseconds = PRODUCT_NS * n * n_outputs * n_hidden
        with torch.autocast(hidden.device.type, enabled=False):
            w, functions, g = multiply.factor(weight), _OfTheta.of(theta), row_weight.unsqueeze(-1)
            o, rows = hidden.new_empty(n_terms, n, n_features), hidden.new_empty(n_terms, n)
            by_hidden = torch.empty_like(hidden) if with_gradient else None

            def score_cells(share: list[slice]) -> Tensor:
                by_theta = torch.zeros_like(theta)
                into = by_theta if with_gradient else None
                for cells in share:
                    for h, out in zip(_matrices(hidden, cells), _matrices(o, cells), strict=True):
                        multiply.affine(multiply.factor(h), w.T, bias, out=out)
                    for block in pieces([cells], height):
                        counted = counts.of_rows(block, n)
                        rows[:, block] = _score_means(
                            o[:, block], rate[block], counted, functions, row_weight[:, block], into
                        )
                    rows[:, cells] += _score_counts(counts.of_rows(cells, n), functions, row_weight[:, cells], into)
                    if by_hidden is not None:  # the outputs are their own derivatives by now
                        for d, by_h in zip(_matrices(o, cells), _matrices(by_hidden, cells), strict=True):
                            multiply(multiply.factor(d), w, out=by_h)
                        by_hidden[:, cells] *= g[:, cells]
                return by_theta

            dealt = shares([slice(0, n)], n_shares(hidden.device, 2 * nanoseconds))
            by_theta = functools.reduce(torch.add, in_threads(score_cells, dealt))
            by_layer = [empty_gradient(p, len(p)) for p in (weight, bias)] if with_gradient else []
            if with_gradient:
                d, weighted = o.flatten(0, 1).T, multiply.factor((hidden * g).flatten(0, 1))

                def write(share: list[slice]) -> None:
                    for features in share:
                        by_weight, by_bias = (gradient[features] for gradient in by_layer)
                        torch.mv(d[features], row_weight.flatten(), out=by_bias)
                        multiply(multiply.factor(d[features]), weighted, out=by_weight)

                in_threads(write, shares([slice(0, n_features)], n_shares(hidden.device, nanoseconds)))
        ctx.gradients = [] if by_hidden is None else [by_hidden, *by_layer, by_theta]
        ctx.mark_non_differentiable(rows)
        return torch.where(row_weight != 0, row_weight * rows, 0.0).sum(), rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, []
        if not gradients:
            raise RuntimeError("This score was computed without gradients, or its gradients were read already.")
        return None, None, None, None, *scaled(gradients, by_total)


def _matrices(x: Tensor, cells: slice) -> list[Tensor]:
    """What ``(n_terms, n, k)`` holds of some cells, as matrices in place: one, if they are all."""
    return [x.view(-1, x.shape[-1])] if cells == slice(0, x.shape[1]) else list(x[:, cells])


def _score_means(
    o: Tensor, rate: Tensor, counts: _Counts, functions: _OfTheta, row_weight: Tensor, by_theta: Tensor | None
) -> Tensor:
    r"""What depends on the means, :math:`x \log \mu - (x + \theta) \log(\mu + \theta) + \theta \log \theta`, summed over features.

    By the excess :math:`e = \log(\mu + \theta) - \log \theta`, as :math:`x (\log \mu - \log \theta - e) - \theta e`: where
    :math:`\theta` is large, two sums that differ by little would be left of the first form.
    Shape ``(n_terms, n)``. Given ``by_theta``, the weighted sum's derivative is added to it, and the outputs ``o``, ``(n_terms, n,
    n_features)``, make room for the derivatives by them, unweighted.
    """
    x, row, place = counts.x, counts.row, counts.row * o.shape[-1] + counts.column
    share, theta = o.softmax(-1), functions.theta
    log_sum = o.amax(-1, keepdim=True) - share.amax(-1, keepdim=True).log()
    mean = share * rate
    excess = (mean * functions.inverse).log1p_()
    score = o.flatten(1).index_select(1, place) - excess.flatten(1).index_select(1, place)
    score += (rate.log().squeeze(-1) - log_sum.squeeze(-1)).index_select(1, row)
    score -= functions.log.index_select(0, counts.column)
    rows = (excess @ theta).neg_()
    rows.index_add_(1, row, score.mul_(x))
    if by_theta is None:
        return rows
    total = mean + theta
    q = mean.neg_()
    q.view(len(q), -1).index_add_(1, place, x.expand(len(q), -1))
    q /= total
    by_theta -= row_weight.reshape(-1) @ excess.add_(q).flatten(0, 1)
    q *= theta
    torch.addcmul(q, share, q.sum(-1, keepdim=True), value=-1, out=o)
    return rows


def _score_counts(counts: _Counts, functions: _OfTheta, row_weight: Tensor, by_theta: Tensor | None) -> Tensor:
    r"""The rest, :math:`\log \Gamma(x + \theta) - \log \Gamma(\theta) - \log x!` of the counts above zero, the same for all terms.

    Shape ``(n,)``. Given ``by_theta``, the weighted sum's derivative is added to it.
    """
    x, row, column = counts.x, counts.row, counts.column
    x_theta = x + functions.theta.index_select(0, column)
    score = torch.lgamma(x_theta).sub_(functions.lgamma.index_select(0, column)).sub_(torch.lgamma(x + 1))
    if by_theta is not None:
        slope = torch.digamma(x_theta).sub_(functions.digamma.index_select(0, column))
        by_theta.index_add_(0, column, slope.mul_(row_weight.sum(0).index_select(0, row)))
    return score.new_zeros(row_weight.shape[1]).index_add_(0, row, score)
