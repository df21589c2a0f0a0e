r"""The four objectives as tables: one row for each reconstruction term of the loss.

Every model minimises

.. math::

    \mathcal L = \sum_{S} \frac{1}{N_S} \sum_{i \,\text{has}\, S} \Big[
        -\!\sum_{m} w_m \log p(x_{im} \mid s_{iS}, p_{im}) + \beta \big( KL[q(s_i \mid x_{iS})]
        + \sum_{m \in S} KL[q(p_{im} \mid x_{im})] \big) \Big]

over experts :math:`S` (subsets of the modalities), where the sum over targets :math:`m` runs over the rows of the
table that belong to :math:`S` and counts only the cells that have the target. Models differ in the table alone.

References
----------
Wu & Goodman (2018), Multimodal generative models for scalable weakly-supervised learning (MVAE).
Shi et al. (2019), Variational mixture-of-experts autoencoders (MMVAE).
Sutter et al. (2021), Generalized multimodal ELBO (MoPoE-VAE).
Märtens & Yau (2024), Disentangling shared and private latent factors in multimodal VAEs (MMVAE++), arXiv:2403.06338.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

#: Where the target's private latent comes from when the expert did not infer it.
CrossPrivate = Literal["zeros", "prior"]

#: MoPoE has ``2^M - 1`` experts; beyond this many modalities that is no longer a model one can train.
MAX_MOPOE_MODALITIES = 8


@dataclass(frozen=True)
class Expert:
    """A set of modalities that infers the shared latent.

    A cell has the expert if it has every modality of it or, with ``partial``, at least one.
    """

    modalities: tuple[str, ...]
    partial: bool = False


@dataclass(frozen=True)
class Term:
    """One reconstruction: what ``expert`` infers must explain ``target``."""

    expert: Expert
    target: str
    detach_shared: bool = False
    """Stop the gradient into the shared latent: the term teaches the decoder and the private latent only."""
    cross_private: CrossPrivate = "zeros"
    """The target's private latent where the expert does not hold the target (or the cell lacks it)."""


@dataclass(frozen=True)
class Objective:
    """A model: its terms, and how its experts join."""

    terms: tuple[Term, ...]
    fusion: Literal["product", "mixture"]
    """``product``: an expert is the product of its modalities' Gaussians and the prior, and so is the joint posterior.
    ``mixture``: an expert is one modality's Gaussian, and the joint posterior is their mixture."""

    @cached_property
    def experts(self) -> tuple[Expert, ...]:
        """The experts, each once, in the order of the table."""
        return tuple(dict.fromkeys(term.expert for term in self.terms))

    def terms_for(self, target: str) -> tuple[Term, ...]:
        """Terms that reconstruct one modality, in the order of the table."""
        return tuple(term for term in self.terms if term.target == target)


def mvae(modalities: Sequence[str], cross_private: CrossPrivate = "zeros") -> Objective:
    """Table of the MVAE: the joint expert explains every modality, each modality alone explains itself."""
    joint = Expert(tuple(modalities), partial=True)
    terms = [Term(joint, m, cross_private=cross_private) for m in modalities]
    if len(modalities) > 1:  # with one modality, that is the joint expert
        terms += [Term(Expert((m,)), m, cross_private=cross_private) for m in modalities]
    return Objective(tuple(terms), "product")


def mopoe(modalities: Sequence[str], cross_private: CrossPrivate = "zeros") -> Objective:
    """Table of the MoPoE-VAE: every non-empty subset of modalities explains every modality.

    Raises
    ------
    ValueError
        Beyond eight modalities.
    """
    if len(modalities) > MAX_MOPOE_MODALITIES:
        raise ValueError(
            f"MoPoEVAE has one expert for each of the 2^M - 1 subsets of modalities: {2 ** len(modalities) - 1} for the "
            f"{len(modalities)} given here. It is limited to {MAX_MOPOE_MODALITIES} modalities; use MMVAE or MMVAEPlusPlus, "
            "whose cost grows with M^2, or choose modalities through `layers` in `setup_mudata`."
        )
    subsets = [s for size in range(1, len(modalities) + 1) for s in combinations(modalities, size)]
    return Objective(
        tuple(Term(Expert(s), m, cross_private=cross_private) for s in subsets for m in modalities), "product"
    )


def mmvae(modalities: Sequence[str], cross_private: CrossPrivate = "zeros") -> Objective:
    """Table of the MMVAE: each modality alone explains every modality."""
    return Objective(
        tuple(Term(Expert((e,)), m, cross_private=cross_private) for e in modalities for m in modalities), "mixture"
    )


def mmvae_plus_plus(modalities: Sequence[str], cross_private: CrossPrivate = "zeros") -> Objective:
    """Table of the MMVAE++: as the MMVAE, but a modality's own reconstruction sends no gradient into the shared latent."""
    return Objective(
        tuple(
            Term(Expert((e,)), m, detach_shared=e == m, cross_private=cross_private)
            for e in modalities
            for m in modalities
        ),
        "mixture",
    )
