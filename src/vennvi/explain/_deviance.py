"""Explained deviance in two passes over minibatches: only sums over cells are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vennvi.likelihoods import Likelihood


class FeatureTotals:
    """First pass: what the null model of each feature needs, for several sets of cells at once.

    Parameters
    ----------
    n_sets
        Number of sets of cells.
    n_features
        Width of the modality.
    """

    def __init__(self, n_sets: int, n_features: int):
        self.n_sets = n_sets
        self.n_cells = [0] * n_sets
        self.totals, self.n_observed, self.size_totals = torch.zeros(3, n_sets, n_features, dtype=torch.float64)
        self.lowest = torch.full((n_sets, n_features), torch.inf)
        self.highest = torch.full((n_sets, n_features), -torch.inf)

    def add(self, x: Tensor, size: Tensor, sets: Tensor) -> None:
        """Add a minibatch.

        Parameters
        ----------
        x
            Data, dense, missing entries NaN, shape ``(n, n_features)``.
        size
            Relative depth, shape ``(n, 1)``.
        sets
            Whether each cell is in each set, shape ``(n_sets, n)``.
        """
        observed = ~x.isnan()
        values, weight = torch.where(observed, x, 0.0), sets.to(x)
        self.totals += (weight @ values).cpu()
        self.n_observed += (weight @ observed.to(x)).cpu()
        self.size_totals += ((weight * size.squeeze(-1)) @ observed.to(x)).cpu()
        for k, inside in enumerate(sets):
            if not inside.any():
                continue
            self.n_cells[k] += int(inside.sum())
            low = torch.where(observed, x, torch.inf)[inside].amin(0).cpu()
            high = torch.where(observed, x, -torch.inf)[inside].amax(0).cpu()
            self.lowest[k] = torch.minimum(self.lowest[k], low)
            self.highest[k] = torch.maximum(self.highest[k], high)


class ExplainedDeviance:
    r"""Second pass: deviances of any number of predictions, for several sets of cells at once.

    .. math:: D^2_j = 1 - \sum_i d(x_{ij}, \mu_{ij}) \big/ \sum_i d(x_{ij}, \mu^0_{ij})

    where the null model :math:`\mu^0` knows each feature's mean in the set of cells and each cell's depth.

    Parameters
    ----------
    likelihood
        The modality's.
    totals
        The finished first pass over the same cells.
    sizes
        Relative depths of the cells of each set, shape ``(n_cells,)``.
    """

    def __init__(self, likelihood: Likelihood, totals: FeatureTotals, sizes: Sequence[Tensor]):
        self.likelihood = likelihood
        self.n_cells = totals.n_cells
        device = likelihood.mean.device
        self._parameters, varies = [], []
        for k, depth in enumerate(size.cpu() for size in sizes):
            null = likelihood.fit_null(totals.totals[k], totals.n_observed[k], depth, totals.size_totals[k])
            self._parameters.append(null.to(device, torch.float32))
            # whether a feature differs anywhere from its null mean, told without rounding
            depths_differ = bool(len(depth)) and bool(depth.min() < depth.max())
            differs = (totals.lowest[k] < totals.highest[k]) | ((totals.highest[k] > 0) & depths_differ)
            varies.append(differs.numpy())
        self._varies = np.stack(varies)
        self._null = np.zeros(self._varies.shape)
        self._sums: dict[str, NDArray[np.float64]] = {}

    def start(self, x: Tensor, size: Tensor, sets: Tensor) -> None:
        """Take up a minibatch, as in :meth:`FeatureTotals.add`; :meth:`add` its predictions afterwards."""
        self._observed = ~x.isnan()
        self._complete = bool(self._observed.all())
        self._values, self._weight, self._size = torch.where(self._observed, x, 0.0), sets.to(x), size
        for k, parameter in enumerate(self._parameters):
            self._null[k] += self._summed(self.likelihood.null_mean(parameter, size))[k]

    def add(self, name: str, mean: Tensor) -> None:
        """Add the deviance of a prediction of the minibatch, shape ``(n, n_features)``."""
        if name not in self._sums:
            self._sums[name] = np.zeros_like(self._null)
        self._sums[name] += self._summed(mean)

    def _summed(self, mean: Tensor) -> NDArray[np.float64]:
        deviance = self.likelihood.unit_deviance(self._values, mean)
        if not self._complete:
            deviance = torch.where(self._observed, deviance, 0.0)
        return (self._weight @ deviance).cpu().double().numpy()

    def per_feature(self, name: str, k: int = 0, *, over: str | None = None) -> NDArray[np.float64]:
        """Explained fraction of each feature; NaN where the null model leaves nothing to explain.

        Parameters
        ----------
        name
            A prediction.
        k
            Set of cells.
        over
            Another prediction: then the explained fraction beyond that of the other.
        """
        null = np.where(self._varies[k], self._null[k], 0.0)
        before = null if over is None else self._sums[over][k]
        return np.divide(before - self._sums[name][k], null, out=np.full(len(null), np.nan), where=null > 0)

    def total(self, name: str, k: int = 0, *, over: str | None = None) -> float:
        """Explained fraction of the deviance summed over all features."""
        null = float(self._null[k][self._varies[k]].sum())
        before = null if over is None else float(self._sums[over][k].sum())
        return (before - float(self._sums[name][k].sum())) / null if null > 0 else np.nan
