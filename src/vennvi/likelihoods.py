r"""Likelihoods by name: what data fit, what the encoder reads, log-probability and mean.

Depth enters every count likelihood as an offset, and the encoders read counts normalised by it, so that no latent
needs to carry it. With :math:`r_i = \ell_i / \tilde\ell` the size factor of a cell over the median one, :math:`T` the
median total count and :math:`o_{ij}` the decoder's output:

============ =============================================================== =====================================
name         observation model                                               the encoder reads
============ =============================================================== =====================================
``normal``   :math:`(x_{ij} - \bar x_j) / \hat\sigma_j \sim N(o_{ij}, s_j^2)` :math:`(x_{ij} - \bar x_j) / \hat\sigma_j`
``bernoulli``:math:`\operatorname{logit} P(x_{ij} = 1) = o_{ij} + \log r_i`   :math:`\log(1 + x_{ij} / r_i)`
``poisson``  :math:`x_{ij} \sim \text{Poisson}(r_i e^{o_{ij}})`              :math:`\log(1 + x_{ij} / r_i)`
``nb``       :math:`x_{ij} \sim \text{NB}(r_i T \operatorname{softmax}(o_i)_j, \theta_j)`  as above
``zinb``     as ``nb``, zero-inflated with probability :math:`\operatorname{sigmoid}(o'_{ij})`  as above
============ =============================================================== =====================================

For dense ``bernoulli`` data without size factors (mutations, say) there is no depth: :math:`r_i = 1`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, Poisson
from torch.nn.functional import softplus

from vennvi._runs import Runs, take_runs
from vennvi._sparse import SparseColumns, is_sparse, row_of_entry, row_sums, to_dense, with_values
from vennvi.data._summary import FeatureSummary
from vennvi.fused import bernoulli, blockwise_score, negative_binomial_score, normal, poisson
from vennvi.fused._elementwise import MAX_LOG_RATE, Rule

#: Floor of the learned noise sd of ``normal``, in units of the standardised feature.
NOISE_SD_FLOOR = 1e-2
#: Size factors below this fraction of the median are read as this: an empty cell has no log-depth.
_MIN_SIZE = 1e-4
#: Smallest mean of a count and smallest probability that a deviance is read at: a certain mistake would be infinite.
_MIN_MEAN, _MIN_PROBABILITY = 1e-10, 1e-7
#: Features by position, as a slice or an array.
Columns = slice | NDArray[np.int64]
_ALL = slice(None)
#: Different depths that the null model of 0/1 data is fitted on; more are binned.
_NULL_DEPTHS = 512


@dataclass(frozen=True)
class Target:
    """What a minibatch of one modality offers to a likelihood; made once, used by every term."""

    values: Tensor | SparseColumns
    """Shape ``(n, n_features)``, dense (or made so block by block), missing entries filled."""
    observed: Tensor | None
    """1 where the entry was measured and counts, shape ``(n, n_features)`` or ``(n_features,)``; ``None``: all."""
    size: Tensor
    """Size factor over the median one, shape ``(n, 1)``."""

    def rows(self, chosen: Tensor) -> Target:
        """The same for some cells."""
        observed = self.observed if self.observed is None or self.observed.ndim == 1 else self.observed[chosen]
        values = self.values.rows(chosen) if isinstance(self.values, SparseColumns) else self.values[chosen]
        return Target(values, observed, self.size[chosen])

    @property
    def dense(self) -> Tensor:
        """The values as one tensor."""
        return self.values[:, :] if isinstance(self.values, SparseColumns) else self.values


class Likelihood(nn.Module, ABC):
    """Observation model of one modality: decoder outputs of shape ``(..., n, n_outputs * n_features)`` in, numbers out.

    Statistics of the training data are buffers, so that they are saved with the model.

    Parameters
    ----------
    n_features
        Width of the modality.
    use_size
        Whether cells differ in depth. Ignored by ``normal``.
    """

    #: Decoder outputs a feature.
    n_outputs = 1
    #: Kinds of data (see :class:`~vennvi.data._summary.FeatureSummary`) that fit.
    fits: tuple[str, ...] = ()
    #: Whether the probability is a product over features, so that a random subset of them can stand for all.
    factorises = False
    #: What the explained fraction of :meth:`unit_deviance` is called.
    measure: Literal["R2", "deviance"] = "deviance"
    #: Mean of each feature over the training cells, shape ``(n_features,)``.
    mean: Tensor
    #: Median size factor of the training cells.
    size_reference: Tensor

    def __init__(self, n_features: int, use_size: bool = True):
        super().__init__()
        self.n_features = n_features
        self.use_size = use_size
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("size_reference", torch.ones(()))

    def read(self, summary: FeatureSummary, size_reference: float) -> None:
        """Take over the statistics of the training data; ``size_reference`` is the median size factor."""
        self.mean.copy_(torch.as_tensor(summary.mean))
        self.size_reference.fill_(max(size_reference, 1e-12))

    @abstractmethod
    def initial_bias(self) -> Tensor:
        """Decoder bias under which the untrained model predicts each feature's mean, ``(n_outputs * n_features,)``."""

    def size(self, x: Tensor, size_factor: Tensor | None) -> Tensor:
        """Size factor over the median one, shape ``(n, 1)``: the given one, or else the sum of the row."""
        if not self.use_size:
            return torch.ones((x.shape[0], 1), device=x.device)
        size = self._depth(x) if size_factor is None else size_factor
        return (size / self.size_reference).clamp_min(_MIN_SIZE)

    def _depth(self, x: Tensor) -> Tensor:
        """Row sums; where entries are missing, over the fraction of the counts that the others are expected to hold."""
        total = row_sums(x)
        if is_sparse(x) or not (missing := x.isnan()).any():
            return total
        share = (~missing).to(self.mean) @ self.mean / self.mean.sum()
        return total / share.unsqueeze(-1).clamp_min(1e-6)

    def encoder_input(self, x: Tensor, size: Tensor) -> Tensor:
        """What the encoder reads, dense or CSR as ``x`` is; missing entries are filled with the feature mean."""
        if is_sparse(x):
            return with_values(x, torch.log1p(x.values() / size.squeeze(-1)[row_of_entry(x)]))
        scaled = x / size
        return torch.log1p(torch.where(scaled.isnan(), self.mean, scaled))

    def target(self, x: Tensor, size: Tensor, runs: Runs | None = None) -> Target:
        """Prepare a minibatch (some features of it, all by default) for :meth:`log_prob` and :meth:`score`."""
        if self.factorises and is_sparse(x) and x.device.type == "cpu":
            return Target(SparseColumns.of(x, runs), None, size)
        values = to_dense(x, runs)
        if is_sparse(x) or not (missing := values.isnan()).any():
            return Target(values, None, size)
        return Target(values.masked_fill(missing, 0.0), (~missing).to(values), size)

    @abstractmethod
    def distribution(self, outputs: Tensor, size: Tensor) -> Distribution:
        """Distribution of the data given decoder outputs, event by event; for ``normal`` in standardised units."""

    def log_prob(self, outputs: Tensor, target: Target) -> Tensor:
        """Log-probability of each row, summed over its observed features; shape ``outputs.shape[:-1]``."""
        log_prob = self.distribution(outputs, target.size).log_prob(target.dense)
        return (log_prob if target.observed is None else log_prob * target.observed).sum(-1)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Weighted log-likelihood of a decoder's last layer, :math:`\sum_{ki} w_{ki} \log p(x_i \mid h_{ki})`.

        Parameters
        ----------
        hidden
            Activations that the decoder's last layer reads, shape ``(n_terms, n, n_hidden)``.
        layer
            That layer.
        target
            The minibatch (those features of it, with ``runs``).
        row_weight
            Weight of each term and cell, shape ``(n_terms, n)``.
        runs
            Features to decode, for a likelihood that ``factorises``; all by default.

        Returns
        -------
        The weighted sum, which gradients flow through; and the log-probability of each term and cell, ``(n_terms, n)``,
        which they do not.
        """
        log_prob = self.log_prob(layer(hidden), target)
        return torch.where(row_weight != 0, row_weight * log_prob, 0.0).sum(), log_prob.detach()

    def decoded(self, columns: Columns) -> Columns:
        """Features that a decoder has to be run for, to say something of ``columns``: these, or all if they share a total."""
        return columns if self.factorises else _ALL

    def expected(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Tensor:
        """Expected values of some features (all by default), in the data's units; shape ``(..., n, len(columns))``.

        ``outputs`` are those of the features that :meth:`decoded` names, here and in :meth:`predictive`.
        """
        return self.predictive(outputs, size, columns).mean

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Distribution:
        """Distribution of some features (all by default) in the data's units, observation noise included.

        Its mean is :meth:`expected`; its sample has shape ``(..., n, len(columns))``.
        """
        return self.distribution(outputs, size)

    @abstractmethod
    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        """Deviance of every entry from a prediction of its mean, as in :func:`vennvi.metrics.deviance_explained`."""

    def link(self, mean: Tensor) -> Tensor:
        """Scale on which effects add: the logarithm for counts, the log-odds for 0/1, the data's own for ``normal``."""
        return mean.clamp_min(_MIN_MEAN).log()

    def fit_null(self, totals: Tensor, n_observed: Tensor, sizes: Tensor, size_totals: Tensor) -> Tensor:
        """Parameter of each feature in the model that knows the features' means and the cells' depths only.

        Parameters
        ----------
        totals, n_observed, size_totals
            Of each feature, shape ``(n_features,)``: the sum of its observed entries, their number, and the sum of the
            sizes of their cells.
        sizes
            Sizes of the cells, shape ``(n,)``.
        """
        return totals / size_totals.clamp_min(1e-12)

    def null_mean(self, parameter: Tensor, size: Tensor) -> Tensor:
        """Mean of every entry in that model, shape ``(n, n_features)``."""
        return size * parameter


