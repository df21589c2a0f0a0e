"""What must be there before anything is run: found out in seconds, not as failed runs after hours."""

from __future__ import annotations

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry

from vennvi.benchmark._experiment import Cell, Experiment


class CannotStartError(ValueError):
    """What was asked for cannot be run: found out before anything was."""


def check_accelerator(name: str) -> None:
    """Check that this machine has the accelerator.

    Raises
    ------
    CannotStartError
        If it has not, or there is none of that name.
    """
    if name == "auto":
        return
    if name == "gpu":
        found = torch.cuda.is_available() or torch.backends.mps.is_available()
    elif name in AcceleratorRegistry:
        found = AcceleratorRegistry[name]["accelerator"].is_available()
    else:
        known = ", ".join(sorted(AcceleratorRegistry.available_accelerators()))
        raise CannotStartError(f"There is no accelerator {name!r}: choose auto, gpu, {known}.")
    if not found:
        raise CannotStartError(f"This machine has no accelerator {name!r} that torch can use: choose cpu or auto.")


def check_data(experiment: Experiment, cell: Cell) -> None:
    """Make the data of a cell, to see that they are there; any other failure is the cell's, which says so.

    Raises
    ------
    FileNotFoundError
        If the published data are not there; the message names ``VENNVI_DATA``.
    """
    try:
        experiment.build(seed=cell.seed, **experiment.condition(cell.condition).params)
    except FileNotFoundError:
        raise
    except Exception:
        return
