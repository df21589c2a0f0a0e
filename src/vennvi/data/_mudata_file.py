"""What a MuData file is like that comes out where one went in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
from mudata import MuData

#: Where scvi-tools writes.
_KINDS = ("obs", "obsm", "uns")
#: Modality (``""`` for the MuData itself), one of these, and key.
Mark = tuple[str, str, str]


def compression_of(path: Path) -> str | None:
    """How the first compressed array of a ``.h5mu`` file is compressed; ``None`` if none is."""

    def found(_: str, item: h5py.Group | h5py.Dataset) -> str | None:
        return item.compression if isinstance(item, h5py.Dataset) else None

    with h5py.File(path, "r") as file:
        compression = file.visititems(found)
    return compression if compression in ("gzip", "lzf") else None


def scvi_marks(mdata: MuData) -> dict[Mark, Any]:
    """What scvi-tools wrote into ``.obs``, ``.obsm`` and ``.uns`` of a MuData and its modalities, all called ``_scvi_...``."""
    return {
        (m, kind, key): held[key]
        for (m, kind), held in _places(mdata).items()
        for key in held
        if str(key).startswith("_scvi")
    }


def restore_scvi_marks(mdata: MuData, marks: Mapping[Mark, Any]) -> None:
    """Leave of them what there was before, as it was."""
    places = _places(mdata)
    for mark in scvi_marks(mdata).keys() - marks.keys():
        m, kind, key = mark
        del places[m, kind][key]
    for (m, kind, key), value in marks.items():
        places[m, kind][key] = value


def _places(mdata: MuData) -> dict[tuple[str, str], Any]:
    holders = {"": mdata, **mdata.mod}
    return {(m, kind): getattr(holder, kind) for m, holder in holders.items() for kind in _KINDS}
