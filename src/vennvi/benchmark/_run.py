"""Run an experiment: cells in parallel processes, each written when it is done, none run twice."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import joblib
import pandas as pd
from threadpoolctl import threadpool_limits

from vennvi.benchmark._data import CannotRun
from vennvi.benchmark._evaluate import evaluate
from vennvi.benchmark._experiment import Cell, Experiment, cells_of
from vennvi.benchmark._preflight import check_accelerator, check_data
from vennvi.benchmark._progress import Progress
from vennvi.benchmark._report import write_report
from vennvi.benchmark._results import (
    cell_frame,
    cell_path,
    check_folder,
    claim_folder,
    leave_folder,
    merge_cells,
    read_cell,
    write_atomically,
    write_frame,
)
from vennvi.benchmark.adapters import Model, get_model


def run(
    experiment: Experiment,
    out: Path | str,
    *,
    models: Sequence[Model] | None = None,
    jobs: int = 1,
    retry: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Run what is missing of an experiment, and write its tables and figure.

    Parameters
    ----------
    experiment
        The experiment; see :meth:`Experiment.restrict` and :meth:`Experiment.quickened`.
    out
        Folder of the results: ``cells/*.csv`` (one a cell, written when the cell is done), ``results.csv`` (all of them),
        ``summary.csv``, ``table.md``, ``figure.png``. Cells that are there are not run again.
    models
        Models to run, by default those that the experiment names.
    jobs
        Number of processes; each has ``cores // jobs`` threads, or ``OMP_NUM_THREADS`` if that is fewer.
    retry
        Whether to run the cells again that failed, or that said that they cannot run.
    progress
        Whether to show progress on the terminal.

    Returns
    -------
    All result rows in the folder.

    Raises
    ------
    OtherResultsError
        If the folder holds results with other settings.
    FileNotFoundError
        If the data are not there.
    ValueError
        If ``jobs`` is less than 1, a model is unknown, or the accelerator is not there.
    """
    if jobs < 1:
        raise ValueError(f"jobs is the number of processes, at least 1, not {jobs}.")
    out = Path(out)
    chosen = tuple(models) if models is not None else tuple(get_model(name) for name in experiment.models)
    by_name = {model.name: model for model in chosen}
    cells = list(cells_of(experiment, chosen))
    check_folder(out, experiment)
    missing = missing_cells(experiment, chosen, out, retry=retry)
    check_can_run(experiment, missing)
    claim_folder(out, experiment)
    n_threads = _threads_per_job(jobs)
    tasks = [(experiment, cell, by_name[cell.model], out, n_threads) for cell in missing]
    try:
        with Progress(experiment, n_done=len(cells) - len(missing), n_all=len(cells), shown=progress) as bar:
            for done in _in_parallel(tasks, jobs, n_threads):
                bar.advance(done)
    finally:  # what an interrupted run has finished is reported too
        results = merge_cells(out, experiment)
        if len(results):
            write_report(experiment, results, out)
        else:
            leave_folder(out)
    return results


def missing_cells(experiment: Experiment, models: Sequence[Model], out: Path, *, retry: bool) -> list[Cell]:
    """Cells without results in the folder; with ``retry`` also those that failed or could not run."""
    return [cell for cell in cells_of(experiment, models) if _is_missing(cell_path(out, cell), retry)]


def check_can_run(experiment: Experiment, missing: Sequence[Cell]) -> None:
    """Check that what is missing can be run here: a mistake of the environment is no result, and is not kept as one."""
    if missing:
        check_accelerator(experiment.settings.accelerator)
        check_data(experiment, missing[0])


def run_cell(experiment: Experiment, cell: Cell, model: Model) -> tuple[pd.DataFrame, str]:
    """Make the data, train and evaluate: the cell's rows, and the traceback if it failed."""
    start = time.perf_counter()
    try:
        data = experiment.build(seed=cell.seed, **experiment.condition(cell.condition).params)
        start = time.perf_counter()
        fit = model.adapter.fit(data, cell.latents, experiment.settings, seed=cell.seed, supervised=cell.supervised)
        seconds = time.perf_counter() - start
        return cell_frame(experiment, cell, evaluate(fit, data), status="ok", seconds=seconds), ""
    except CannotRun as reason:
        frame = cell_frame(experiment, cell, pd.DataFrame(), status="cannot", seconds=0.0, reason=str(reason))
        return frame, ""
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # what Lightning makes of an interruption, after which it hears of no other
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        seconds = time.perf_counter() - start
        frame = cell_frame(experiment, cell, pd.DataFrame(), status="failed", seconds=seconds, reason=message)
        return frame, traceback.format_exc()


def _run_and_write(experiment: Experiment, cell: Cell, model: Model, out: Path, n_threads: int) -> pd.DataFrame:
    path = cell_path(out, cell)
    with _quiet(), _threads(n_threads):
        frame, failure = run_cell(experiment, cell, model)
    log = path.with_suffix(".log")
    if failure:
        write_atomically(log, failure)
    else:
        log.unlink(missing_ok=True)
    write_frame(path, frame)
    return frame


def _is_missing(path: Path, retry: bool) -> bool:
    frame = read_cell(path)
    return frame is None or (retry and frame["status"].iloc[0] != "ok")


def _in_parallel(tasks: Sequence[tuple], jobs: int, n_threads: int) -> Iterator[pd.DataFrame]:
    if jobs == 1:
        for task in tasks:
            yield _run_and_write(*task)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=n_threads):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
        yield from parallel(joblib.delayed(_run_and_write)(*task) for task in tasks)


def _threads_per_job(jobs: int) -> int:
    """Share of the cores that one process has, which ``OMP_NUM_THREADS`` may lower."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, joblib.cpu_count() // jobs)
    return min(share, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else share


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """Hold linear algebra, OpenMP and torch to ``n`` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(limits=n):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings and log lines of the models off the terminal: what matters is in the rows."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
