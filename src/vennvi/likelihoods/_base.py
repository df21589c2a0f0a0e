"""What every likelihood offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution

from vennvi._runs import Runs
from vennvi._sparse import SparseColumns, is_sparse, pattern_of, row_sums, take_rows, to_dense, with_values
from vennvi.data._summary import FeatureSummary
from vennvi.fused import blockwise_score
from vennvi.fused._elementwise import Rule

#: Features by position, as a slice or an array.
Columns = slice | NDArray[np.int64]
ALL = slice(None)
#: Smallest mean of a count that a deviance is read at: a certain mistake would be infinite.
MIN_MEAN = 1e-10
#: Size factors below this fraction of the median are read as this: an empty cell has no log-depth.
_MIN_SIZE = 1e-4


@dataclass(frozen=True)
class Target:
    """What a minibatch of one modality offers to a likelihood; made once, used by every term."""

    values: Tensor | SparseColumns
    """Shape ``(n, n_features)``: dense, missing entries filled, CSR, or the stored entries by column."""
    observed: Tensor | None
    """1 where the entry was measured and counts, shape ``(n, n_features)`` or ``(n_features,)``; ``None``: all."""
    size: Tensor
    """Size factor over the median one, shape ``(n, 1)``."""

    def rows(self, chosen: Tensor) -> Target:
        """The same for some cells."""
        observed = self.observed if self.observed is None or self.observed.ndim == 1 else self.observed[chosen]
        if isinstance(self.values, SparseColumns):
            return Target(self.values.of_rows(chosen), observed, self.size[chosen])
        values = take_rows(self.values, chosen) if is_sparse(self.values) else self.values[chosen]
        return Target(values, observed, self.size[chosen])

    @property
    def dense(self) -> Tensor:
        """The values as one dense tensor."""
        return self.values.dense() if isinstance(self.values, SparseColumns) else to_dense(self.values)


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
    #: Whether :meth:`score` shares its work out among threads itself.
    shares_out = False
    #: What the explained fraction of :meth:`unit_deviance` is called.
    measure: Literal["R2", "deviance"] = "deviance"
    #: Mean of each feature over the cells that the model was made with, shape ``(n_features,)``.
    mean: Tensor
    #: Median size factor of these cells.
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

    @staticmethod
    def is_empty(size: Tensor) -> Tensor:
        """Whether nothing was counted in a cell, by its :meth:`size`, so that it has no depth; shape ``(n, 1)``."""
        return size <= _MIN_SIZE

    def _depth(self, x: Tensor) -> Tensor:
        """Row sums; where entries are missing, over the fraction of the counts that the others are expected to hold."""
        total = row_sums(x)
        if is_sparse(x) or not (missing := x.isnan()).any():
            return total
        share = (~missing).to(self.mean) @ self.mean / self.mean.sum().clamp_min(1e-12)
        return total / share.unsqueeze(-1).clamp_min(1e-6)

    def encoder_input(self, x: Tensor, size: Tensor) -> Tensor:
        """What the encoder reads, dense or CSR as ``x`` is; missing entries are filled with the feature mean."""
        if is_sparse(x):
            return with_values(x, torch.log1p(x.values() / size.squeeze(-1).index_select(0, pattern_of(x).rows)))
        scaled = x / size
        return torch.log1p(torch.where(scaled.isnan(), self.mean, scaled))

    def target(self, x: Tensor, size: Tensor, runs: Runs | None = None) -> Target:
        """Prepare a minibatch (some features of it, all by default) for :meth:`log_prob` and :meth:`score`."""
        if is_sparse(x):
            if self.factorises:
                by_column = x.device.type == "cpu"
                return Target(SparseColumns.of(x, runs) if by_column else to_dense(x, runs), None, size)
            return Target(x, None, size)
        values = to_dense(x, runs)
        if not (missing := values.isnan()).any():
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
        return columns if self.factorises else ALL

    def expected(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Tensor:
        """Expected values of some features (all by default), in the data's units; shape ``(..., n, len(columns))``.

        ``outputs`` are those of the features that :meth:`decoded` names, here and in :meth:`predictive`.
        """
        return self.predictive(outputs, size, columns).mean

    def predictive(self, outputs: Tensor, size: Tensor, columns: Columns = ALL) -> Distribution:
        """Distribution of some features (all by default) in the data's units, observation noise included.

        Its mean is :meth:`expected`; its sample has shape ``(..., n, len(columns))``.
        """
        return self.distribution(outputs, size)

    @abstractmethod
    def unit_deviance(self, values: Tensor, mean: Tensor) -> Tensor:
        """Deviance of every entry from a prediction of its mean, as in :func:`vennvi.metrics.deviance_explained`."""

    def link(self, mean: Tensor) -> Tensor:
        """Scale on which effects add: the logarithm for counts, the log-odds for 0/1, the data's own for ``normal``."""
        return mean.clamp_min(MIN_MEAN).log()

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


def blockwise(
    rule: Rule,
    hidden: Tensor,
    layer: nn.Linear,
    target: Target,
    row_weight: Tensor,
    runs: Runs | None,
    parameters: tuple[Tensor, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Score of an observation model that factorises over features, by its rule (:func:`~vennvi.fused.blockwise_score`)."""
    data = (target.values, target.observed, target.size, row_weight, runs)
    return blockwise_score(hidden, layer.weight, layer.bias, parameters, rule, *data)
