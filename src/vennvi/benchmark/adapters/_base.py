"""The one interface through which every model, ours or a peer's, is trained and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vennvi.benchmark._data import BenchmarkData, CannotRun


@dataclass(frozen=True)
class Settings:
    """How the models of an experiment are trained."""

    max_epochs: int
    lr: float = 1e-3
    batch_size: int = 128
    accelerator: str = "cpu"


@dataclass(frozen=True)
class Latents:
    """Sizes of the latent spaces: the shared one and that of each modality.

    Examples
    --------
    >>> Latents(2, 5).label(n_modalities=2)
    '2+5+5'
    """

    n_shared: int
    n_private: int

    def label(self, n_modalities: int) -> str:
        """Write the sizes as shared + private of each modality, for example ``2+2+2``."""
        return "+".join([str(self.n_shared), *[str(self.n_private)] * n_modalities])


def shared_space(modality: str) -> str:
    """Name of the space of shared latents that one modality alone infers; the joint one is ``"shared"``."""
    return f"shared:{modality}"


def private_space(modality: str) -> str:
    """Name of a modality's private space."""
    return f"private:{modality}"


@dataclass(frozen=True)
class Fit:
    """What a trained model says about **all** samples, having seen the training ones.

    Parameters
    ----------
    spaces
        Latent spaces, samples x dimensions, by name: ``"shared"``, ``"shared:<modality>"``, ``"private:<modality>"``.
        A model without a space leaves it out; one without ``"shared"`` has spaces of single modalities that are not
        comparable with each other.
    predictions
        Predicted values of the held-out samples in the data's units, by ``(source, target)``: two modalities, or the
        same one twice, or ``"joint"`` as the source.
    label_probabilities
        Probability of each class of the first label for the held-out samples, by class; of supervised models.
    numbers
        Anything worth a row of its own, such as the number of shared factors that were found, by name.
    """

    spaces: Mapping[str, NDArray[np.floating]]
    predictions: Mapping[tuple[str, str], NDArray[np.floating]] = field(default_factory=dict)
    label_probabilities: pd.DataFrame | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


class Adapter(Protocol):
    """Trains one model on the training samples of a data set and reads it on all of them."""

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Train and read.

        Raises
        ------
        CannotRun
            If the model does not apply to the data, or its package is not installed.
        """
        ...


def require(module: str, *, package: str, model: str) -> ModuleType:
    """Import a peer's module.

    Raises
    ------
    CannotRun
        If it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise CannotRun(
            f"{model} needs the package {package} ({error}): install it with `pip install 'vennvi[bench]'`."
        ) from error


def refuse_labels(supervised: bool, model: str) -> None:
    """Raise :class:`CannotRun` if a model without a supervised variant is asked for one."""
    if supervised:
        raise CannotRun(f"{model} has no supervised variant.")
