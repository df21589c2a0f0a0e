"""What the figures of benchmark results read off the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

#: A score: space, target and metric, as in the columns of the results.
Score = tuple[str, str, str]
#: A line: a model, with labels or without.
Series = tuple[str, bool]

#: Scales on which a small difference looks small: at least from no information to perfect.
_RANGES = {
    "auc": (0.4, 1.0),
    "accuracy": (0.0, 1.0),
    "purity": (0.0, 1.0),
    "foscttm": (0.0, 0.55),
    "signal": (0.0, 1.0),
}


def tidied(results: pd.DataFrame) -> pd.DataFrame:
    """With every column that the figures read."""
    if missing := [name for name in ("model", "condition", "space", "target", "metric") if name not in results]:
        raise KeyError(f"The results have no column {missing[0]!r}.")
    if "value" not in results and not {"median", "min", "max"} <= set(results.columns):
        raise KeyError("The results have neither a column 'value' nor 'median', 'min' and 'max'.")
    defaults = {"latents": "", "supervised": False, "status": "ok"}
    results = results.assign(**{name: value for name, value in defaults.items() if name not in results})
    return results.astype({"condition": str, "latents": str})


def in_order(present: pd.Series, known: Sequence[str]) -> list[str]:
    """Values that are present: the known ones in their order, then the others as they come."""
    values = list(dict.fromkeys(present.astype(str)))
    return [name for name in known if name in values] + [name for name in values if name not in known]


def latent_sizes(results: pd.DataFrame) -> list[str]:
    """Latent sizes that are present, such as ``2+2+2``, smallest first, whatever part of the sweep was run last."""
    found = results["latents"].astype(str).unique()
    return sorted(found, key=lambda sizes: [int(n) for n in re.findall(r"\d+", sizes)])


def series_of(results: pd.DataFrame, models: Sequence[str]) -> list[Series]:
    """Models that are present, those without labels first."""
    found = [(str(m), bool(s)) for m, s in results[["model", "supervised"]].drop_duplicates().values]
    order = in_order(pd.Series([name for name, _ in found], dtype=object), models)
    return sorted(found, key=lambda line: (line[1], order.index(line[0])))


def of_score(results: pd.DataFrame, score: Score, suffix: str = "") -> pd.DataFrame:
    """Rows of a score, or of its level of no information (suffix ``_null``)."""
    space, target, metric = score
    return results[(results["space"] == space) & (results["target"] == target) & (results["metric"] == metric + suffix)]


def levels(rows: pd.DataFrame, conditions: Sequence[str]) -> list[np.ndarray]:
    """Median, lowest and highest value at every condition."""
    if "value" in rows:
        values = rows.groupby("condition")["value"]
        found = [values.median(), values.min(), values.max()]
    else:
        own = rows.groupby("condition")
        found = [own["median"].median(), own["min"].min(), own["max"].max()]
    return [level.reindex(conditions).to_numpy(dtype=np.float64) for level in found]


def name_of(line: Series, labels: Mapping[str, str]) -> str:
    """How a line is called in a figure."""
    name, supervised = line
    return f"{labels.get(name, name)}, labels" if supervised else labels.get(name, name)


def scale_of(metric: str) -> tuple[float, float]:
    """Range that an axis shows at least."""
    return next((v for name, v in _RANGES.items() if metric.startswith(name)), (-0.2, 1.0))


def wrap(text: str, width: int = 34) -> str:
    """Text in lines of at most ``width`` characters, where words allow it."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
