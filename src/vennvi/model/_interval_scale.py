"""How much wider or narrower than learned the predictive distribution of a real value has to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mudata import MuData
from numpy.typing import NDArray
from torch import Tensor

from vennvi._keys import data_key
from vennvi._sparse import to_dense
from vennvi.data._dataset import cell_positions
from vennvi.data._name_hashes import name_hashes
from vennvi.likelihoods import Columns, NormalLikelihood
from vennvi.model._calibration import kept_with, warn_without_data
from vennvi.model._held_out import held_out_split
from vennvi.model._predictive import PredictiveMixin
from vennvi.model._seeded import seeded

#: Held-out cells below which the learned width is kept, and cells that the scale is fitted on at most.
MIN_CELLS, MAX_CELLS = 20, 500
#: Cells that the mean over features counts for in the scale of one.
_PRIOR_CELLS = 10
#: Draws of the latents that the predictive mean and variance of those cells are read off.
_N_DRAWS = 50


def shrunken_scale(squares: NDArray, counts: NDArray, prior_cells: float = _PRIOR_CELLS) -> NDArray[np.float64]:
    r"""Scale of every feature's predictive sd, from its standardised squared errors, shrunk to that of all features.

    .. math:: c_j^2 = \frac{\sum_i z_{ij}^2 + n_0 \bar c^2}{n_j + n_0}, \qquad z_{ij} = \frac{x_{ij} - \hat\mu_{ij}}{\hat\sigma_{ij}}

    Parameters
    ----------
    squares, counts
        Sum of :math:`z_{ij}^2` over cells, and number of cells, of every feature.
    prior_cells
        :math:`n_0`.

    Returns
    -------
    The scales; 1 if no cell was counted.

    Examples
    --------
    >>> shrunken_scale(np.array([400.0, 0.0]), np.array([100, 0]))
    array([2., 2.])
    """
    if not counts.sum():
        return np.ones(len(squares))
    pooled = squares.sum() / counts.sum()
    return np.sqrt((squares + prior_cells * pooled) / (counts + prior_cells))


class IntervalScaleMixin(PredictiveMixin):
    """Predictive distributions whose width was read off held-out cells."""

    def _calibrated_draws(
        self,
        target: str,
        sources: tuple[str, ...],
        mdata: MuData | None,
        indices: Sequence[int] | NDArray | None,
        n_draws: int,
        columns: Columns,
        n_columns: int,
        library_size: float | None,
        batch_size: int | None,
        calibrated: bool,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]]:
        """As ``_predictive_draws``, the deviations from the mean multiplied by the scale if ``calibrated``."""
        sources = tuple(m for m in self.modalities if m in sources)
        data = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        cells = cell_positions(data.n_obs, indices)
        scales = self._interval_scales(target, sources)[:, columns] if calibrated else np.ones((3, 1))
        if calibrated and target in sources and len(sources) > 1 and not self._presence(data, target)[cells].all():  # type: ignore[attr-defined]
            others = tuple(m for m in sources if m != target)  # what a cell without the target is predicted from
            scales = np.concatenate([scales, self._interval_scales(target, others)[:, columns]])
        half = np.zeros(data.n_obs, dtype=np.int64)
        if data is self.adata:  # type: ignore[attr-defined]
            calibration_cells = self._calibration_cells()
            half[calibration_cells] = self._half_of(calibration_cells)
        start = 0
        for draws, mean, variance, given in self._predictive_draws(
            target, sources, mdata, indices, n_draws, columns, n_columns, library_size, batch_size
        ):
            which = half[cells[start : start + len(mean)]]
            start += len(mean)
            if len(scales) > 3:
                which = which + 3 * (given["present"].squeeze(-1) == 0).cpu().numpy()
            scale = torch.as_tensor(scales[which], dtype=mean.dtype, device=mean.device)
            yield mean + scale * (draws - mean), mean, scale.square() * variance, given

    @torch.inference_mode()
    def _interval_scales(self, target: str, sources: tuple[str, ...]) -> NDArray[np.float64]:
        """Scales ``(3, n_features)``: of cells that took no part in the fit; of one half of those that did, by the other.

        Ones for other likelihoods than ``"normal"``, and if there are too few held-out cells. Kept until trained further.
        """
        likelihood = self.module.likelihood(target)
        neutral = np.ones((3, likelihood.n_features))
        if not isinstance(likelihood, NormalLikelihood):
            return neutral
        scales = kept_with(self, "interval_scales_", "scales", self.module.parameters())
        name = f"{target} from {', '.join(sources)}"
        if name not in scales:
            cells = self._calibration_cells()
            usable = cells
            if len(cells):  # those that have the target, and something to predict it from
                has = {m: self._presence(self.adata, m)[cells] for m in {target, *sources}}  # type: ignore[attr-defined]
                usable = cells[has[target] & np.any([has[m] for m in sources], axis=0)]
            if len(usable) < MIN_CELLS:
                warn_without_data(self, f"The intervals of {name}")
                return neutral
            with seeded(0, self.device):  # type: ignore[attr-defined]
                squares, counts = self._standardised_squares(target, sources, usable)
            parts = [shrunken_scale(squares.sum(0), counts.sum(0))]
            parts += [shrunken_scale(squares[other], counts[other]) for other in (1, 0)]  # half 1 by half 2
            scales[name] = np.stack(parts)
        return scales[name]

    def _standardised_squares(
        self, target: str, sources: tuple[str, ...], cells: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sums of squared standardised errors, and numbers of values, by half and feature."""
        n_features = self.module.likelihood(target).n_features
        squares, counts = np.zeros((2, n_features)), np.zeros((2, n_features), dtype=np.int64)
        half, start = self._half_of(cells), 0
        draws = self._predictive_draws(target, sources, None, cells, _N_DRAWS, slice(None), n_features, None, None)
        for _, mean, variance, given in draws:
            x = to_dense(given[data_key(target)])
            z = ((x - mean).square() / variance).double().cpu().numpy()
            z[~np.isfinite(z) | (given["present"] == 0).cpu().numpy()] = np.nan
            for k in (0, 1):
                own = z[half[start : start + len(z)] == k + 1]
                squares[k] += np.nansum(own, axis=0)
                counts[k] += (~np.isnan(own)).sum(axis=0)
            start += len(z)
        return squares, counts

    def _calibration_cells(self) -> NDArray[np.int64]:
        """Held-out cells that the scales are fitted on, a random choice of them if there are many."""
        cells = held_out_split(self)
        if len(cells) > MAX_CELLS:
            by_hash = np.argsort(name_hashes(self.adata.obs_names[cells]), kind="stable")  # type: ignore[attr-defined]
            cells = np.sort(cells[by_hash[:MAX_CELLS]])
        return cells

    def _half_of(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which half, 1 or 2, cells of the model's own data are in: by their names, so that it holds in whatever order."""
        return (name_hashes(self.adata.obs_names[cells]) % 2).astype(np.int64) + 1  # type: ignore[attr-defined]
