"""The optional dependency behind data on disk."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec


def require_annbatch(purpose: str) -> None:
    """Refuse to go on without annbatch, and say how to get it.

    Raises
    ------
    ImportError
        If annbatch is not installed; the message names the extra, and the Python that annbatch needs.
    """
    if find_spec("annbatch") is not None:
        return
    reason = (
        ""
        if sys.version_info >= (3, 12)
        else f" annbatch needs Python 3.12 or newer, and this is Python {sys.version_info.major}.{sys.version_info.minor}; "
        "a backed MuData (`mudata.read_h5mu(path, backed='r')`) trains from disk here, more slowly."
    )
    raise ImportError(f"annbatch is not installed, and {purpose} needs it: `pip install 'vennvi[ondisk]'`.{reason}")


def fast_zarr() -> AbstractContextManager:
    """Open zarr arrays with the decoder in Rust, if it is installed: several times faster, for the arrays opened inside."""
    if find_spec("zarrs") is None:
        return nullcontext()
    import zarr

    return zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
