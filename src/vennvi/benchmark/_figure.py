"""The figure of an experiment: headlines over the sweep."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from vennvi.benchmark._experiment import Experiment
from vennvi.benchmark._table import _ordered
from vennvi.benchmark.adapters import MODELS
from vennvi.pl import benchmark_sweep

_OTHER_COLOR = "#555555"


def draw(results: pd.DataFrame, experiment: Experiment) -> Figure:
    """Draw the headlines by :func:`vennvi.pl.benchmark_sweep`; every model keeps its colour in all figures."""
    headlines = [headline for headline in experiment.headlines if headline.in_figure]
    models = results["model"].astype(str).unique()
    return benchmark_sweep(
        results,
        {headline.key: headline.title for headline in headlines},
        conditions=_ordered(results["condition"], [condition.name for condition in experiment.full.conditions]),
        models=_ordered(results["model"], experiment.full.models),
        labels={name: model.label for name, model in MODELS.items()},
        colors={name: MODELS[name].color if name in MODELS else _OTHER_COLOR for name in models},
        chance={headline.key: headline.chance for headline in headlines if headline.chance is not None},
        xlabel=experiment.sweep,
    )
