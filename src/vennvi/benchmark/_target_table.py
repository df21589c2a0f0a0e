"""The Markdown table of a group: one row a target."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from vennvi.benchmark._group import Group
from vennvi.benchmark._summary import label_of
from vennvi.benchmark._table import markdown_row, run_with
from vennvi.benchmark._target import Bound, Verdict


def target_report(group: Group, verdicts: Sequence[Verdict], results: pd.DataFrame) -> str:
    """Which targets are met, and by how much the others are missed.

    Parameters
    ----------
    group
        The group.
    verdicts
        One a target, in order.
    results
        Result rows of all members, for the number of seeds, dates and versions.
    """
    subject = label_of((group.subject, False))
    n_met = sum(verdict.met is True for verdict in verdicts)
    n_unknown = sum(verdict.met is None for verdict in verdicts)
    unknown = f" {n_unknown} cannot be told: something they need has not been run, or failed." if n_unknown else ""
    lines = [
        f"# {group.name}",
        "",
        f"**{group.title}**",
        "",
        *([group.notes, ""] if group.notes else []),
        f"{subject} meets {n_met} of {len(verdicts)} targets.{unknown} Numbers are medians [minimum, maximum] over seeds; "
        "they are compared before rounding. A model beside a target is the one that sets it.",
        "",
        markdown_row(["data", "quantity", "target", subject, "met", "best other"]),
        markdown_row(["---", "---", "---", "---:", "---", "---"]),
        *(_row(verdict) for verdict in verdicts),
        "",
    ]
    if len(results):
        own = results[results["model"] == group.subject]
        training = [
            f"{name} {rows['seed'].nunique()} x {rows['max_epochs'].max()}"
            for name, rows in own.groupby("experiment", sort=False)
        ]
        if training:
            lines += [f"Seeds x epochs of {subject}: {', '.join(training)}.", ""]
        lines += [run_with(results), ""]
    return "\n".join(lines)


def _row(verdict: Verdict) -> str:
    target = verdict.target
    found = "–"
    if verdict.found.n:
        n = verdict.found.n
        found = f"{verdict.found}" if target.reading.over is None else f"{verdict.found.median * n:.0f} of {n} runs"
    failed = f" ({verdict.n_failed} failed)" if verdict.n_failed else ""
    other = verdict.best_other
    return markdown_row(
        [
            f"{target.experiment} {target.condition}, {target.latents}",
            target.quantity,
            f"{target.direction} {_bound(verdict.bound, target.reading.space)}",
            found + failed,
            {True: "yes", False: f"no, by {verdict.shortfall:.3f}", None: "–"}[verdict.met],
            f"{other.value:.2f} ({label_of((other.model, False))})" if other else "–",
        ]
    )


def _bound(bound: Bound | None, space: str) -> str:
    if bound is None:
        return "?"
    if not bound.model:
        return f"{bound.value:.2f}"
    source = label_of((bound.model, False))
    if bound.space != space:
        source += f" of {bound.space}"
    if bound.margin:
        source += f" {'+' if bound.margin > 0 else '−'} {abs(bound.margin):.2f}"
    return f"{bound.value:.2f} ({source})"
