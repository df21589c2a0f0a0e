"""The process of one contestant: it does what it is told, one turn after another, and says how long each took.

The conversation goes over a pipe, one answer to each order:

=========== =======================================================================================
order       answer
=========== =======================================================================================
(at start)  ``Ready``: everything is imported and the data are in memory
``PREPARE`` ``Done``: the model is built and about to run its first epoch
``TURN``    ``Done``: one epoch, or one whole training, is done
``PROFILE`` ``Profiled``: some steps were profiled; the training is over
``STOP``    none
=========== =======================================================================================

At any time the answer may be ``Broken``; then the process is gone.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mudata import MuData

from vennvi.benchmark._data import CannotRun
from vennvi.benchmark._run import _quiet, _threads
from vennvi.benchmark.speed._contestant import Contestant, Job
from vennvi.benchmark.speed._data import read_data
from vennvi.benchmark.speed._flops import Rates
from vennvi.benchmark.speed._hooks import CountFlops, Enough, Hooks, ProfileSteps, train_until_enough
from vennvi.benchmark.speed._machine import Gauge, peak_rss
from vennvi.benchmark.speed._profile import seconds_by_category
from vennvi.benchmark.speed._workload import Workload


class Order(StrEnum):
    """What the parent says."""

    PREPARE = "prepare"
    TURN = "turn"
    PROFILE = "profile"
    STOP = "stop"


@dataclass(frozen=True)
class Ready:
    """Everything is imported, the data are read."""

    peak_mb: float


@dataclass(frozen=True)
class Done:
    """A turn is over."""

    seconds: float
    peak_mb: float = 0.0
    gpu_peak_mb: float = 0.0
    flops: float = 0.0
    """Operations of the dense matrix products of an epoch, counted in the first one; 0 where they were not."""
    rates: Rates | None = None
    """What the machine did, of the process that measures it."""


@dataclass(frozen=True)
class Profiled:
    """Seconds a step by category, and steps."""

    seconds: dict[str, float] = field(default_factory=dict)
    n_steps: int = 0


@dataclass(frozen=True)
class Broken:
    """The contestant cannot run (``cannot``), or raised an error (``failed``)."""

    status: str
    reason: str


@dataclass(frozen=True)
class Task:
    """What a process is to be; without a contestant it measures the machine."""

    contestant: Contestant | None
    workload: Workload
    folder: Path
    n_threads: int
    n_turns: int
    """Turns that will be asked for, the one to warm up included."""
    accelerator: str = "cpu"
    n_profiled: int = 5


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep all that models and libraries say off the terminal: what matters is in the rows."""
    with _quiet(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def be_a_process(connection: Connection, task: Task) -> None:
    """Be the process of a task: with its number of threads, and silent."""
    with silence(), _threads(task.n_threads):
        work(connection, task)


def work(connection: Connection, task: Task) -> None:
    """Do what is said until told to stop."""
    try:
        if task.contestant is None:
            _measure_machine(connection, task)
            return
        data = read_data(task.workload, task.folder)
        connection.send(Ready(peak_rss()))
        if task.workload.unit == "epoch":
            _epochs(connection, task, task.contestant, data)
        else:
            _trainings(connection, task, task.contestant, data)
    except CannotRun as reason:
        connection.send(Broken("cannot", str(reason)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the parent is gone
    except Exception as error:
        connection.send(Broken("failed", " ".join(f"{type(error).__name__}: {error}".split())))


class _Gate(Hooks):
    """Stops a training before every epoch, reports on the last one and waits for the next order."""

    def __init__(self, connection: Connection, task: Task):
        self._connection, self._task = connection, task
        self._start = time.perf_counter()
        self._counter: CountFlops | None = None if _is_counted_by_hand(task) else CountFlops()
        self._profile: ProfileSteps | None = None

    def epoch_starts(self) -> None:
        if self._profile is not None:
            self._profile.epoch_starts()
        _synchronise()
        flops = 0.0 if self._counter is None else _of_epoch(self._counter, self._task)
        self._connection.send(_done(time.perf_counter() - self._start, flops))
        order = self._connection.recv()
        if order == Order.STOP:
            raise Enough
        if order == Order.PROFILE:
            self._profile = ProfileSteps(self._task.n_profiled)
            self._profile.epoch_starts()
        self._start = time.perf_counter()

    def batch_starts(self) -> None:
        if self._counter is not None:
            self._counter.batch_starts()

    def batch_ends(self) -> None:
        if self._counter is not None:
            self._counter.batch_ends()
        if self._profile is not None:
            self._profile.batch_ends()

    def profiled(self) -> Profiled | None:
        """What was profiled, if that was asked for."""
        return None if self._profile is None else _profiled(self._profile)


def _epochs(connection: Connection, task: Task, contestant: Contestant, data: MuData) -> None:
    """One training that goes on, an epoch a turn."""
    if connection.recv() != Order.PREPARE:
        return
    gate = _Gate(connection, task)
    job = Job(data, task.workload, task.n_turns + 2, task.accelerator, gate)
    train_until_enough(lambda _: contestant.run(job), gate)
    if (profiled := gate.profiled()) is not None:
        connection.send(profiled)
        connection.recv()  # an interpreter that ends takes time, which is another one's turn now


def _trainings(connection: Connection, task: Task, contestant: Contestant, data: MuData) -> None:
    """A whole training a turn, without hooks but in the first."""
    counter = None if _is_counted_by_hand(task) else CountFlops()
    hooks: Hooks | None = counter
    while (order := connection.recv()) != Order.STOP:
        if order == Order.PREPARE:
            connection.send(Done(0.0, peak_rss()))
            continue
        if order == Order.PROFILE:
            profile = ProfileSteps(task.n_profiled, n_skip=1)
            job = Job(data.copy(), task.workload, 3, task.accelerator, profile)
            train_until_enough(lambda _, job=job: contestant.run(job), profile)  # type: ignore[misc]
            connection.send(_profiled(profile))
            continue
        job = Job(data.copy(), task.workload, task.workload.n_epochs, task.accelerator, hooks)
        start = time.perf_counter()
        contestant.run(job)
        _synchronise()
        seconds = time.perf_counter() - start
        connection.send(_done(seconds, 0.0 if counter is None else _of_epoch(counter, task)))
        hooks = None


def _measure_machine(connection: Connection, task: Task) -> None:
    import torch

    device = "cuda" if task.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    gauge = Gauge(device)
    connection.send(Ready(peak_rss()))
    while connection.recv() != Order.STOP:
        start = time.perf_counter()
        rates = gauge.read()
        connection.send(Done(time.perf_counter() - start, rates=rates))


def _is_counted_by_hand(task: Task) -> bool:
    return task.contestant is not None and task.contestant.architecture is not None


def _of_epoch(counter: CountFlops, task: Task) -> float:
    """From the first step to the epoch."""
    return counter.flops * task.workload.n_obs / min(task.workload.batch_size, task.workload.n_obs)


def _done(seconds: float, flops: float) -> Done:
    import torch

    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return Done(seconds, peak_rss(), gpu, flops)


def _profiled(profile: ProfileSteps) -> Profiled:
    if not profile.n_done:
        return Profiled()
    return Profiled(seconds_by_category(profile.events, profile.seconds, profile.n_done), profile.n_done)


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def answers_of(connection: Connection) -> Any:
    """Next answer; a process that ended without one is broken."""
    try:
        return connection.recv()
    except (EOFError, ConnectionResetError):
        return Broken("failed", "its process ended without a word: out of memory, most likely")