class NormalLikelihood(Likelihood):
    r"""Gaussian around the decoder's output with one learned sd a feature, :math:`s_j = \text{softplus}(a_j) + 0.01`.

    Features are standardised by the training mean and sd. A feature that is constant there is left out of the
    likelihood (any prediction of it would be right), and predicted as that constant.
    """

    fits = ("real", "counts", "binary")
    factorises = True
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
        return _blockwise(normal, hidden, layer, target, row_weight, runs, (self.noise_sd,))

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Normal:
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


class BernoulliLikelihood(Likelihood):
    """0/1 data: log-odds are the decoder's output plus the log of the cell's depth."""

    fits = ("binary",)
    factorises = True

    def initial_bias(self) -> Tensor:
        return self.mean.clamp(1e-4, 1 - 1e-4).logit()

    def distribution(self, outputs: Tensor, size: Tensor) -> Bernoulli:
        return Bernoulli(logits=outputs + size.log(), validate_args=False)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        return _blockwise(bernoulli, hidden, layer, target, row_weight, runs)

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


class PoissonLikelihood(Likelihood):
    """Counts whose rate is the cell's depth times the exponential of the decoder's output."""

    fits = ("counts", "binary")
    factorises = True

    def initial_bias(self) -> Tensor:
        return self.mean.clamp_min(1e-6).log()

    def distribution(self, outputs: Tensor, size: Tensor) -> Poisson:
        return Poisson(size * outputs.clamp_max(MAX_LOG_RATE).exp(), validate_args=False)

    def score(
        self, hidden: Tensor, layer: nn.Linear, target: Target, row_weight: Tensor, runs: Runs | None = None
    ) -> tuple[Tensor, Tensor]:
        total, rows = _blockwise(poisson, hidden, layer, target, row_weight, runs)
        if isinstance(target.values, SparseColumns):
            matrix = target.values.matrix
            row, x, seen = torch.from_numpy(matrix.indices).long(), torch.from_numpy(matrix.data), None
        else:
            row, column = (target.values > 1).nonzero().unbind(-1)  # log 0! = log 1! = 0
            x = target.values[row, column]
            seen = None if target.observed is None else target.observed.expand_as(target.values)[row, column]
        log_factorial = torch.lgamma(x + 1) if seen is None else torch.lgamma(x + 1) * seen
        constant = rows.new_zeros(rows.shape[-1]).index_add_(0, row, log_factorial)
        return total - (constant * row_weight.sum(0)).sum(), rows - constant

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        mean = mean.clamp_min(_MIN_MEAN)
        return 2 * (torch.xlogy(values, values / mean) - (values - mean))


