"""Experiments as data: what is asked, on which data, over which sweep, of which models."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark.adapters import Latents, Model, Settings


@dataclass(frozen=True)
class Condition:
    """One value of the sweep: its name on the axis, and what it changes in the data builder's arguments."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Headline:
    """A number that the tables and the figure show: one metric of one target from one space.

    Examples
    --------
    >>> Headline("shared", "y", "auc_test", "AUC of y").key
    ('shared', 'y', 'auc_test')
    """

    space: str
    target: str
    metric: str
    title: str
    in_figure: bool = False
    chance: float | None = None
    """Value of a latent space without information, drawn as a dotted line."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Space, target and metric: what finds the headline among the result rows."""
        return self.space, self.target, self.metric


@dataclass(frozen=True)
class Quick:
    """A version of an experiment that ends in minutes: what it keeps."""

    conditions: tuple[str, ...]
    latents: tuple[Latents, ...]
    models: tuple[str, ...]
    n_seeds: int = 1
    max_epochs: int | None = None


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Parameters
    ----------
    name
        On the command line.
    question
        What the experiment answers, one sentence.
    build
        Function ``build(seed=..., **params)`` that makes the data; it must be importable, for the worker processes.
    sweep
        What the conditions change: the label of the figure's horizontal axis.
    conditions
        The values of the sweep, in order.
    modalities
        Names of the modalities.
    latents
        Sizes of the latent spaces to compare.
    models
        Names of the models, in the order of the tables.
    settings
        How the models are trained.
    headlines
        What the tables and the figure show.
    n_seeds
        Number of seeds (data, split and initialisation), counted from 0.
    supervision
        Whether models run without labels, with them, or both.
    quick
        The short version.
    notes
        What a reader of the table must know.
    whole
        The experiment that this is a part of.
    """

    name: str
    question: str
    build: Callable[..., BenchmarkData]
    sweep: str
    conditions: tuple[Condition, ...]
    modalities: tuple[str, ...]
    latents: tuple[Latents, ...]
    models: tuple[str, ...]
    settings: Settings
    headlines: tuple[Headline, ...]
    quick: Quick
    n_seeds: int = 5
    supervision: tuple[bool, ...] = (False,)
    notes: str = ""
    whole: Experiment | None = None

    @property
    def full(self) -> Experiment:
        """The experiment with all its conditions, latents and models: the order of what a folder may hold."""
        return self.whole or self

    def condition(self, name: str) -> Condition:
        """Condition by name.

        Raises
        ------
        ValueError
            If there is none; the message lists the names.
        """
        for condition in self.conditions:
            if condition.name == name:
                return condition
        names = ", ".join(condition.name for condition in self.conditions)
        raise ValueError(f"Experiment {self.name!r} has no condition {name!r}; it has {names}.")

    def latents_label(self, latents: Latents) -> str:
        """Latent sizes as the tables write them, for example ``2+2+2``."""
        return latents.label(len(self.modalities))

    def restrict(
        self,
        *,
        models: Sequence[str] | None = None,
        conditions: Sequence[str] | None = None,
        latents: Sequence[str] | None = None,
        supervision: Sequence[bool] | None = None,
        n_seeds: int | None = None,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        accelerator: str | None = None,
    ) -> Experiment:
        """Copy of the experiment with parts of it chosen; ``None`` keeps what there is.

        Raises
        ------
        ValueError
            If a condition or latent sizes are not the experiment's.
        """
        changes: dict[str, Any] = {}
        if models is not None:
            changes["models"] = tuple(models)
        if conditions is not None:
            changes["conditions"] = tuple(self.condition(name) for name in conditions)
        if latents is not None:
            by_label = {self.latents_label(own): own for own in self.latents}
            if unknown := [label for label in latents if label not in by_label]:
                raise ValueError(
                    f"Experiment {self.name!r} has latents {', '.join(by_label)}, not {', '.join(unknown)}."
                )
            changes["latents"] = tuple(by_label[label] for label in latents)
        if supervision is not None:
            changes["supervision"] = tuple(supervision)
        if n_seeds is not None:
            changes["n_seeds"] = n_seeds
        given: dict[str, Any] = {"max_epochs": max_epochs, "batch_size": batch_size, "accelerator": accelerator}
        settings = dataclasses.replace(self.settings, **{k: v for k, v in given.items() if v is not None})
        return dataclasses.replace(self, settings=settings, whole=self.full, **changes)

    def quickened(self) -> Experiment:
        """Return the short version, an experiment of its own called ``<name>-quick``."""
        short = self.restrict(
            models=self.quick.models,
            conditions=self.quick.conditions,
            n_seeds=self.quick.n_seeds,
            max_epochs=self.quick.max_epochs,
        )
        return dataclasses.replace(short, name=f"{self.name}-quick", latents=self.quick.latents)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for results to stand in one table: settings, and the data of each condition.

        Which models, seeds and latent sizes are run is no part of it: those may be added later.
        """
        settings = {k: v for k, v in dataclasses.asdict(self.settings).items() if k != "accelerator"}
        conditions = {condition.name: dict(condition.params) for condition in self.conditions}
        return {"experiment": self.name, "settings": settings, "conditions": conditions}


@dataclass(frozen=True)
class Cell:
    """The smallest piece of work: one model, trained once."""

    experiment: str
    condition: str
    model: str
    latents: Latents
    seed: int
    supervised: bool

    @property
    def slug(self) -> str:
        """File name of the cell's results, without its ending; one to one with the cell."""
        mode = "supervised" if self.supervised else "unsupervised"
        sizes = f"{self.latents.n_shared}+{self.latents.n_private}"
        parts = (self.experiment, self.condition, self.model, sizes, mode, f"seed{self.seed}")
        return "__".join(re.sub(r"[^\w.+-]", "-", part) for part in parts)


def cells_of(experiment: Experiment, models: Sequence[Model]) -> Iterator[Cell]:
    """All cells of an experiment, seed by seed, so that what is interrupted has whole comparisons.

    Models without a supervised variant have no supervised cells; a model that is not trained by epochs (PCA + CCA, MOFA)
    has its cells for every latent size, since that sets its number of components.
    """
    for seed in range(experiment.n_seeds):
        for condition in experiment.conditions:
            for latents in experiment.latents:
                for supervised in experiment.supervision:
                    for model in models:
                        if not supervised or model.has_supervised:
                            yield Cell(experiment.name, condition.name, model.name, latents, seed, supervised)
