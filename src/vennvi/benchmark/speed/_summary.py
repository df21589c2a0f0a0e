"""Ratios: what a race says about one contestant beside another."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vennvi.benchmark.speed._contestants import CONTESTANTS
from vennvi.benchmark.speed._flops import Rates, bound, needed_flops
from vennvi.benchmark.speed._growth import AXES, value_of
from vennvi.benchmark.speed._race import MACHINE
from vennvi.benchmark.speed._workload import Workload


def seconds_by_round(race: pd.DataFrame, model: str, workload: str) -> pd.Series:
    """Seconds of each timed turn, by round."""
    own = race[(race["model"] == model) & (race["workload"] == workload) & (race["quantity"] == "seconds")]
    return own.set_index("round")["value"].sort_index()


def round_ratios(race: pd.DataFrame, model: str, reference: str, workload: str) -> NDArray[np.float64]:
    """Seconds of a contestant over those of another, round by round: what their median is taken of."""
    own, other = (seconds_by_round(race, name, workload) for name in (model, reference))
    return (own / other).dropna().to_numpy(dtype=np.float64)


def growth_ratio(race: pd.DataFrame, many: str, few: str) -> float:
    """Median over rounds of the seconds a cell on one workload over those on another, of the one contestant of a race."""
    sizes = race.drop_duplicates("workload").set_index("workload")["n_obs"]
    models = [model for model in race["model"].unique() if model != MACHINE]
    if many not in sizes or few not in sizes or len(models) != 1:
        return np.nan
    seconds = {name: seconds_by_round(race, models[0], name) / sizes[name] for name in (many, few)}
    ratios = (seconds[many] / seconds[few]).dropna()
    return float(ratios.median()) if len(ratios) else np.nan


def once(race: pd.DataFrame, model: str, workload: str, quantity: str) -> float:
    """A number that is measured once, or the median of one that is measured every round; NaN if it is not there."""
    own = race[(race["model"] == model) & (race["workload"] == workload) & (race["quantity"] == quantity)]
    return float(own["value"].median()) if len(own) else np.nan


def rates_of(race: pd.DataFrame) -> Rates | None:
    """What the machine did during a race, medians over rounds."""
    values = [once(race, MACHINE, "", name) for name in ("flops", "bytes", "logistic")]
    return None if np.isnan(values).any() else Rates(*values)


def ran_on_gpu(results: pd.DataFrame) -> bool:
    """Whether a GPU did the work."""
    return bool((results["quantity"] == "GPU peak MB").any())


def summarise_speed(results: pd.DataFrame, workloads: dict[str, Workload]) -> pd.DataFrame:
    """One row a workload, number of threads and contestant.

    Returns
    -------
    ``seconds`` (median of the turns, ``min``, ``max``), ``seconds ratio`` (median of the rounds' ratios over the reference,
    ``ratio min``, ``ratio max``), ``peak MB``, ``memory ratio``, ``training MB`` (beyond imports and data), ``training memory
    ratio``, ``setup seconds``; on a GPU its ``GPU peak MB`` and ``GPU memory ratio``; ``gflop`` of the matrix products of an epoch, ``gflop/s`` reached, its ``share`` of the
    machine's; of our models ``bound seconds``, by part, and ``bound ratio``, measured over bound; ``date``, ``machine`` and
    ``versions`` of the run.
    """
    rows = []
    own = results[results["race"].isin(workloads)]
    for (name, threads), race in own.groupby(["race", "threads"], sort=False):
        workload, rates = workloads[str(name)], rates_of(race)
        rows += [
            {"workload": name, "threads": threads, **_row(race, str(model), workload, rates)}
            for model in race["model"].unique()
            if model != MACHINE
        ]
    return pd.DataFrame(rows)


def _row(race: pd.DataFrame, model: str, workload: Workload, rates: Rates | None) -> dict[str, object]:
    seconds = seconds_by_round(race, model, workload.name)
    ratios = round_ratios(race, model, workload.reference, workload.name)
    mine = race[race["model"] == model]
    peak, before = (once(race, model, workload.name, q) for q in ("peak MB", "MB before training"))
    other_peak, other_before = (
        once(race, workload.reference, workload.name, q) for q in ("peak MB", "MB before training")
    )
    gpu_peak = once(race, model, workload.name, "GPU peak MB")
    median = float(seconds.median()) if len(seconds) else np.nan
    row: dict[str, object] = {
        "n_obs": workload.n_obs,
        "model": model,
        "status": mine["status"].iloc[0],
        "reason": mine["reason"].iloc[0],
        "seconds": median,
        "min": seconds.min() if len(seconds) else np.nan,
        "max": seconds.max() if len(seconds) else np.nan,
        "rounds": len(seconds),
        "seconds ratio": np.median(ratios) if len(ratios) else np.nan,
        "ratio min": ratios.min() if len(ratios) else np.nan,
        "ratio max": ratios.max() if len(ratios) else np.nan,
        "setup seconds": once(race, model, workload.name, "setup seconds"),
        "peak MB": peak,
        "memory ratio": _over(peak, other_peak),
        "training MB": peak - before,
        "training memory ratio": _over(peak - before, other_peak - other_before),
        "GPU peak MB": gpu_peak,
        "GPU memory ratio": _over(gpu_peak, once(race, workload.reference, workload.name, "GPU peak MB")),
    }
    row |= _products(race, model, workload, rates, median / workload.n_epochs)
    return row | {name: race[name].iloc[0] for name in ("date", "machine", "versions")}


def _over(a: float, b: float) -> float:
    """Ratio, NaN where there is none."""
    return a / b if b > 0 else np.nan


def _products(
    race: pd.DataFrame, model: str, workload: Workload, rates: Rates | None, seconds: float
) -> dict[str, object]:
    """Operations of an epoch, and what bounds it."""
    architecture = CONTESTANTS[model].architecture if model in CONTESTANTS else None
    if architecture is None:
        flops = once(race, model, workload.name, "counted flops")
    else:
        flops = needed_flops(workload, architecture).dense
    row: dict[str, object] = {"gflop": flops / 1e9, "gflop/s": flops / seconds / 1e9}
    if rates is None or (architecture is not None and not architecture.in_single):
        return row
    row |= {
        "machine gflop/s": rates.flops / 1e9,
        "machine GB/s": rates.bytes / 1e9,
        "share": flops / seconds / rates.flops,
    }
    if architecture is None:
        return row
    least = bound(workload, architecture, rates)
    return row | {
        "bound seconds": least.total,
        "bound products": least.products,
        "bound likelihood": least.likelihood,
        "bound optimiser": least.optimiser,
        "bound sparse": least.sparse,
        "bound ratio": seconds / least.total,
    }


def profile_of(results: pd.DataFrame, workloads: dict[str, Workload]) -> pd.DataFrame:
    """Milliseconds a step by category, one row a workload, number of threads and contestant."""
    own = results[results["race"].isin(workloads) & results["quantity"].str.startswith("profile: ")]
    if own.empty:
        return pd.DataFrame()
    own = own.assign(category=own["quantity"].str.removeprefix("profile: "), value=own["value"] * 1e3)
    keys = ["workload", "threads", "model"]
    order = own[keys].drop_duplicates()
    wide = own.pivot_table(index=keys, columns="category", values="value", sort=False).reset_index()
    return order.merge(wide, on=keys).rename_axis(columns=None)


def growth_of(results: pd.DataFrame) -> pd.DataFrame:
    """Median seconds and peak memory along each growth curve."""
    rows = []
    for axis in AXES:
        own = results[results["race"].str.startswith(f"growth-{axis.name}-") & (results["workload"] != "")]
        for (model, threads, workload), part in own.groupby(["model", "threads", "workload"], sort=False):
            seconds = once(part, str(model), str(workload), "seconds")
            n_obs = int(part["n_obs"].iloc[0])
            rows.append(
                {
                    "axis": axis.name,
                    "model": model,
                    "threads": threads,
                    "value": value_of(str(workload)),
                    "n_obs": n_obs,
                    "seconds": seconds,
                    "microseconds a cell": seconds / n_obs * 1e6,
                    "peak MB": once(part, str(model), str(workload), "peak MB"),
                    "training MB": once(part, str(model), str(workload), "peak MB")
                    - once(part, str(model), str(workload), "MB before training"),
                }
            )
    return pd.DataFrame(rows)
