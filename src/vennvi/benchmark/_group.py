"""Groups of experiments as data: parts of several experiments that answer one question about one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from vennvi.benchmark._experiment import Experiment
from vennvi.benchmark._target import Target


@dataclass(frozen=True)
class Member:
    """Part of an experiment, without labels: some conditions, latent sizes (such as ``5+5+5``) and models."""

    experiment: Experiment
    conditions: tuple[str, ...]
    latents: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment.name

    def part(self, *, quick: bool = False) -> Experiment:
        """Return the experiment held to the part.

        With ``quick`` it is the first condition and latent size at one seed, with the epochs of the experiment's short
        version, called ``<name>-quick``.
        """
        n = 1 if quick else None
        part = self.experiment.restrict(
            models=self.models, conditions=self.conditions[:n], latents=self.latents[:n], supervision=(False,)
        )
        if quick:
            part = part.restrict(n_seeds=1, max_epochs=self.experiment.quick.max_epochs)
            part = dataclasses.replace(part, name=f"{part.name}-quick")
        return part


@dataclass(frozen=True)
class Group:
    """Experiments that are run together, and what a model must reach on them.

    Parameters
    ----------
    name
        On the command line.
    title
        What the group answers, one sentence.
    subject
        Name of the model that the targets are set for.
    members
        Parts of experiments; each experiment once.
    targets
        What the subject must reach.
    notes
        What a reader of the table must know.
    """

    name: str
    title: str
    subject: str
    members: tuple[Member, ...]
    targets: tuple[Target, ...]
    notes: str = ""

    def __post_init__(self) -> None:
        members = {member.name: member for member in self.members}
        if len(members) < len(self.members):
            raise ValueError(f"Group {self.name!r} names an experiment twice: put its conditions in one member.")
        for target in self.targets:
            member = members.get(target.experiment)
            if member is None or target.condition not in member.conditions or target.latents not in member.latents:
                raise ValueError(
                    f"Group {self.name!r} has a target at {target.experiment} {target.condition}, {target.latents}, which no "
                    "member runs."
                )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models of the members, each once."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.models))

    def quickened(self) -> Group:
        """Return the group as the report of its short version names it."""
        notes = "**A short version: one seed, few epochs. It shows that everything runs, not what the models can do.**"
        return dataclasses.replace(self, name=f"{self.name}-quick", notes=f"{notes} {self.notes}".strip())

    def models_of(self, member: Member, chosen: Sequence[str] | None) -> tuple[str, ...]:
        """Chosen models that are to be run on a member.

        A model that some members list is run on these; one that none lists, such as an ablation, on all.
        """
        if chosen is None:
            return member.models
        return tuple(name for name in chosen if name in member.models or name not in self.models)
