"""``vennvi benchmark``: list the experiments and groups of them, run one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vennvi._terminal import session
from vennvi.benchmark._preflight import CannotStartError
from vennvi.benchmark._results import OtherResultsError
from vennvi.benchmark._run import run as run_experiment
from vennvi.benchmark._run_group import run_group
from vennvi.benchmark.adapters import MODELS, Model, get_model
from vennvi.benchmark.experiments import EXPERIMENTS, get_experiment
from vennvi.benchmark.groups import GROUPS
from vennvi.benchmark.speed.cli import SPEED, run_from_command_line, speed_table

app = typer.Typer(
    help="The paper's experiments: our models beside honest baselines.", no_args_is_help=True, add_completion=False
)


class Supervision(StrEnum):
    """With the labels of the training samples, without them, or both."""

    OFF = "off"
    ON = "on"
    BOTH = "both"


_SUPERVISION = {Supervision.OFF: (False,), Supervision.ON: (True,), Supervision.BOTH: (False, True)}


@app.command("list")
def list_experiments() -> None:
    """Show the experiments, the groups of them, and the models that can be compared."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("experiment", no_wrap=True, style="bold")
    table.add_column("question, sweep, models")
    table.add_column("latents", no_wrap=True)
    table.add_column("seeds", justify="right")
    for experiment in EXPERIMENTS.values():
        names = [MODELS[name].label for name in experiment.models]
        labels = " (with and without labels)" if True in experiment.supervision else ""
        table.add_row(
            experiment.name,
            f"{experiment.question}\n[dim]{', '.join(condition.name for condition in experiment.conditions)}\n"
            f"{', '.join(names)}{labels}[/]\n",
            "\n".join(experiment.latents_label(latents) for latents in experiment.latents),
            str(experiment.n_seeds),
        )
    groups = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    groups.add_column("group", no_wrap=True, style="bold")
    groups.add_column("question, experiments, models")
    groups.add_column("targets", justify="right")
    for group in GROUPS.values():
        names = [MODELS[name].label for name in group.models]
        experiments = ", ".join(member.name for member in group.members)
        groups.add_row(
            group.name, f"{group.title}\n[dim]{experiments}\n{', '.join(names)}[/]\n", str(len(group.targets))
        )
    console = Console()
    console.print(table, highlight=False)
    console.print(groups, highlight=False)
    console.print(speed_table(), highlight=False)
    console.print("[bold]--models[/] takes any of", ", ".join(MODELS), highlight=False, soft_wrap=False)


