"""Poisson counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Poisson

from vennvi._runs import Runs
from vennvi._sparse import SparseColumns
from vennvi.fused import poisson
from vennvi.fused._elementwise import MAX_LOG_RATE
from vennvi.likelihoods._base import MIN_MEAN, Likelihood, Target, blockwise


class PoissonLikelihood(Likelihood):
    """Counts whose rate is the cell's depth times the exponential of the decoder's output."""

    fits = ("counts", "binary")
    factorises = True
    shares_out = True

    def initial_bias(self) -> Tensor:
        return self.mean.clamp_min(1e-6).log()

    def distribution(self, outputs: Tensor, size: Tensor) -> Poisson:
        return Poisson(size * outputs.clamp_max(MAX_LOG_RATE).exp(), validate_args=False)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        total, rows = blockwise(poisson, hidden, layer, target, row_weight, runs)
        if isinstance(target.values, SparseColumns):
            row, x, seen = target.values.rows, target.values.values, None
        else:
            row, column = (target.values > 1).nonzero().unbind(-1)  # log 0! = log 1! = 0
            x = target.values[row, column]
            seen = None if target.observed is None else target.observed.expand_as(target.values)[row, column]
        log_factorial = torch.lgamma(x + 1) if seen is None else torch.lgamma(x + 1) * seen
        constant = rows.new_zeros(rows.shape[-1]).index_add_(0, row, log_factorial)
        return total - (constant * row_weight.sum(0)).sum(), rows - constant

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        mean = mean.clamp_min(MIN_MEAN)
        return 2 * (torch.xlogy(values, values / mean) - (values - mean))