class NegativeBinomialLikelihood(Likelihood):
    r"""Counts with a learned inverse dispersion :math:`\theta_j` a feature; the decoder says how depth is divided.

    The distribution is scvi-tools' :class:`~scvi.distributions.NegativeBinomial`: variance
    :math:`\mu + \mu^2 / \theta_j`.
    """

    fits = ("counts", "binary")
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
        return negative_binomial_score(layer(hidden), self.theta, target.dense, rate, row_weight)

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Distribution:
        rate = self._rate(outputs, size)[..., columns]  # the softmax is over all features
        return NegativeBinomial(mu=rate, theta=self.theta[columns], validate_args=False)

    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        mean, theta = mean.clamp_min(_MIN_MEAN), self.theta
        # log1p: for a large theta the logarithm's argument is 1, nearly
        ratio = torch.log1p((values - mean) / (mean + theta))
        return 2 * (torch.xlogy(values, values / mean) - (values + theta) * ratio)


class ZeroInflatedNegativeBinomialLikelihood(NegativeBinomialLikelihood):
    """As the negative binomial, with a second output a feature: the log-odds of an extra zero.

    Its deviance is the negative binomial's, at the mean with the extra zeros in it.
    """

    n_outputs = 2

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

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Distribution:
        composition, dropout = outputs.chunk(2, dim=-1)
        return ZeroInflatedNegativeBinomial(
            mu=self._rate(composition, size)[..., columns],
            theta=self.theta[columns],
            zi_logits=dropout[..., columns],
            validate_args=False,
        )

    def expected(self, outputs: Tensor, size: Tensor, columns: Columns = _ALL) -> Tensor:
        composition, dropout = outputs.chunk(2, dim=-1)
        return (torch.sigmoid(-dropout) * self._rate(composition, size))[..., columns]


