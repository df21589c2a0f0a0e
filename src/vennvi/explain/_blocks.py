"""The latents of one modality with everything but one block at its mean, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Set of cells that have the modality, and set of those that have another one too.
OWN, PAIRED = 0, 1


@dataclass(frozen=True)
class ModalityLatents:
    """What all chosen cells' latents say of one modality; rows of zeros where a cell lacks what they come from."""

    shared: Tensor
    """Joint shared latents, shape ``(n, n_shared)``."""
    cross: Tensor | None
    """Shared latents from the other modalities, shape ``(n, n_shared)``; ``None`` for a model of one modality."""
    private: Tensor
    """Private latents, shape ``(n, n_private)``."""
    size: Tensor
    """Relative depth, shape ``(n, 1)``."""
    covariates: Tensor | None
    """Shape ``(n, n_covariates)``."""
    sets: Tensor
    """Whether a cell has the modality, and whether it has another one too, shape ``(2, n)``."""

    @property
    def sizes(self) -> list[Tensor]:
        """Relative depths of the cells of each set."""
        return [self.size[inside].squeeze(-1) for inside in self.sets]

    @property
    def means(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Means of shared latents, private latents and covariates over the cells that have the modality."""
        has = self.sets[OWN]
        if not has.any():
            has = torch.ones_like(has)
        return (
            self.shared[has].mean(0),
            self.private[has].mean(0),
            None if self.covariates is None else self.covariates[has].mean(0),
        )

    def blocks(self, rows: slice, *, dimensions: bool) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Name, decoder latents ``(n, n_shared + n_private)`` and covariates of every block, for some cells.

        ``all``, ``none`` (both latents at their means), ``shared``, ``private``, ``cross`` (the others' shared latents
        and zeros for the private ones, as :meth:`predict` does), ``cross private`` (the others' shared latents and the
        cell's own private ones), ``without covariates``; and for dimension ``k``, ``only shared k``,
        ``without shared k`` and likewise for ``private``.
        """
        s, p = self.shared[rows], self.private[rows]
        c = None if self.covariates is None else self.covariates[rows]
        s_mean, p_mean, c_mean = self.means
        s_rest, p_rest = s_mean.expand_as(s), p_mean.expand_as(p)

        def join(shared: Tensor, private: Tensor) -> Tensor:
            return torch.cat([shared, private], dim=-1)

        yield "all", join(s, p), c
        yield "none", join(s_rest, p_rest), c
        yield "shared", join(s, p_rest), c
        yield "private", join(s_rest, p), c
        if self.cross is not None:
            yield "cross", join(self.cross[rows], torch.zeros_like(p)), c
            yield "cross private", join(self.cross[rows], p), c
        if c is not None and c_mean is not None:
            yield "without covariates", join(s, p), c_mean.expand_as(c)
        if not dimensions:
            return
        for k in range(s.shape[1]):
            yield f"only shared {k}", join(_with_column(s_rest, s, k), p_rest), c
            yield f"without shared {k}", join(_with_column(s, s_rest, k), p), c
        for k in range(p.shape[1]):
            yield f"only private {k}", join(s_rest, _with_column(p_rest, p, k)), c
            yield f"without private {k}", join(s, _with_column(p, p_rest, k)), c


def _with_column(z: Tensor, other: Tensor, k: int) -> Tensor:
    """``z`` with column ``k`` of ``other``."""
    z = z.clone()
    z[:, k] = other[:, k]
    return z
