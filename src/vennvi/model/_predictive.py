"""Predictive distributions: draws from posterior and likelihood, their moments, intervals and coverage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from torch import Tensor

from vennvi._keys import data_key
from vennvi._sparse import is_sparse
from vennvi.likelihoods import Columns, NormalLikelihood
from vennvi.metrics import predictive_ranks, rank_coverage
from vennvi.model._held_out import held_out_cells
from vennvi.model._seeded import seeded

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

#: Draws that intervals are read off unless the user says otherwise.
DEFAULT_DRAWS = 200

_BLOCK_ENTRIES = 2**24  # drawn values held at once
_LARGEST_BATCH = 128


@dataclass(frozen=True)
class Prediction:
    """Mean, sd and central intervals of a predictive distribution; cells by features, in the data's units."""

    mean: pd.DataFrame
    """Expected values."""
    sd: pd.DataFrame
    """Standard deviations: what the latents leave open and what the observation adds."""
    lower: dict[float, pd.DataFrame]
    """Lower ends of the intervals, by level."""
    upper: dict[float, pd.DataFrame]
    """Upper ends of the intervals, by level."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Nominal levels of the intervals."""
        return tuple(self.lower)


def central_intervals(
    draws: Tensor, levels: Sequence[float], *, of_counts: bool = False
) -> list[tuple[Tensor, Tensor]]:
    r"""Central intervals of draws along the first axis: order statistics :math:`\frac{1 \mp \ell}{2} (K + 1)`.

    With these, a further draw is inside with probability :math:`\ell` exactly, whatever the number of draws. Those
    ``of_counts`` are widened to whole numbers, and a draw is inside with that probability at least.
    """
    ordered = draws.sort(dim=0).values
    ends = [
        (_order_statistic(ordered, (1 - level) / 2), _order_statistic(ordered, (1 + level) / 2)) for level in levels
    ]
    return [(lower.floor(), upper.ceil()) for lower, upper in ends] if of_counts else ends


def _order_statistic(ordered: Tensor, p: float) -> Tensor:
    position = p * (len(ordered) + 1) - 1
    low = int(np.floor(position + 1e-9))
    high = min(low + 1, len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], position - low) if position - low > 1e-9 else ordered[low]


def check_levels(levels: float | Sequence[float], n_samples: int | None) -> tuple[tuple[float, ...], int]:
    """Levels as a tuple, and the number of draws.

    Raises
    ------
    ValueError
        For levels that are not between 0 and 1, and for too few draws to see the tails.
    """
    given = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    chosen = tuple(dict.fromkeys(float(level) for level in given))
    if not chosen or not all(0 < level < 1 for level in chosen):
        raise ValueError(f"Levels of intervals are between 0 and 1, such as (0.5, 0.9), not {levels!r}.")
    n_draws = DEFAULT_DRAWS if n_samples is None else n_samples
    needed = int(np.ceil(2 / (1 - max(chosen)) - 1 - 1e-9))
    if n_draws < needed:
        raise ValueError(f"An interval of level {max(chosen)} needs at least {needed} draws: `n_samples` is {n_draws}.")
    return chosen, n_draws


