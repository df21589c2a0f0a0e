"""The experiments, one file a family."""

from __future__ import annotations

from vennvi.benchmark._experiment import Experiment
from vennvi.benchmark.experiments.brca import BRCA, BRCA_3VIEWS
from vennvi.benchmark.experiments.citeseq import CITESEQ
from vennvi.benchmark.experiments.citeseq_types import CITESEQ_TYPES
from vennvi.benchmark.experiments.cll import CLL, CLL_ALL_SAMPLES
from vennvi.benchmark.experiments.gp import EVEN, GP, THREE_VIEWS, WIGGLY
from vennvi.benchmark.experiments.multiome import MULTIOME
from vennvi.benchmark.experiments.multiome_types import MULTIOME_TYPES
from vennvi.benchmark.experiments.shuffled import SHUFFLED

__all__ = ["EXPERIMENTS", "get_experiment"]

_ALL = (
    GP,
    WIGGLY,
    EVEN,
    THREE_VIEWS,
    SHUFFLED,
    CLL,
    CLL_ALL_SAMPLES,
    BRCA,
    BRCA_3VIEWS,
    MULTIOME,
    CITESEQ,
    MULTIOME_TYPES,
    CITESEQ_TYPES,
)

#: The experiments by name.
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in _ALL}


def get_experiment(name: str) -> Experiment:
    """Experiment by name.

    Raises
    ------
    ValueError
        If there is none; the message lists the names.
    """
    try:
        return EXPERIMENTS[name]
    except KeyError:
        raise ValueError(f"There is no experiment {name!r}; the experiments are {', '.join(EXPERIMENTS)}.") from None
