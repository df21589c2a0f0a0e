"""What a model reads off the data before it is trained: one summary of the features and one typical depth a modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from scvi.data import AnnDataManager

from vennvi._keys import STATISTICS, data_key, size_factor_key
from vennvi.data._dataset import obs_rows
from vennvi.data._summary import FeatureSummary, summarise

#: Summary of a modality's matrix, and its typical depth: the median size factor, or else the median total count.
Statistics = tuple[FeatureSummary, float]


def read_statistics(manager: AnnDataManager) -> dict[str, Statistics]:
    """Read every modality's matrix once, in chunks of rows."""
    found = {}
    for m in manager.registry["setup_args"]["layers"]:
        summary = summarise(manager.get_from_registry(data_key(m)), m)
        reference = summary.median_total
        if size_factor_key(m) in manager.data_registry:
            values = np.asarray(manager.get_from_registry(size_factor_key(m)), dtype=np.float64).ravel()
            rows = obs_rows(manager.adata, m)
            reference = float(np.median(values if len(values) == manager.adata[m].n_obs else values[rows >= 0]))
        found[m] = (summary, reference)
    return found


def as_plain(statistics: Mapping[str, Statistics]) -> dict[str, dict]:
    """Statistics as nested dicts of arrays and scalars, which go into a registry."""
    return {m: {**asdict(summary), "reference": reference} for m, (summary, reference) in statistics.items()}


def statistics_of(registry: Mapping) -> dict[str, Statistics]:
    """Statistics that a registry holds, if it is one of data on disk; else none.

    Examples
    --------
    >>> statistics_of({"setup_args": {}})
    {}
    """
    found = {}
    for m, plain in registry.get(STATISTICS, {}).items():
        fields = {name: value for name, value in plain.items() if name != "reference"}
        found[m] = (FeatureSummary(**fields), plain["reference"])
    return found
