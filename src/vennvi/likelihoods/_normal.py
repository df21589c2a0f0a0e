"""Real values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import softplus

from vennvi._runs import Runs, take_runs
from vennvi._sparse import to_dense
from vennvi.data._summary import FeatureSummary
from vennvi.fused import normal
from vennvi.likelihoods._base import ALL, Columns, Likelihood, Target, blockwise

#: Floor of the learned noise sd of ``normal``, in units of the standardised feature.
NOISE_SD_FLOOR = 1e-2


class NormalLikelihood(Likelihood):
    r"""Gaussian around the decoder's output with one learned sd a feature, :math:`s_j = \text{softplus}(a_j) + 0.01`.

    Features are standardised by mean and sd of the data that the model was made with. A feature that is constant there is
    left out of the likelihood (any prediction of it would be right), and predicted as that constant.
    """

    fits = ("real", "counts", "binary")
    factorises = True
    shares_out = True
    measure = "R2"
    sd: Tensor
    varies: Tensor

    def __init__(self, n_features: int, use_size: bool = True):
        super().__init__(n_features, use_size=False)
        self.register_buffer("sd", torch.ones(n_features))
        self.register_buffer("varies", torch.ones(n_features))
        self.raw_noise_sd = nn.Parameter(torch.full((n_features,), -1.0))

    def read(self, summary: FeatureSummary, size_reference: float) -> None:
        super().read(summary, size_reference)
        sd = torch.as_tensor(summary.sd, dtype=torch.float32)
        self.varies.copy_((sd > 0).float())
        self.sd.copy_(torch.where(sd > 0, sd, 1.0))

    def initial_bias(self) -> Tensor:
        return torch.zeros(self.n_features)

    @property
    def noise_sd(self) -> Tensor:
        """Learned noise sd of each standardised feature, shape ``(n_features,)``."""
        return softplus(self.raw_noise_sd) + NOISE_SD_FLOOR

    def encoder_input(self, x: Tensor, size: Tensor) -> Tensor:
        return to_dense(x).sub(self.mean).div(self.sd).nan_to_num(0.0) * self.varies

    def target(self, x: Tensor, size: Tensor, runs: Runs | None = None) -> Target:
        mean, sd, varies = (p if runs is None else take_runs(p, runs) for p in (self.mean, self.sd, self.varies))
        values, observed = to_dense(x, runs).sub(mean).div(sd), varies
        missing = values.isnan()
        if missing.any():
            observed, values = observed * (~missing), values.masked_fill(missing, 0.0)
        return Target(values, observed, size)

    def distribution(self, outputs: Tensor, size: Tensor) -> Normal:
        return Normal(outputs, self.noise_sd, validate_args=False)

    def log_prob(self, outputs: Tensor, target: Target) -> Tensor:
        # as the distribution says, in two passes over (..., n, n_features) instead of six
        sd = self.noise_sd
        weight = 1.0 if target.observed is None else target.observed
        squares = ((target.dense - outputs).square() * (-0.5 * weight / sd.square())).sum(-1)
        constants = (weight * (sd.log() + 0.9189385332046727)).expand(target.dense.shape).sum(-1)
        return squares - constants

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        return blockwise(normal, hidden, layer, target, row_weight, runs, (self.noise_sd,))

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Normal:
        sd = (self.sd * self.varies)[columns]
        return Normal(outputs * sd + self.mean[columns], self.noise_sd[columns] * sd, validate_args=False)

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        return (values - mean).square()

    def link(self, mean: Tensor) -> Tensor:
        return mean

    def fit_null(self, totals: Tensor, n_observed: Tensor, sizes: Tensor, size_totals: Tensor) -> Tensor:
        return totals / n_observed.clamp_min(1)

    def null_mean(self, parameter: Tensor, size: Tensor) -> Tensor:
        return parameter.expand(len(size), -1)