@app.command("run")
@session(chatter=True)
def run(
    name: Annotated[str, typer.Argument(help="Experiment or group; `vennvi benchmark list` shows them.")],
    models: Annotated[
        str | None, typer.Option(help="Models, separated by commas; by default those of the experiment.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds, counted from 0.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the cores are divided among them.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default benchmark-results/NAME.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short version, ready in minutes.")] = False,
    conditions: Annotated[
        str | None, typer.Option(help="Conditions of the sweep, separated by commas; by default all.")
    ] = None,
    latents: Annotated[
        str | None, typer.Option(help="Latent sizes such as 2+2+2, separated by commas; by default all.")
    ] = None,
    supervised: Annotated[
        Supervision | None, typer.Option(help="Train without labels, with them, or both; by default the experiment's.")
    ] = None,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the experiment's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Minibatches, instead of the experiment's.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="cpu (default), gpu or auto.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
    workloads: Annotated[
        str | None, typer.Option(help="speed: workloads, separated by commas; by default all.")
    ] = None,
    threads: Annotated[str | None, typer.Option(help="speed: numbers of threads, by default 1,all.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="speed: timed turns, by default 5.")] = None,
    cells: Annotated[int | None, typer.Option(min=2, help="speed: cells, if fewer than the workloads have.")] = None,
    growth: Annotated[
        str | None, typer.Option(help="speed: growth curves too, over cells, peaks, modalities, latents, or all.")
    ] = None,
    no_quality: Annotated[bool, typer.Option("--no-quality", help="speed: without seconds to a quality.")] = False,
) -> None:
    """Run what is missing of an experiment, and write its tables and figure; or of all experiments of a group.

    Finished cells of the sweep are kept in OUT/cells and never run again: interrupt and resume as you like. A group has a
    folder for each of its experiments, and OUT/table.md says which of its targets are met; it sets the conditions, latent
    sizes and supervision itself. `speed` times epochs instead; it has options of its own, and OUT/table.md its targets.
    """
    console = Console(stderr=True)
    own = {"--workloads": workloads, "--threads": threads, "--repeats": repeats, "--cells": cells, "--growth": growth,
           "--no-quality": no_quality}  # fmt: skip
    others = {"--seeds": seeds, "--jobs": jobs > 1, "--conditions": conditions, "--latents": latents,
              "--supervised": supervised, "--max-epochs": max_epochs, "--batch-size": batch_size}  # fmt: skip
    if given := [option for option, value in (others if name == SPEED else own).items() if value]:
        whose = "which speed does not have" if name == SPEED else "which only speed has"
        console.print(f"[red]Leave out {', '.join(given)}, {whose}.")
        raise typer.Exit(2)
    if name == SPEED:
        folder = out or Path("benchmark-results") / (f"{SPEED}-quick" if quick else SPEED)
        with _explained(console, folder):
            run_from_command_line(
                console,
                folder,
                workloads=_split(workloads),
                models=_split(models),
                threads=_split(threads) or ["1", "all"],
                repeats=repeats,
                cells=cells,
                accelerator=accelerator or "cpu",
                growth=_split(growth) or [],
                quality=not no_quality,
                quick=quick,
                retry=retry,
            )
        return
    try:
        if name in GROUPS:
            if conditions or latents or supervised or batch_size:
                raise ValueError(
                    f"{name} is a group, which sets conditions, latents, supervision and minibatches itself: leave out "
                    "--conditions, --latents, --supervised and --batch-size, or run one experiment."
                )
            chosen = _models(models, GROUPS[name].models)
        else:
            experiment = get_experiment(name)
            if quick:
                experiment = experiment.quickened()
            chosen = _models(models, experiment.models)
            experiment = experiment.restrict(
                models=[model.name for model in chosen],
                conditions=_split(conditions),
                latents=_split(latents),
                supervision=_SUPERVISION[supervised] if supervised else None,
                n_seeds=seeds,
                max_epochs=max_epochs,
                batch_size=batch_size,
                accelerator=accelerator,
            )
    except ValueError as error:
        groups = (
            "" if name in EXPERIMENTS or name in GROUPS else f" The groups are {', '.join(GROUPS)}; {SPEED} times them."
        )
        console.print(f"[red]{escape(f'{error}{groups}')}")
        raise typer.Exit(2) from None
    if name in GROUPS:
        folder = out or Path("benchmark-results") / (f"{name}-quick" if quick else name)
        with _explained(console, folder):
            verdicts, results = run_group(
                GROUPS[name],
                folder,
                models=chosen,
                n_seeds=seeds,
                max_epochs=max_epochs,
                accelerator=accelerator,
                quick=quick,
                jobs=jobs,
                retry=retry,
            )
        written = f"{folder / 'table.md'}: {sum(v.met is True for v in verdicts)} of {len(verdicts)} targets met"
        logs = f"{folder}/*/table.md and {folder}/*/cells/*.log"
    else:
        folder = out or Path("benchmark-results") / experiment.name
        with _explained(console, folder):
            results = run_experiment(experiment, folder, models=chosen, jobs=jobs, retry=retry)
        written = ", ".join(str(folder / name) for name in ("table.md", "figure.png", "summary.csv", "results.csv"))
        logs = f"{folder / 'table.md'} and {folder / 'cells'}/*.log"
    if n_failed := _n_failed(results):
        console.print(
            f"[yellow]{n_failed} runs failed; see the end of {escape(logs)}. With --retry they are run again."
        )
    console.print(written, markup=False, soft_wrap=True)
    if n_failed and not (results["status"] == "ok").any():
        raise typer.Exit(1)


@contextlib.contextmanager
def _explained(console: Console, folder: Path) -> Iterator[None]:
    """Say what to do about an occupied folder, absent data or an interruption, without a traceback."""
    try:
        yield
    except (OtherResultsError, CannotStartError, OSError) as error:
        console.print(f"[red]{escape(str(error))}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        said = f"Interrupted: what is finished is in {folder}; the same command goes on from there."
        console.print(said, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


def _models(named: str | None, default: Sequence[str]) -> list[Model]:
    """Models by name, however they are written, each once."""
    return list({model.name: model for model in map(get_model, _split(named) or default)}.values())


def _n_failed(results: pd.DataFrame) -> int:
    return int((results["status"] == "failed").sum())


def _split(text: str | None) -> list[str] | None:
    """Parts between commas, each once, in their order."""
    if text is None:
        return None
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise typer.BadParameter("An option that is a list, with commas, must name something; leave it out for all.")
    return parts
