"""A race: all contestants are alive and warm, and take one turn after another, round after round.

A machine that is busy for a while is busy for all of them, so the ratio of two contestants' seconds in one round is worth
more than that of two medians. The order of the turns rotates from round to round. One process does no training but
measures, once a round, how fast the machine multiplies matrices and moves memory just then.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from vennvi.benchmark.speed._contestant import Contestant
from vennvi.benchmark.speed._worker import Broken, Done, Order, Profiled, Ready, Task, answers_of, be_a_process
from vennvi.benchmark.speed._workload import Workload

#: Name of the entry that measures the machine.
MACHINE = "machine"
#: Seconds between two turns: OpenMP's threads wait for more work for a while, on a core that the next one needs.
PAUSE = 0.1


class Process(Protocol):
    """What a race must be able to do with a contestant's process."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""


#: From a task to the parent's end of its pipe, and the process.
Launch = Callable[[Task], tuple[Connection, Process]]


@dataclass(frozen=True)
class Entry:
    """A contestant on a workload; in one race a contestant may run on several."""

    contestant: Contestant
    workload: Workload


@dataclass(frozen=True)
class Course:
    """How a race is run."""

    folder: Path
    """Of the data of all workloads, each in a folder of its name; see :func:`~._data.write_data`."""
    n_threads: int
    repeats: int
    accelerator: str = "cpu"
    n_profiled: int = 5
    """Steps to profile after the last round; 0 for none."""
    pause: float = PAUSE


#: What a race writes down: one row a number; ``round`` counts from 1, 0 is what is measured once.
COLUMNS = ("workload", "model", "status", "quantity", "round", "value", "reason")


def run_race(
    entries: Sequence[Entry],
    course: Course,
    *,
    launch: Launch | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Run a race.

    Parameters
    ----------
    entries
        Who takes part.
    course
        How.
    launch
        Starts a contestant's process; by default a new interpreter with the course's number of threads.
    said
        Is told what happens.

    Returns
    -------
    Rows of :data:`COLUMNS`. Quantities: ``seconds`` (each round), ``setup seconds``, ``warm-up seconds``, ``peak MB``,
    ``MB before training``, ``GPU peak MB``, ``counted flops``, ``profile: <category>`` (seconds a step); of the machine ``flops``,
    ``bytes`` and ``logistic`` a second (each round). A contestant that cannot run, or broke, has the reason.
    """
    runners = _start(entries, course, launch or _spawn)
    try:
        for runner in runners:
            runner.expect(Ready)
        for runner in runners:
            said(f"{runner.title}: building the model")
            if (done := runner.tell(Order.PREPARE, course.pause)) is not None and not runner.is_machine:
                runner.note("setup seconds", done.seconds)
        for round_ in range(course.repeats + 1):
            shift = round_ % len(runners)
            for runner in [*runners[shift:], *runners[:shift]]:
                said(f"{runner.title}: {f'round {round_} of {course.repeats}' if round_ else 'warming up'}")
                if (done := runner.tell(Order.TURN, course.pause)) is not None:
                    runner.record(round_, done)
        for runner in runners:
            runner.record_peaks()
            profiled = course.n_profiled and not runner.is_machine
            said(f"{runner.title}: {'profile' if profiled else 'done'}")
            found = runner.tell(Order.PROFILE, course.pause) if profiled else None
            if isinstance(found, Profiled):
                for category, seconds in found.seconds.items():
                    runner.note(f"profile: {category}", seconds)
    finally:
        for runner in runners:
            runner.stop()
    rows = [row for runner in runners for row in runner.rows()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Runner:
    """The parent's side of one process, and what was written down about it."""

    def __init__(self, entry: Entry | None, connection: Connection, process: Process, workload: str):
        self.model = MACHINE if entry is None else entry.contestant.name
        self.workload, self.is_machine = workload, entry is None
        self._connection, self._process = connection, process
        self._broken: Broken | None = None
        self._last: Done | None = None
        self._notes: list[tuple[str, int, float]] = []

    @property
    def title(self) -> str:
        return f"{self.model}, {self.workload}" if self.workload else self.model

    def note(self, quantity: str, value: float, round_: int = 0) -> None:
        self._notes.append((quantity, round_, value))

    def expect(self, kind: type) -> Any:
        """Next answer, or ``None`` from one that is broken."""
        if self._broken is not None:
            return None
        answer = answers_of(self._connection)
        if isinstance(answer, Broken):
            self._broken = answer
            return None
        if isinstance(answer, Ready):
            self.note("MB before training", answer.peak_mb)
        elif not isinstance(answer, kind):
            raise TypeError(f"{self.title} answered {answer!r} where {kind.__name__} was expected.")
        return answer

    def tell(self, order: Order, pause: float) -> Any:
        """Give an order and wait for the answer."""
        if self._broken is not None:
            return None
        time.sleep(pause)
        with suppress(BrokenPipeError, ConnectionResetError):  # why is in the answer
            self._connection.send(order)
        return self.expect(Profiled if order == Order.PROFILE else Done)

    def record(self, round_: int, done: Done) -> None:
        self._last = done
        if done.rates is not None:
            if round_:
                for name in ("flops", "bytes", "logistic"):
                    self.note(name, getattr(done.rates, name), round_)
            return
        self.note("seconds" if round_ else "warm-up seconds", done.seconds, round_)
        if done.flops and not round_:
            self.note("counted flops", done.flops)

    def record_peaks(self) -> None:
        if self._last is not None and not self.is_machine:
            self.note("peak MB", self._last.peak_mb)
            if self._last.gpu_peak_mb:
                self.note("GPU peak MB", self._last.gpu_peak_mb)

    def stop(self) -> None:
        with suppress(OSError, ValueError):  # it is gone
            self._connection.send(Order.STOP)
        self._connection.close()
        self._process.join(timeout=30)
        if terminate := getattr(self._process, "terminate", None):
            terminate()

    def rows(self) -> Iterator[tuple]:
        status, reason = ("ok", "") if self._broken is None else (self._broken.status, self._broken.reason)
        if self._broken is not None:
            yield self.workload, self.model, status, "", 0, float("nan"), reason
            return
        for quantity, round_, value in self._notes:
            yield self.workload, self.model, status, quantity, round_, value, reason


def _start(entries: Sequence[Entry], course: Course, launch: Launch) -> list[_Runner]:
    """Start all processes; they import and read at the same time."""
    runners = []
    for entry in [*entries, None]:
        workload = entries[0].workload if entry is None else entry.workload
        task = Task(
            None if entry is None else entry.contestant,
            workload,
            course.folder / workload.name,
            course.n_threads,
            course.repeats + 1,
            course.accelerator,
            course.n_profiled,
        )
        runners.append(_Runner(entry, *launch(task), workload.name if entry is not None else ""))
    return runners


def _spawn(task: Task) -> tuple[Connection, Process]:
    """Start a new interpreter that never has more threads than the task says."""
    context = multiprocessing.get_context("spawn")  # a fork would start with the parent's memory
    ours, theirs = context.Pipe()
    process = context.Process(target=be_a_process, args=(theirs, task), daemon=True)
    with _environment(task.n_threads):
        process.start()
    theirs.close()
    return ours, process


@contextmanager
def _environment(n_threads: int) -> Iterator[None]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    wanted = {**dict.fromkeys(names, str(n_threads)), "KINETO_LOG_LEVEL": "99"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
