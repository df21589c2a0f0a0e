"""Overdispersed counts, with or without extra zeros."""

from __future__ import annotations

import torch
from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from torch import Tensor, nn
from torch.distributions import Distribution

from vennvi._runs import Runs
from vennvi.data._summary import FeatureSummary
from vennvi.fused import negative_binomial_score
from vennvi.likelihoods._base import ALL, MIN_MEAN, Columns, Likelihood, Target


class NegativeBinomialLikelihood(Likelihood):
    r"""Counts with a learned inverse dispersion :math:`\theta_j` a feature; the decoder says how depth is divided.

    The distribution is scvi-tools' :class:`~scvi.distributions.NegativeBinomial`: variance
    :math:`\mu + \mu^2 / \theta_j`.
    """

    fits = ("counts", "binary")
    shares_out = True  # unless entries are missing
    total: Tensor

    def __init__(self, n_features: int, use_size: bool = True):
        super().__init__(n_features, use_size=use_size)
        self.register_buffer("total", torch.ones(()))
        self.log_theta = nn.Parameter(torch.zeros(n_features))

    def read(self, summary: FeatureSummary, size_reference: float) -> None:
        super().read(summary, size_reference)
        self.total.fill_(max(summary.median_total, 1e-12))

    def initial_bias(self) -> Tensor:
        return self.mean.clamp_min(1e-6).log()

    def _rate(self, outputs: Tensor, size: Tensor) -> Tensor:
        return size * self.total * outputs.softmax(-1)

    @property
    def theta(self) -> Tensor:
        """Inverse dispersion of each feature, shape ``(n_features,)``; kept between 1e-4 and 1e4."""
        return self.log_theta.clamp(-9.2, 9.2).exp()

    def distribution(self, outputs: Tensor, size: Tensor) -> Distribution:
        return NegativeBinomial(mu=self._rate(outputs, size), theta=self.theta, validate_args=False)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        if target.observed is not None:
            return super().score(hidden, layer, target, row_weight)
        rate = target.size * self.total
        return negative_binomial_score(hidden, layer.weight, layer.bias, self.theta, target.values, rate, row_weight)

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Distribution:
        rate = self._rate(outputs, size)[..., columns]  # the softmax is over all features
        return NegativeBinomial(mu=rate, theta=self.theta[columns], validate_args=False)

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        mean, theta = mean.clamp_min(MIN_MEAN), self.theta
        # log1p: for a large theta the logarithm's argument is 1, nearly
        ratio = torch.log1p((values - mean) / (mean + theta))
        return 2 * (torch.xlogy(values, values / mean) - (values + theta) * ratio)


class ZeroInflatedNegativeBinomialLikelihood(NegativeBinomialLikelihood):
    """As the negative binomial, with a second output a feature: the log-odds of an extra zero.

    Its deviance is the negative binomial's, at the mean with the extra zeros in it.
    """

    n_outputs = 2
    shares_out = False

    def initial_bias(self) -> Tensor:
        return torch.cat([super().initial_bias(), torch.full((self.n_features,), -2.0)])

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        return Likelihood.score(self, hidden, layer, target, row_weight)

    def distribution(self, outputs: Tensor, size: Tensor) -> Distribution:
        composition, dropout = outputs.chunk(2, dim=-1)
        return ZeroInflatedNegativeBinomial(
            mu=self._rate(composition, size), theta=self.theta, zi_logits=dropout, validate_args=False
        )

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Distribution:
        composition, dropout = outputs.chunk(2, dim=-1)
        return ZeroInflatedNegativeBinomial(
            mu=self._rate(composition, size)[..., columns],
            theta=self.theta[columns],
            zi_logits=dropout[..., columns],
            validate_args=False,
        )

    def expected(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Tensor:
        composition, dropout = outputs.chunk(2, dim=-1)
        return (torch.sigmoid(-dropout) * self._rate(composition, size))[..., columns]
