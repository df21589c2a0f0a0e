"""``vennvi benchmark``: list the experiments, run one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from vennvi.benchmark._results import OtherResultsError
from vennvi.benchmark._run import run as run_experiment
from vennvi.benchmark.adapters import MODELS, get_model
from vennvi.benchmark.experiments import EXPERIMENTS, get_experiment

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
    """Show the experiments, and the models that can be compared."""
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
    console = Console()
    console.print(table, highlight=False)
    console.print("[bold]--models[/] takes any of", ", ".join(MODELS), highlight=False, soft_wrap=False)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Experiment; `vennvi benchmark list` shows them.")],
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
    accelerator: Annotated[str | None, typer.Option(help="cpu (default), gpu or auto.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
) -> None:
    """Run what is missing of an experiment, and write its tables and figure.

    Finished cells of the sweep are kept in OUT/cells and never run again: interrupt and resume as you like.
    """
    console = Console(stderr=True)
    try:
        experiment = get_experiment(name)
        if quick:
            experiment = experiment.quickened()
        chosen = [get_model(model) for model in _split(models) or experiment.models]
        experiment = experiment.restrict(
            models=[model.name for model in chosen],
            conditions=_split(conditions),
            latents=_split(latents),
            supervision=_SUPERVISION[supervised] if supervised else None,
            n_seeds=seeds,
            max_epochs=max_epochs,
            accelerator=accelerator,
        )
    except ValueError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(2) from None
    folder = out or Path("benchmark-results") / experiment.name
    try:
        results = run_experiment(experiment, folder, models=chosen, jobs=jobs, retry=retry)
    except OtherResultsError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print(f"Interrupted: what is finished is in {folder}; the same command goes on from there.")
        raise typer.Exit(130) from None
    n_failed = int((results["status"] == "failed").sum())
    if n_failed:
        console.print(
            f"[yellow]{n_failed} runs failed; see the end of {folder / 'table.md'} and {folder / 'cells'}/*.log."
        )
    console.print(f"{folder / 'table.md'}, {folder / 'figure.png'}, {folder / 'summary.csv'}, {folder / 'results.csv'}")


def _split(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None
