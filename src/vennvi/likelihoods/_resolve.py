"""Likelihoods by the name that users give, and which one data have."""

from __future__ import annotations

from vennvi.data._summary import FeatureSummary
from vennvi.likelihoods._base import Likelihood
from vennvi.likelihoods._bernoulli import BernoulliLikelihood
from vennvi.likelihoods._negative_binomial import NegativeBinomialLikelihood, ZeroInflatedNegativeBinomialLikelihood
from vennvi.likelihoods._normal import NormalLikelihood
from vennvi.likelihoods._poisson import PoissonLikelihood

#: Likelihood classes by the name that users give.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": NormalLikelihood,
    "bernoulli": BernoulliLikelihood,
    "poisson": PoissonLikelihood,
    "nb": NegativeBinomialLikelihood,
    "zinb": ZeroInflatedNegativeBinomialLikelihood,
}

#: Likelihood chosen for data of each kind when the user names none.
DEFAULTS = {"binary": "bernoulli", "counts": "nb", "real": "normal"}


def name_of(likelihood: Likelihood) -> str:
    """Name of a likelihood, as the user gives it."""
    return next(name for name, cls in LIKELIHOODS.items() if type(likelihood) is cls)


def resolve_likelihood(name: str | None, summary: FeatureSummary, modality: str) -> str:
    """Name of a modality's likelihood: the user's if the data fit it, by default the one for data of that kind.

    Raises
    ------
    ValueError
        If there is no likelihood of that name, or the data contradict it; the message says what was found in the
        modality and which likelihoods fit.
    """
    if name is None:
        return DEFAULTS[summary.kind]
    if name not in LIKELIHOODS:
        raise ValueError(
            f"Unknown likelihood {name!r} for modality {modality!r}: choose among {', '.join(LIKELIHOODS)}."
        )
    if summary.kind not in LIKELIHOODS[name].fits:
        fitting = [other for other, cls in LIKELIHOODS.items() if summary.kind in cls.fits]
        remedy = " Binarise the counts into a layer of their own first." if name == "bernoulli" else ""
        raise ValueError(
            f"Likelihood {name!r} does not fit modality {modality!r}, which holds {summary.describe()}: "
            f"use {' or '.join(repr(f) for f in fitting)}.{remedy if summary.kind == 'counts' else ''}"
        )
    return name
