"""Run the speed benchmark: races, growth curves, seconds to a quality, and what they say."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import joblib
import pandas as pd

from vennvi.benchmark._preflight import CannotStartError, check_accelerator
from vennvi.benchmark.speed._contestant import Contestant
from vennvi.benchmark.speed._contestants import CONTESTANTS, get_contestant
from vennvi.benchmark.speed._data import write_data
from vennvi.benchmark.speed._growth import GROWING, axes_named
from vennvi.benchmark.speed._quality import TASKS, read_quality, run_quality, trainings_of
from vennvi.benchmark.speed._race import MACHINE, Course, Entry, Launch, run_race
from vennvi.benchmark.speed._report import write_report
from vennvi.benchmark.speed._results import claim, is_complete, leave, models_in, race_path, read_races, write_race
from vennvi.benchmark.speed._workload import WORKLOADS, Workload

#: Cells of the short version.
QUICK_CELLS = 512
_QUICK_REPEATS = 3


def run_speed(
    out: Path | str,
    *,
    workloads: Sequence[Workload] | None = None,
    models: Sequence[str] | None = None,
    threads: Sequence[str] = ("1", "all"),
    repeats: int | None = None,
    cells: int | None = None,
    accelerator: str = "cpu",
    growth: Sequence[str] = (),
    quality: bool = True,
    quick: bool = False,
    retry: bool = False,
    said: Callable[[str], None] = lambda _: None,
    launch: Launch | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run what is missing of the races, and write tables and figure.

    Parameters
    ----------
    out
        Folder of the results: ``races/*.csv`` and ``quality/*.csv`` (written when a race or training is done, never run twice),
        ``results.csv``, ``summary.csv``, ``targets.csv``, ``profile.csv``, ``growth.csv``, ``quality.csv``, ``table.md`` and
        ``figure.png``.
    workloads
        Workloads, by default all of :data:`WORKLOADS`.
    models
        Names of the contestants, by default those of each workload. A workload's reference runs in any case.
    threads
        Numbers of threads, ``"all"`` for all cores.
    repeats
        Timed turns of each contestant, 5 by default.
    cells
        Cells of the workloads timed by the epoch, if fewer than they have.
    accelerator
        ``"cpu"``, ``"gpu"`` or ``"auto"``.
    growth
        Names of the axes of growth curves to measure too, or ``"all"``; see :data:`~._growth.AXES`.
    quality
        Whether to measure seconds to a quality too; they are those of one thread of a CPU, and left out unless ``threads``
        has ``"1"``.
    quick
        Few cells and repeats: shows that everything runs.
    retry
        Whether to run races again in which a contestant failed or could not run.
    said
        Is told what happens.
    launch
        See :func:`~vennvi.benchmark.speed._race.run_race`.

    Returns
    -------
    The verdict on each target, and all result rows of the folder.

    Raises
    ------
    OtherResultsError
        If the folder holds timings of other sizes; nothing has been run then.
    ValueError
        If a contestant is unknown, a number of threads is not one, the accelerator is not there, or there is nothing to
        run.
    """
    out = Path(out)
    counts = {name: n_threads(name) for name in threads}
    repeats = repeats or (_QUICK_REPEATS if quick else 5)
    cells = cells or (QUICK_CELLS if quick else None)
    chosen = [get_contestant(name).name for name in models] if models is not None else None
    plain = [
        workload.shrunk(cells) if cells and workload.unit == "epoch" else workload
        for workload in (WORKLOADS.values() if workloads is None else workloads)
    ]
    grown = [(axis, axis.workloads(quick=quick)) for axis in axes_named(growth)]
    check_accelerator(accelerator)
    tasks = TASKS if quality and "1" in counts and accelerator == "cpu" else ()
    trainings = list(trainings_of(tasks, chosen, quick=quick))

    races: list[tuple[str, list[Workload], list[str]]] = []
    for workload in plain:
        names = [name for name in workload.models if chosen is None or name in {*chosen, workload.reference}]
        if chosen is None or set(names) & set(chosen):
            races.append((workload.name, [workload], names))
    for axis, points in grown:
        races += [(axis.race(name), points, [name]) for name in GROWING if chosen is None or name in chosen]
    if not races and not trainings:
        raise CannotStartError(
            f"There is nothing to run: {', '.join(chosen or ())} take part in none of the workloads, growth curves and "
            "trainings that were chosen."
        )
    claim(out, [*plain, *(workload for _, points in grown for workload in points)], accelerator)
    if quality and not tasks:
        said("seconds to a quality are left out: they are those of one thread (--threads 1) of a CPU")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for race, points, names in races:
                for label, count in counts.items():
                    if race.startswith("growth-") and label != next(iter(counts)):
                        continue  # curves are of one number of threads
                    path = race_path(out, race, label)
                    if is_complete(path, names, points, repeats, retry=retry):
                        continue
                    # one race has all contestants: those that took part before do so again
                    entries = [*names, *(n for n in models_in(path) if n not in (*names, MACHINE) and n in CONTESTANTS)]
                    for workload in points:
                        said(f"{race}, {label} threads: drawing {workload.n_obs:,} cells")
                        write_data(workload, Path(folder) / workload.name)
                    rows = run_race(
                        list(_entries(points, [CONTESTANTS[name] for name in entries])),
                        Course(Path(folder), count, repeats, accelerator, _n_profiled(race, accelerator)),
                        launch=launch,
                        said=lambda what, head=f"{race}, {label} threads": said(f"{head}: {what}"),  # type: ignore[misc]
                    )
                    write_race(out, race, label, rows, points, accelerator)
        if trainings:
            run_quality(trainings, out, retry=retry, said=said)
    finally:  # what an interrupted run has finished is reported too
        results, trained = read_races(out, order=[race for race, _, _ in races]), read_quality(out)
        verdicts = pd.DataFrame()
        if len(results) or len(trained):
            known = {**WORKLOADS, **{workload.name: workload for workload in plain}}
            verdicts = write_report(out, results, trained, known, quick=quick)
        else:
            leave(out)
    return verdicts, results


def _n_profiled(race: str, accelerator: str) -> int:
    """Steps to profile: none of growth curves, nor on a GPU, whose kernels the profile of the CPU does not see."""
    return 0 if race.startswith("growth-") or accelerator != "cpu" else Course.n_profiled


def n_threads(name: str) -> int:
    """Number of threads from its name, ``"all"`` for the cores there are.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> n_threads("2")
    2
    """
    if name == "all":
        return joblib.cpu_count()
    if not name.isdigit() or int(name) < 1:
        raise ValueError(f"threads is a number of at least 1, or all, not {name!r}.")
    return int(name)


def _entries(points: Sequence[Workload], contestants: Sequence[Contestant]) -> Iterator[Entry]:
    for workload in points:
        for contestant in contestants:
            yield Entry(contestant, workload)
