"""The root of a collection on disk: what says that a folder is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vennvi._keys import COLLECTION

if TYPE_CHECKING:
    import zarr


def open_root(folder: Path) -> zarr.Group | None:
    """Root of the collection in a folder, to be read; ``None`` if that is no collection of vennvi's."""
    import zarr

    try:
        root = zarr.open_group(folder, mode="r")
    except FileNotFoundError:  # what zarr says of a folder that is none of its own
        return None
    return root if COLLECTION in root.attrs else None
