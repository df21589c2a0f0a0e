"""The paper's experiments, reproduced and extended: data, models, sweep, tables and figures.

An :class:`Experiment` is a record; :func:`run` works through its cells (one model trained once each), in parallel
processes, and writes what each of them found. A :class:`Group` is parts of several experiments with the targets of one
model; :func:`run_group` runs them and says which targets are met. Every model, ours or a peer's, is behind one interface
(:mod:`vennvi.benchmark.adapters`), sees the training samples only, and is read on held-out ones.
"""

from vennvi.benchmark._data import BenchmarkData, CannotRun, data_directory
from vennvi.benchmark._experiment import Cell, Condition, Experiment, Headline, Quick, cells_of
from vennvi.benchmark._group import Group, Member
from vennvi.benchmark._results import OtherResultsError
from vennvi.benchmark._run import run, run_cell
from vennvi.benchmark._run_group import run_group
from vennvi.benchmark._target import Reading, Reference, Target, Verdict, judge
from vennvi.benchmark.adapters import MODELS, Adapter, Fit, Latents, Model, Settings, get_model
from vennvi.benchmark.experiments import EXPERIMENTS, get_experiment
from vennvi.benchmark.groups import GROUPS

__all__ = [
    "EXPERIMENTS",
    "GROUPS",
    "MODELS",
    "Adapter",
    "BenchmarkData",
    "CannotRun",
    "Cell",
    "Condition",
    "Experiment",
    "Fit",
    "Group",
    "Headline",
    "Latents",
    "Member",
    "Model",
    "OtherResultsError",
    "Quick",
    "Reading",
    "Reference",
    "Settings",
    "Target",
    "Verdict",
    "cells_of",
    "data_directory",
    "get_experiment",
    "get_model",
    "judge",
    "run",
    "run_cell",
    "run_group",
]
