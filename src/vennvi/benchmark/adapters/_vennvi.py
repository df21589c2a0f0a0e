"""vennvi's own models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scvi
from mudata import MuData

import vennvi
from vennvi.benchmark._data import BenchmarkData, CannotRun
from vennvi.benchmark.adapters._base import Fit, Latents, Settings, private_space, shared_space


@dataclass(frozen=True)
class VennviAdapter:
    """A model class of vennvi, by name: trained on the training samples only, with a fixed number of epochs.

    Parameters
    ----------
    class_name
        Name of the class in :mod:`vennvi`.
    model_kwargs
        Passed to the class besides the latent sizes and the likelihoods.
    plan_kwargs
        Passed to the training plan besides the learning rate.
    train_kwargs
        Passed to ``train`` besides.
    """

    class_name: str
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    plan_kwargs: Mapping[str, Any] = field(default_factory=dict)
    train_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Train on the training samples, read on all; see :class:`~vennvi.benchmark.adapters.Adapter`."""
        if supervised and not data.labels:
            raise CannotRun("The data set has no label to supervise with.")
        model_class = getattr(vennvi, self.class_name)
        scvi.settings.seed = seed
        everything = _bare_copy(data)
        train = everything[data.train].copy()
        model_class.setup_mudata(train, labels_key=data.labels[0] if supervised else None)
        model = model_class(
            train,
            n_shared=latents.n_shared,
            n_private=latents.n_private,
            likelihoods=dict(data.likelihoods),
            **self.model_kwargs,
        )
        model.train(
            max_epochs=settings.max_epochs,
            batch_size=settings.batch_size,
            train_size=1.0,
            accelerator=settings.accelerator,
            devices=1,
            enable_progress_bar=False,
            plan_kwargs={"lr": settings.lr, **self.plan_kwargs},
            **self.train_kwargs,
        )
        spaces = {"shared": model.get_latent_representation(everything)}
        for m in data.modalities:
            spaces[shared_space(m)] = model.get_latent_representation(everything, modality=m)
            spaces[private_space(m)] = model.get_latent_representation(everything, space="private", modality=m)
        sources: dict[str, list[str] | None] = {"joint": None, **{m: [m] for m in data.modalities}}
        predictions = {
            (name, target): np.asarray(model.predict(target, source=source, mdata=everything, indices=data.test))
            for name, source in sources.items()
            for target in data.modalities
        }
        probabilities = model.predict_labels(mdata=everything, indices=data.test)[1] if supervised else None
        return Fit(spaces, predictions, probabilities)


def _bare_copy(data: BenchmarkData) -> MuData:
    """Matrices and labels only: nothing known about the truth travels with the data that a model sees."""
    bare = MuData({m: data.mdata[m].copy() for m in data.modalities})
    for label in data.labels:
        bare.obs[label] = data.mdata.obs[label].to_numpy()
    return bare
