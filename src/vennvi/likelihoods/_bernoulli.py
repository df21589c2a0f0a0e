"""0/1 data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from vennvi._runs import Runs
from vennvi.fused import bernoulli
from vennvi.likelihoods._base import Likelihood, Target, blockwise

#: Smallest probability that a deviance is read at: a certain mistake would be infinite.
_MIN_PROBABILITY = 1e-7
#: Different depths that the null model is fitted on; more are binned.
_NULL_DEPTHS = 512


class BernoulliLikelihood(Likelihood):
    """0/1 data: log-odds are the decoder's output plus the log of the cell's depth."""

    fits = ("binary",)
    factorises = True
    shares_out = True

    def initial_bias(self) -> Tensor:
        return self.mean.clamp(1e-4, 1 - 1e-4).logit()

    def distribution(self, outputs: Tensor, size: Tensor) -> Bernoulli:
        return Bernoulli(logits=outputs + size.log(), validate_args=False)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        return blockwise(bernoulli, hidden, layer, target, row_weight, runs)

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        mean = mean.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
        return -2 * (values * mean.logit() + torch.log1p(-mean))

    def link(self, mean: Tensor) -> Tensor:
        return mean.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY).logit()

    def fit_null(self, totals: Tensor, n_observed: Tensor, sizes: Tensor, size_totals: Tensor) -> Tensor:
        r"""Log-odds :math:`a_j` with :math:`\sum_i \operatorname{sigmoid}(a_j + \log r_i) = \sum_i x_{ij}`, by Newton's method.

        Where entries are missing, those of each feature are taken to be spread evenly over depths.
        """
        frequency = (totals / n_observed.clamp_min(1)).clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
        log_size, counts = sizes.double().log().unique(return_counts=True)
        if len(log_size) > _NULL_DEPTHS:
            log_size = torch.stack([part.mean() for part in sizes.double().log().sort().values.chunk(_NULL_DEPTHS)])
            counts = torch.tensor([len(part) for part in sizes.chunk(_NULL_DEPTHS)])
        weight = (counts / counts.sum().clamp_min(1)).to(log_size)
        parameters = []
        for wanted in frequency.double().split(4096):
            a = wanted.logit() - (weight @ log_size)
            for _ in range(30):
                p = torch.sigmoid(a + log_size.unsqueeze(-1))
                step = (weight @ p - wanted) / (weight @ (p * (1 - p))).clamp_min(1e-12)
                a = a - step.clamp(-2, 2)
                if step.abs().max() < 1e-10:
                    break
            parameters.append(a)
        return torch.cat(parameters)

    def null_mean(self, parameter: Tensor, size: Tensor) -> Tensor:
        return torch.sigmoid(parameter + size.log())
