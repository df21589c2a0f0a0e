r"""Targets as data: what a number must reach, and whether the results reach it.

A target compares the subject's median over seeds :math:`v` (or the fraction of seeds over a threshold) with the strictest of
its bounds :math:`b_i`, numbers or what other models reach:

.. math:: v \ge \max_i b_i \qquad\text{or}\qquad v \le \min_i b_i, \qquad \text{missed by } \max_i b_i - v \text{ or } v - \min_i b_i
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from vennvi.benchmark._summary import Spread, spread

#: Rounding of results on disk and of sums of medians is no failure.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Reading:
    """A metric of a target from a space.

    Parameters
    ----------
    space, target, metric
        Which result rows.
    above_null
        Whether to take off the no-information level, seed by seed.
    over
        Read the fraction of seeds whose number is over this one, instead of the median over seeds.
    """

    space: str
    target: str
    metric: str
    above_null: bool = False
    over: float | None = None


@dataclass(frozen=True)
class Reference:
    """A bound that other models set: the best of their medians, plus a margin.

    Parameters
    ----------
    models
        Names of the models; all compared ones by default.
    margin
        Added to the best median.
    space
        Space that they are read from, if not the target's own.
    """

    models: tuple[str, ...] = ()
    margin: float = 0.0
    space: str | None = None


@dataclass(frozen=True)
class Target:
    """One number to reach.

    Parameters
    ----------
    experiment, condition, latents
        Where it is read.
    quantity
        What it is, in words.
    reading
        What it is, among the result rows.
    direction
        Whether the number must be at least or at most the bound.
    bounds
        Numbers, and what other models reach; the strictest counts.
    """

    experiment: str
    condition: str
    latents: str
    quantity: str
    reading: Reading
    direction: Literal["≥", "≤"]
    bounds: tuple[float | Reference, ...]

    @property
    def best(self):
        """Function that picks the best of numbers (for bounds: the strictest)."""
        return max if self.direction == "≥" else min


@dataclass(frozen=True)
class Bound:
    """What a bound is in numbers, and the model, space and margin that set it, if models did."""

    value: float
    model: str = ""
    space: str = ""
    margin: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """A target, and what the results say about it."""

    target: Target
    found: Spread
    n_failed: int
    """Seeds of the subject that failed, and are in no number: whether the target is met is not known."""
    bound: Bound | None
    """``None`` if a model that may set it has not been run, or failed at a seed."""
    best_other: Bound | None
    """Best of the other models by the same reading; ``None`` if there is none."""

    @property
    def shortfall(self) -> float:
        """By how much the target is missed; 0 or less if it is met; NaN if that is not known."""
        if self.bound is None or not self.found.n or self.n_failed:
            return np.nan
        sign = 1.0 if self.target.direction == "≥" else -1.0
        return sign * (self.bound.value - self.found.median)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` if that is not known."""
        return None if np.isnan(self.shortfall) else bool(self.shortfall <= _TOLERANCE)


def judge(target: Target, results: pd.DataFrame, subject: str, others: Sequence[str]) -> Verdict:
    """Compare a target with the result rows of its experiment, without labels.

    Parameters
    ----------
    target
        The target.
    results
        Result rows of the experiment.
    subject
        Name of the model that must reach it.
    others
        Names of the models that are compared with it.
    """
    rows = results[
        (results["condition"] == target.condition)
        & (results["latents"] == target.latents)
        & ~results["supervised"].astype(bool)
    ]
    broken = rows[(rows["model"] == subject) & (rows["status"] != "ok")]
    finished = rows[rows["status"] == "ok"]
    bounds = [_bound(bound, target, rows, others) for bound in target.bounds]
    known = [bound for bound in bounds if bound is not None]
    return Verdict(
        target,
        found=_over_seeds(rows, subject, target.reading, target.reading.space),
        n_failed=broken["seed"].nunique(),
        bound=target.best(known, key=lambda bound: bound.value) if len(known) == len(bounds) else None,
        best_other=_bound(Reference(), target, finished, [name for name in others if name in set(finished["model"])]),
    )


def _bound(bound: float | Reference, target: Target, rows: pd.DataFrame, others: Sequence[str]) -> Bound | None:
    if not isinstance(bound, Reference):
        return Bound(bound)
    space, models = bound.space or target.reading.space, bound.models or tuple(others)
    failed = rows.loc[rows["status"] == "failed", "model"]
    if not set(models) <= set(rows["model"]) - set(failed):
        return None
    medians = {model: _over_seeds(rows, model, target.reading, space).median for model in models}
    # a model that ran but has no such space sets no bound
    known = {model: median for model, median in medians.items() if not np.isnan(median)}
    if not known:
        return None
    model = target.best(known, key=known.__getitem__)
    return Bound(known[model] + bound.margin, model, space, bound.margin)


def _over_seeds(rows: pd.DataFrame, model: str, reading: Reading, space: str) -> Spread:
    """What the seeds say: their median and range, or a fraction of them."""
    values = _values(rows, model, reading, space)
    if reading.over is None or values.empty:
        return spread(values)
    fraction = float((values > reading.over).mean())
    return Spread(fraction, fraction, fraction, len(values))


def _values(rows: pd.DataFrame, model: str, reading: Reading, space: str) -> pd.Series:
    """Values by seed."""
    own = rows[(rows["model"] == model) & (rows["space"] == space) & (rows["target"] == reading.target)]

    def by_seed(metric: str) -> pd.Series:
        return own[own["metric"] == metric].set_index("seed")["value"]

    values = by_seed(reading.metric)
    return values - by_seed(f"{reading.metric}_null") if reading.above_null else values