def _blockwise(
    rule: Rule,
    hidden: Tensor,
    layer: nn.Linear,
    target: Target,
    row_weight: Tensor,
    runs: Runs | None,
    parameters: tuple[Tensor, ...] = (),
) -> tuple[Tensor, Tensor]:
    data = (target.values, target.observed, target.size, row_weight, runs)
    return blockwise_score(hidden, layer.weight, layer.bias, parameters, rule, *data)


#: Likelihood classes by the name that users give.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": NormalLikelihood,
    "bernoulli": BernoulliLikelihood,
    "poisson": PoissonLikelihood,
    "nb": NegativeBinomialLikelihood,
    "zinb": ZeroInflatedNegativeBinomialLikelihood,
}

#: Likelihood chosen for data of each kind when the user names none.
DEFAULTS = {"binary": "bernoulli", "counts": "nb", "real": "normal"}


def resolve_likelihood(name: str | None, summary: FeatureSummary, modality: str) -> str:
    """Name of a modality's likelihood: the user's if the data fit it, by default the one for data of that kind.

    Raises
    ------
    ValueError
        If there is no likelihood of that name, or the data contradict it; the message says what was found in the
        modality and which likelihoods fit.
    """
    if name is None:
        return DEFAULTS[summary.kind]
    if name not in LIKELIHOODS:
        raise ValueError(
            f"Unknown likelihood {name!r} for modality {modality!r}: choose among {', '.join(LIKELIHOODS)}."
        )
    if summary.kind not in LIKELIHOODS[name].fits:
        fitting = [other for other, cls in LIKELIHOODS.items() if summary.kind in cls.fits]
        remedy = " Binarise the counts into a layer of their own first." if name == "bernoulli" else ""
        raise ValueError(
            f"Likelihood {name!r} does not fit modality {modality!r}, which holds {summary.describe()}: "
            f"use {' or '.join(repr(f) for f in fitting)}.{remedy if summary.kind == 'counts' else ''}"
        )
    return name
