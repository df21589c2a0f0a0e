"""Run a group of experiments: one after the other, each into its own folder, and the table of targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vennvi.benchmark._experiment import Experiment
from vennvi.benchmark._group import Group
from vennvi.benchmark._results import check_folder, claim_folder, leave_folder, merge_cells, write_atomically
from vennvi.benchmark._run import check_can_run, missing_cells, run
from vennvi.benchmark._target import Target, Verdict, judge
from vennvi.benchmark._target_table import target_report
from vennvi.benchmark.adapters import Model, get_model


def run_group(
    group: Group,
    out: Path | str,
    *,
    models: Sequence[Model] | None = None,
    n_seeds: int | None = None,
    max_epochs: int | None = None,
    accelerator: str | None = None,
    quick: bool = False,
    jobs: int = 1,
    retry: bool = False,
    progress: bool = True,
) -> tuple[list[Verdict], pd.DataFrame]:
    """Run what is missing of the members of a group, and write their tables and the table of targets.

    Parameters
    ----------
    group
        The group.
    out
        Folder of the results: a folder for each experiment (see :func:`~vennvi.benchmark.run`) and ``table.md``.
    models
        Models to run, by default those that each member names; see :meth:`Group.models_of`.
    n_seeds, max_epochs, accelerator
        Instead of what the experiments say.
    quick
        Whether to run the short version of each member, into ``<experiment>-quick``.
    jobs, retry, progress
        See :func:`~vennvi.benchmark.run`.

    Returns
    -------
    The verdict on each target, and all result rows of the members.

    Raises
    ------
    OtherResultsError
        If the folder of a member holds results with other settings; nothing has been run then.
    FileNotFoundError
        If the data of a member are not there; nothing has been run then.
    ValueError
        If ``jobs`` is less than 1, a model is unknown, or the accelerator is not there.
    """
    out = Path(out)
    chosen = [model.name for model in models] if models is not None else None
    by_name = {model.name: model for model in models or ()}
    parts = {}
    for member in group.members:
        parts[member.name] = member.part(quick=quick).restrict(
            models=group.models_of(member, chosen), n_seeds=n_seeds, max_epochs=max_epochs, accelerator=accelerator
        )
    models_of = {
        name: [by_name.get(model) or get_model(model) for model in part.models] for name, part in parts.items()
    }
    folders = {name: out / part.name for name, part in parts.items()}
    for name, part in parts.items():
        check_folder(folders[name], part)
    for name, part in parts.items():
        check_can_run(part, missing_cells(part, models_of[name], folders[name], retry=retry))
    for name, part in parts.items():
        claim_folder(folders[name], part)
    try:
        for name, part in parts.items():
            if models_of[name]:
                run(part, folders[name], models=models_of[name], jobs=jobs, retry=retry, progress=progress)
    finally:  # what an interrupted run has finished is reported too
        results = {name: merge_cells(folders[name], part) for name, part in parts.items()}
        for name, rows in results.items():
            if rows.empty:
                leave_folder(folders[name])
        compared = {m.name: [name for name in m.models if name != group.subject] for m in group.members}
        verdicts = [
            judge(target, results[target.experiment], group.subject, compared[target.experiment])
            for target in group.targets
            if _is_in(target, parts[target.experiment])
        ]
        everything = _concatenated(list(results.values()))
        write_atomically(out / "table.md", target_report(group.quickened() if quick else group, verdicts, everything))
    return verdicts, everything


def _is_in(target: Target, part: Experiment) -> bool:
    """Whether a part of an experiment, perhaps the short version, reads what a target is about."""
    conditions = {condition.name for condition in part.conditions}
    return target.condition in conditions and target.latents in map(part.latents_label, part.latents)


def _concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    held = [frame for frame in frames if len(frame)]
    return pd.concat(held, ignore_index=True) if held else frames[0]
