"""Workloads as data: which matrices, how many cells, what one timed turn is, and who takes part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["counts", "binary", "protein", "real"]

_LIKELIHOODS = {"counts": "nb", "binary": "bernoulli", "protein": "nb", "real": "normal"}


@dataclass(frozen=True)
class Modality:
    """One matrix: sparse counts or 0/1 of a density, dense protein counts, or dense real values."""

    kind: Kind
    n_features: int
    density: float = 1.0

    @property
    def likelihood(self) -> str:
        """Name of the likelihood that our models have for it."""
        return _LIKELIHOODS[self.kind]

    @property
    def is_sparse(self) -> bool:
        """Whether the matrix is stored sparse."""
        return self.kind in ("counts", "binary")


@dataclass(frozen=True)
class Workload:
    """What is trained on, and what one timed turn is.

    Parameters
    ----------
    name
        On the command line.
    title
        In tables.
    n_obs
        Cells.
    modalities
        Matrices by name.
    models
        Names of those that take part.
    reference
        Name of the one that the ratios are over; empty for none.
    unit
        ``"epoch"``: a turn is one epoch of a training that goes on; ``"training"``: a turn is one whole training, from
        data to trained model.
    n_epochs
        Epochs of a turn.
    n_shared, n_private
        Latent sizes (peers: ``n_shared``).
    batch_size
        Cells in a minibatch.
    n_whole
        Cells before the workload was shrunk; 0 if it was not.
    """

    name: str
    title: str
    n_obs: int
    modalities: Mapping[str, Modality]
    models: tuple[str, ...]
    reference: str = ""
    unit: Literal["epoch", "training"] = "epoch"
    n_epochs: int = 1
    n_shared: int = 10
    n_private: int = 10
    batch_size: int = 128
    n_whole: int = 0

    def shrunk(self, n_obs: int) -> Workload:
        """Return the workload with fewer cells; one with no more than that stays as it is."""
        if n_obs >= self.n_obs:
            return self
        return dataclasses.replace(self, n_obs=n_obs, n_whole=self.n_whole or self.n_obs)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two timings to stand in one table."""
        return {
            k: v for k, v in dataclasses.asdict(self).items() if k not in ("title", "models", "n_whole", "reference")
        }


_OURS = ("MMVAEPlusPlus", "VennVI")
_OTHERWISE = ("MMVAEPlusPlus-quarter", "VennVI-quarter", "MMVAEPlusPlus-bf16", "VennVI-bf16")


def _multiome(name: str, n_peaks: int, density: float, *others: str) -> Workload:
    return Workload(
        name,
        f"2,000 genes at 10 % + {n_peaks:,} peaks at {density:.0%}".replace("%", " %").replace("  ", " "),
        10_000,
        {"rna": Modality("counts", 2_000, 0.1), "atac": Modality("binary", n_peaks, density)},
        (*_OURS, *_OTHERWISE, *others, "MULTIVI"),
        reference="MULTIVI",
    )


#: The workloads by name.
WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        _multiome("peaks-20k", 20_000, 0.05, "MMVAEPlusPlus-compiled"),
        _multiome("peaks-100k", 100_000, 0.03),
        Workload(
            "proteins",
            "2,000 genes at 10 % + 100 proteins",
            10_000,
            {"rna": Modality("counts", 2_000, 0.1), "protein": Modality("protein", 100)},
            (*_OURS, "TOTALVI"),
            reference="TOTALVI",
        ),
        Workload(
            "gaussian",
            "260 + 110 real values",
            800,
            {"view1": Modality("real", 260), "view2": Modality("real", 110)},
            (*_OURS, "bare", "multivae-MMVAEPlus"),
            reference="bare",
            unit="training",
            n_epochs=100,
            n_shared=5,
            n_private=5,
        ),
    )
}


def get_workload(name: str) -> Workload:
    """Workload by name.

    Raises
    ------
    ValueError
        If there is none; the message lists the names.

    Examples
    --------
    >>> get_workload("peaks-20k").modalities["atac"].n_features
    20000
    """
    try:
        return WORKLOADS[name.strip()]
    except KeyError:
        raise ValueError(f"There is no workload {name!r}; the workloads are {', '.join(WORKLOADS)}.") from None
