"""Growth curves: one race an axis and model, in which it takes turns with itself on workloads of growing size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vennvi.benchmark.speed._workload import Modality, Workload

#: Models whose growth is measured.
GROWING = ("MMVAEPlusPlus", "VennVI")


@dataclass(frozen=True)
class Axis:
    """What grows, and through which values."""

    name: str
    title: str
    values: tuple[int, ...]
    quick_values: tuple[int, ...]
    workload: Callable[[int], Workload]

    def race(self, model: str) -> str:
        """Name of the race of one model."""
        return f"growth-{self.name}-{model}"

    def workloads(self, *, quick: bool = False) -> list[Workload]:
        """Return the workloads, smallest first; their names end in the value."""
        return [self.workload(value) for value in (self.quick_values if quick else self.values)]


def value_of(workload: str) -> int:
    """Value of an axis, from the name of its workload.

    Examples
    --------
    >>> value_of("cells-5000")
    5000
    """
    return int(workload.rpartition("-")[2])


def _multiome(name: str, n_obs: int, n_peaks: int, density: float, n_latent: int = 10) -> Workload:
    return Workload(
        name,
        name,
        n_obs,
        {"rna": Modality("counts", 2_000, 0.1), "atac": Modality("binary", n_peaks, density)},
        GROWING,
        n_shared=n_latent,
        n_private=n_latent,
    )


def _modalities(n: int) -> Workload:
    return Workload(
        f"modalities-{n}", "", 2_000, {f"m{i}": Modality("counts", 2_000, 0.1) for i in range(1, n + 1)}, GROWING
    )


#: The axes.
AXES = (
    Axis(
        "cells",
        "cells (2,000 genes + 5,000 peaks)",
        (5_000, 10_000, 20_000, 50_000, 100_000, 200_000),
        (256, 512, 1_024),
        lambda n: _multiome(f"cells-{n}", n, 5_000, 0.05),
    ),
    Axis(
        "peaks",
        "peaks (1,500 cells, 3 % stored)",
        (5_000, 10_000, 20_000, 50_000, 100_000, 200_000),
        (1_000, 2_000, 4_000),
        lambda n: _multiome(f"peaks-{n}", 1_500, n, 0.03),
    ),
    Axis("modalities", "modalities (2,000 cells x 2,000 genes each)", (2, 3, 4, 5, 6), (2, 3), _modalities),
    Axis(
        "latents",
        "dimensions of every latent space (2,000 cells, 2,000 genes + 20,000 peaks)",
        (5, 10, 20, 50, 100),
        (5, 20),
        lambda n: _multiome(f"latents-{n}", 2_000, 20_000, 0.05, n),
    ),
)


def axes_named(names: Iterable[str]) -> list[Axis]:
    """Axes by name, in their order; ``"all"`` names all.

    Raises
    ------
    ValueError
        If there is none of a name; the message lists the names.

    Examples
    --------
    >>> [axis.name for axis in axes_named(["peaks", "cells"])], len(axes_named(["all"]))
    (['cells', 'peaks'], 4)
    """
    wanted, known = {name.strip() for name in names}, {axis.name for axis in AXES}
    if unknown := wanted - known - {"all"}:
        raise ValueError(f"There is no growth curve over {min(unknown)!r}; they are over {', '.join(sorted(known))}.")
    return [axis for axis in AXES if axis.name in wanted or "all" in wanted]