class PredictiveMixin:
    """What a model predicts with all that it does not know."""

    module: SharedPrivateVAE
    modalities: tuple[str, ...]

    def _predictive_draws(
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
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]]:
        """Draws ``(n_draws, n, n_columns)``, mean and variance ``(n, n_columns)``, and the minibatch they belong to.

        The private latent of a target that is not among the sources (or that the cell lacks) is drawn from its prior.
        Rows of cells without any of the sources are NaN.
        """
        if batch_size is None:
            batch_size = int(np.clip(_BLOCK_ENTRIES // max(1, n_draws * n_columns), 1, _LARGEST_BATCH))
        likelihood = self.module.likelihood(target)
        for q_unimodal, q_private, mask, given in self._posteriors(mdata, indices, batch_size):  # type: ignore[attr-defined]
            size = self._predicted_size(target, mask, given, library_size)  # type: ignore[attr-defined]
            known = torch.stack([mask[m] for m in sources]).sum(0) > 0
            draws = torch.empty(n_draws, len(known), n_columns, device=size.device)
            mean, square, noise = (torch.zeros(len(known), n_columns, device=size.device) for _ in range(3))
            for k in range(n_draws):
                outputs = self._decode_draw(  # type: ignore[attr-defined]
                    target, sources, q_unimodal, q_private, mask, given, False, "prior", columns
                )
                predictive = likelihood.predictive(outputs.nan_to_num(0.0), size, columns)
                draws[k] = predictive.sample()
                # moments by Welford's recursion: counts of 1e4 leave no variance in sums of float32 squares
                expected = predictive.mean
                step = expected - mean
                mean += step / (k + 1)
                square += step * (expected - mean)
                noise += (predictive.variance - noise) / (k + 1)
            variance = noise + square / n_draws
            for values in (draws, mean, variance):
                values.masked_fill_(~known, torch.nan)
            yield draws, mean, variance, {"present": mask[target], **given}

    def _predict_intervals(
        self,
        target,
        sources,
        mdata,
        indices,
        n_draws,
        columns,
        names,
        obs_names,
        library_size,
        levels,
        batch_size,
        calibrated,
    ) -> Prediction:
        ends = [f"{end} {level}" for level in levels for end in ("lower", "upper")]
        # made before the draws: what is kept among what is freed would scatter the memory
        tables = {name: np.full((len(obs_names), len(names)), np.nan, np.float32) for name in ("mean", "sd", *ends)}
        of_counts = not isinstance(self.module.likelihood(target), NormalLikelihood)
        start = 0
        for draws, mean, variance, _ in self._calibrated_draws(  # type: ignore[attr-defined]
            target, sources, mdata, indices, n_draws, columns, len(names), library_size, batch_size, calibrated
        ):
            rows = slice(start, start + len(mean))
            start = rows.stop
            values = [
                mean,
                variance.sqrt(),
                *chain.from_iterable(central_intervals(draws, levels, of_counts=of_counts)),
            ]
            for name, value in zip(tables, values, strict=True):
                tables[name][rows] = value.cpu().numpy()

        def table(name: str) -> pd.DataFrame:
            return pd.DataFrame(tables[name], index=obs_names, columns=names, copy=False)

        lower, upper = ({level: table(f"{end} {level}") for level in levels} for end in ("lower", "upper"))
        return Prediction(table("mean"), table("sd"), lower, upper)

    @torch.inference_mode()
    def predictive_coverage(
        self,
        target: str,
        source: str | Sequence[str] | None = None,
        levels: float | Sequence[float] = (0.5, 0.9),
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        n_samples: int = DEFAULT_DRAWS,
        var_names: Sequence[str] | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        calibrated: bool = True,
    ) -> pd.DataFrame:
        r"""Fraction of held-out values inside the central intervals that the model predicts for them.

        A calibrated model's 90 % intervals hold 90 % of the values. Read off the randomised ranks of
        :func:`~vennvi.metrics.predictive_ranks`, so that this is true of counts and of 0/1 data as well.

        Parameters
        ----------
        target
            Modality to predict.
        source
            Modality or modalities to predict it from; by default all others, or the target itself if it is the only one.
        levels
            Nominal levels.
        mdata, indices
            Cells to predict; by default the model's validation and test cells.
        n_samples
            Draws of latents and observation for each cell.
        var_names
            Features to predict; all by default. Time and memory are proportional to their number.
        batch_size
            Cells in a minibatch; by default as many as keep the draws within 64 MB.
        seed
            Seed of the draws and of the ranks of ties.
        calibrated
            Whether to judge the intervals that :meth:`predict` gives with ``calibrated=True``. A held-out cell's were
            scaled by other held-out cells.

        Returns
        -------
        One row a level: ``target``, ``source``, ``level``, ``coverage`` and ``n``, the number of values.

        Raises
        ------
        ValueError
            For an unknown modality or feature, and if the model was trained on all cells and no others are given.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        self._check_modality("target", target)  # type: ignore[attr-defined]
        if source is None:
            source = [m for m in self.modalities if m != target] or target
        sources = self._sources(source)  # type: ignore[attr-defined]
        levels, _ = check_levels(levels, n_samples)
        names, columns = self._target_columns(target, var_names)  # type: ignore[attr-defined]
        cells = held_out_cells(self, mdata, indices, "measure coverage")
        inside, n = np.zeros(len(levels)), 0
        with seeded(seed, self.device):  # type: ignore[attr-defined]
            for i, (draws, _, _, given) in enumerate(
                self._calibrated_draws(  # type: ignore[attr-defined]
                    target, sources, mdata, cells, n_samples, columns, len(names), None, batch_size, calibrated
                )
            ):
                x = given[data_key(target)]
                x = (x.to_dense() if is_sparse(x) else x)[:, columns].masked_fill(given["present"] == 0, torch.nan)
                ranks = predictive_ranks(x.cpu().numpy(), draws.cpu().numpy(), seed=seed + i)
                counted = int((~np.isnan(ranks)).sum())
                if counted:
                    inside, n = inside + counted * rank_coverage(ranks, levels), n + counted
        return pd.DataFrame(
            {
                "target": target,
                "source": "+".join(sources),
                "level": list(levels),
                "coverage": inside / n if n else np.nan,
                "n": n,
            }
        )
