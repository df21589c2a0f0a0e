"""Every string that names something in a registry, a minibatch or a MuData: the only place where they are spelled."""

from __future__ import annotations

#: Prefix of the joint and unimodal shared latents in ``.obsm``.
OBSM_SHARED = "X_shared"
#: Prefix of the private latents in ``mdata[modality].obsm``.
OBSM_PRIVATE = "X_private"
#: Prefix of the explained fractions of features in ``mdata[modality].var``.
EXPLAINED = "r2"


#: Registry key of what was read off data on disk (see :mod:`vennvi.data._statistics`).
STATISTICS = "vennvi_statistics"

#: Attribute of a zarr group that makes it a collection on disk.
COLLECTION = "vennvi_collection"

#: Prefix of the number of cells that a curve of a minibatch is the mean of.
CELLS_BEHIND = "cells_behind_"


#: Name of the curve of :func:`vennvi.metrics.foscttm` on validation cells.
FOSCTTM = "foscttm"


def data_key(modality: str) -> str:
    """Registry and minibatch key of a modality's matrix."""
    return f"X_{modality}"


def mask_key(modality: str) -> str:
    """Minibatch key of a modality's presence mask, shape ``(n, 1)``: 1 where the cell has the modality."""
    return f"mask_{modality}"


def size_factor_key(modality: str) -> str:
    """Registry and minibatch key of a modality's size factors, shape ``(n, 1)``."""
    return f"size_factor_{modality}"


def expert_name(modalities: tuple[str, ...]) -> str:
    """Name of an expert in the training curves, for example ``rna+atac``."""
    return "+".join(modalities)


def reconstruction_name(expert: tuple[str, ...], target: str) -> str:
    """Name of a reconstruction curve in ``model.history``, for example ``reconstruction_rna_to_atac``."""
    return f"reconstruction_{expert_name(expert)}_to_{target}"
