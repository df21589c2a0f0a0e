"""What takes part in a race: a name, and a function that trains on a workload and calls hooks on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mudata import MuData

from vennvi.benchmark.speed._hooks import Hooks
from vennvi.benchmark.speed._workload import Workload


@dataclass(frozen=True)
class Job:
    """What a contestant is to do."""

    data: MuData
    workload: Workload
    n_epochs: int
    accelerator: str
    hooks: Hooks | None = None


@dataclass(frozen=True)
class Architecture:
    """What the count of floating-point operations must know of a model of ours; see :mod:`._flops`."""

    n_hidden: int = 128
    n_layers: int = 1
    n_canonical: int = 0
    n_in_use: int = 0
    """Canonical variates that agree: the others are not computed, and 20 of these at most are taken out of the private input."""
    aligned: bool = False
    fraction: Mapping[str, float] = field(default_factory=dict)
    """Fraction of the features that a step decodes, by modality, where not all."""
    in_single: bool = True
    """Whether its products are in single precision, which the machine's rate is measured in."""


@dataclass(frozen=True)
class Contestant:
    """One who takes part.

    Parameters
    ----------
    name
        On the command line and in the results.
    label
        In tables and figures.
    train
        Function that trains as a :class:`Job` says; it must be importable, for the child processes. It raises
        :class:`~vennvi.benchmark.CannotRun` where it does not apply.
    kwargs
        Passed to it besides.
    architecture
        Of our models; ``None`` for peers, whose matrix products are counted while they run.
    color
        In figures.
    """

    name: str
    label: str
    train: Callable[..., None]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    architecture: Architecture | None = None
    color: str = "#555555"

    def run(self, job: Job) -> None:
        """Train."""
        self.train(job, **self.kwargs)
