"""Median and range over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vennvi.benchmark._experiment import Experiment, Headline
from vennvi.benchmark.adapters import MODELS

#: A line of a table or of the figure: a model, with labels or without.
Series = tuple[str, bool]


@dataclass(frozen=True)
class Spread:
    """One number over seeds."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n == 1 or np.isnan(self.median):
            return f"{self.median:.2f}"
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(values: Sequence[float] | pd.Series) -> Spread:
    """Median and range of the finite values.

    Examples
    --------
    >>> print(spread([0.9, 0.5, 0.7]))
    0.70 [0.50, 0.90]
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return Spread(np.nan, np.nan, np.nan, 0)
    return Spread(float(np.median(finite)), float(finite.min()), float(finite.max()), int(finite.size))


def series_in(results: pd.DataFrame, experiment: Experiment) -> list[Series]:
    """Models that have rows, without labels first, in the order of the experiment; others after these, by name."""
    found = {
        (str(model), bool(supervised))
        for model, supervised in results[["model", "supervised"]].drop_duplicates().values
    }
    rank = {name: i for i, name in enumerate(experiment.full.models)}
    return sorted(found, key=lambda series: (series[1], rank.get(series[0], len(rank)), series[0]))


def label_of(series: Series) -> str:
    """How a series is written, for example ``MMVAE++, labels``."""
    name, supervised = series
    label = MODELS[name].label if name in MODELS else name
    return f"{label}, labels" if supervised else label


def of_series(results: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Rows of one series."""
    return results[(results["model"] == series[0]) & (results["supervised"] == series[1])]


def of_headline(results: pd.DataFrame, headline: Headline, suffix: str = "") -> pd.DataFrame:
    """Rows of one headline (with the ``suffix`` ``"_null"``: of its no-information level)."""
    space, target, metric = headline.key
    return results[(results["space"] == space) & (results["target"] == target) & (results["metric"] == metric + suffix)]


def summarise(results: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Median, minimum and maximum over seeds of every headline: the small table that is worth keeping.

    Returns
    -------
    One row a condition, latent size, model and headline, with ``n_seeds``, the median training ``seconds``, the settings,
    the last ``date`` and the ``versions``. Models that cannot run have one row a condition with ``status`` and ``reason``.
    """
    groups = ["experiment", "condition", "latents", "model", "supervised"]
    context = {name: (name, "last") for name in ("max_epochs", "lr", "batch_size", "versions")}
    parts = []
    for headline in experiment.headlines:
        for suffix in ("", "_null"):
            rows = of_headline(results, headline, suffix)
            if len(rows):
                parts.append(
                    rows.groupby([*groups, "status", "space", "target", "metric"], sort=False, as_index=False).agg(
                        median=("value", "median"),
                        min=("value", "min"),
                        max=("value", "max"),
                        n_seeds=("seed", "nunique"),
                        seconds=("seconds", "median"),
                        reason=("reason", "last"),
                        date=("date", "max"),
                        **context,
                    )
                )
    broken = results[results["status"] != "ok"]
    if len(broken):
        parts.append(
            broken.groupby([*groups, "status", "reason"], sort=False, as_index=False).agg(
                n_seeds=("seed", "nunique"), seconds=("seconds", "median"), date=("date", "max"), **context
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
