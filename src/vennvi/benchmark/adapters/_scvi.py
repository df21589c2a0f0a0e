"""scvi-tools' own multi-omic models: MULTIVI for RNA + ATAC, TOTALVI for RNA + protein.

Both have scvi-tools' default networks and a latent space of ``n_shared`` dimensions: one, and no private ones, so that all
of their information is in ``"shared"``. They are trained on the training cells for the experiment's number of epochs and
batch size, without early stopping. MULTIVI has the experiment's learning rate (its default, 1e-4, is meant for 500
epochs); TOTALVI keeps its own (4e-3, reduced on plateaus of its loss on a tenth of the training cells that it sets aside,
as it does by default).

References
----------
Ashuach et al. (2023), MultiVI. Gayoso et al. (2021), Joint probabilistic modeling of single-cell multi-omic data with
totalVI.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scvi
from mudata import MuData

from vennvi.benchmark._data import BenchmarkData, CannotRun, Kind
from vennvi.benchmark.adapters._base import Fit, Latents, Settings, refuse_labels, shared_space


@dataclass(frozen=True)
class MultiVIAdapter:
    """MULTIVI: joint latents, and those from each modality alone."""

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Train on the training cells, read on all; see :class:`~vennvi.benchmark.adapters.Adapter`."""
        refuse_labels(supervised, "MULTIVI")
        rna, atac = _two_kinds(data, "rna", "atac", "MULTIVI")
        scvi.settings.seed = seed
        everything, train = _copies(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for mdata in (everything, train):
                scvi.model.MULTIVI.setup_mudata(mdata, modalities={"rna_layer": rna, "atac_layer": atac})
            model = scvi.model.MULTIVI(
                train, n_genes=train[rna].n_vars, n_regions=train[atac].n_vars, n_latent=latents.n_shared
            )
            _train(model, settings, lr=settings.lr, train_size=1.0)
            names = {"shared": "joint", shared_space(rna): "expression", shared_space(atac): "accessibility"}
            spaces = {
                space: np.asarray(model.get_latent_representation(everything, modality=name))
                for space, name in names.items()
            }
        return Fit(spaces)


@dataclass(frozen=True)
class TotalVIAdapter:
    """TOTALVI: joint latents only."""

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Train on the training cells, read on all; see :class:`~vennvi.benchmark.adapters.Adapter`."""
        refuse_labels(supervised, "TOTALVI")
        rna, protein = _two_kinds(data, "rna", "protein", "TOTALVI")
        scvi.settings.seed = seed
        everything, train = _copies(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for mdata in (everything, train):
                scvi.model.TOTALVI.setup_mudata(mdata, modalities={"rna_layer": rna, "protein_layer": protein})
            model = scvi.model.TOTALVI(train, n_latent=latents.n_shared)
            _train(model, settings)
            shared = np.asarray(model.get_latent_representation(everything))
        return Fit({"shared": shared})


def _two_kinds(data: BenchmarkData, first: Kind, second: Kind, model: str) -> tuple[str, str]:
    """Names of the one modality of each kind, or :class:`CannotRun`."""
    found = {kind: [m for m in data.modalities if data.kinds[m] == kind] for kind in (first, second)}
    if any(len(names) != 1 for names in found.values()) or len(data.modalities) != 2:
        held = ", ".join(f"{m} ({data.kinds[m]})" for m in data.modalities)
        raise CannotRun(f"{model} models {first} counts with {second} counts; these data hold {held}.")
    return found[first][0], found[second][0]


def _copies(data: BenchmarkData) -> tuple[MuData, MuData]:
    everything = MuData({m: data.mdata[m].copy() for m in data.modalities})
    return everything, everything[data.train].copy()


def _train(model: Any, settings: Settings, **kwargs: float) -> None:
    model.train(
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        early_stopping=False,
        accelerator=settings.accelerator,
        devices=1,
        enable_progress_bar=False,
        **kwargs,
    )
