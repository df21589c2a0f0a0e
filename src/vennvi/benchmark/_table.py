"""The Markdown report of an experiment: one table a headline and latent size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from vennvi.benchmark._experiment import Experiment, Headline
from vennvi.benchmark._summary import Series, label_of, of_headline, of_series, series_in, spread
from vennvi.pl._benchmark_table import latent_sizes


def markdown_report(results: pd.DataFrame, experiment: Experiment) -> str:
    """Tables of all headlines, rows models, columns conditions, cells ``median [min, max]`` over seeds.

    A model that cannot run on a condition, or that failed, is shown as such, with the reasons below the tables.
    """
    settings = experiment.settings
    lines = [
        f"# {experiment.name}",
        "",
        f"**{experiment.question}**",
        "",
        *([experiment.notes, ""] if experiment.notes else []),
        f"Columns: {experiment.sweep}. Cells: median [minimum, maximum] over {_seeds(results)}. "
        f"{settings.max_epochs} epochs, learning rate {settings.lr:g}, minibatches of {settings.batch_size}. "
        '"labels": trained with the label of the training samples. "–": the model has no such space.',
        "",
    ]
    conditions = _ordered(results["condition"], [condition.name for condition in experiment.full.conditions])
    latents = latent_sizes(results)
    for sizes in latents:
        own = results[results["latents"] == sizes]
        series = series_in(own, experiment)
        lines += [f"## Latents {sizes}", ""]
        for headline in experiment.headlines:
            if len(of_headline(own, headline)):
                lines += [f"### {headline.title}", "", *_headline_table(own, headline, conditions, series), ""]
        lines += ["### Seconds of training", "", *_seconds_table(own, conditions, series), ""]
    lines += _reasons(results)
    lines += [run_with(results), ""]
    return "\n".join(lines)


def _headline_table(
    results: pd.DataFrame, headline: Headline, conditions: Sequence[str], series: Sequence[Series]
) -> list[str]:
    rows = of_headline(results, headline)

    def text(line: Series, condition: str) -> str:
        there = of_series(results, line)
        there = there[there["condition"] == condition]
        if there.empty:
            return ""
        values = of_series(rows, line)
        values = values[values["condition"] == condition]["value"]
        broken = there[there["status"] != "ok"]
        if values.empty:
            if broken.empty:
                return "–"
            return "cannot run" if (broken["status"] == "cannot").all() else "failed"
        n_broken = broken["seed"].nunique()
        return f"{spread(values)}{f' ({n_broken} failed)' if n_broken else ''}"

    table = _grid(conditions, series, text)
    null = of_headline(results, headline, "_null")
    if len(null):
        levels = [spread(null[null["condition"] == condition]["value"]) for condition in conditions]
        table.append(
            markdown_row(["*no information*", *(f"{level.median:.2f}" if level.n else "" for level in levels)])
        )
    elif headline.chance is not None:
        table.append(markdown_row(["*no information*", *[f"{headline.chance:.2f}"] * len(conditions)]))
    return table


def _seconds_table(results: pd.DataFrame, conditions: Sequence[str], series: Sequence[Series]) -> list[str]:
    cells = results[results["status"] == "ok"].drop_duplicates(["condition", "model", "supervised", "seed"])

    def text(line: Series, condition: str) -> str:
        own = of_series(cells, line)
        median = own[own["condition"] == condition]["seconds"].median()
        return "" if pd.isna(median) else f"{median:.1f}"

    return _grid(conditions, series, text)


def _grid(conditions: Sequence[str], series: Sequence[Series], text: Callable[[Series, str], str]) -> list[str]:
    head = [markdown_row(["", *conditions]), markdown_row(["---", *["---:"] * len(conditions)])]
    return head + [
        markdown_row([label_of(line), *(text(line, condition) for condition in conditions)]) for line in series
    ]


def run_with(results: pd.DataFrame) -> str:
    """Say when the results were run, and with which versions."""
    dates = results["date"].astype(str)
    span = dates.min() if dates.min() == dates.max() else f"{dates.min()} to {dates.max()}"
    return f"Run {span} with {' | '.join(sorted(set(results['versions'].astype(str))))}."


def markdown_row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _reasons(results: pd.DataFrame) -> list[str]:
    broken = results[results["status"] != "ok"]
    if broken.empty:
        return []
    lines = ["## What could not run", ""]
    for (model, supervised, status, reason), rows in broken.groupby(
        ["model", "supervised", "status", "reason"], sort=False
    ):
        word = "cannot run" if status == "cannot" else "failed"
        where = ", ".join(dict.fromkeys(rows["condition"]))
        n = len(rows)
        lines.append(f"- {label_of((model, supervised))} {word} at {where} ({n} run{'s' if n > 1 else ''}): {reason}")
    return [*lines, ""]


def _seeds(results: pd.DataFrame) -> str:
    """Number of seeds that a median is of, and the range where parts of the sweep were run with more."""
    n = results.groupby(["condition", "latents", "model", "supervised"])["seed"].nunique()
    few, many = n.min(), n.max()
    return f"{few if few == many else f'{few} to {many}'} seed{'s' if many > 1 else ''}"


def _ordered(present: pd.Series, known: Sequence[str]) -> list[str]:
    """Values that are present: the known ones in their order, then the others."""
    values = list(dict.fromkeys(present.astype(str)))
    return [name for name in known if name in values] + sorted(name for name in values if name not in known)
