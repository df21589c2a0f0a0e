"""What every test and every example of a docstring starts from."""

from __future__ import annotations

import logging
import os

import pytest

# Read when tqdm and matplotlib are imported, so before any test module is.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed torch and numpy through scvi-tools, so that no test depends on those before it."""
    import scvi

    monkeypatch.setenv("XLA_FLAGS", "")  # scvi-tools appends to it at every seeding
    scvi.settings.seed = 0
    scvi.settings.verbosity = logging.WARNING  # what is logged is no output of an example
    logging.getLogger("scvi.vennvi").setLevel(logging.NOTSET)  # which the command line raises
