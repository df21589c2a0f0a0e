"""What every test and every example of a docstring starts from."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec

import pytest

# Examples of what needs an extra that is not there; annbatch needs Python 3.12 or newer.
_NEED = {
    "annbatch": ("data/_data_module.py", "data/_row_sampler.py", "data/_write_collection.py"),
    "captum": ("explain/_attribution.py", "model/_feature_attributions.py"),
}
collect_ignore = [f"src/vennvi/{path}" for extra, paths in _NEED.items() if not find_spec(extra) for path in paths]

# Read when tqdm and matplotlib are imported, so before any test module is.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests run in several processes, of one thread each. numba, when UMAP first runs, gives OpenMP back all of the cores, and
# torch's threads then wait for each other.
if "OMP_NUM_THREADS" in os.environ:
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed torch and numpy through scvi-tools, so that no test depends on those before it."""
    import scvi

    monkeypatch.setenv("XLA_FLAGS", "")  # scvi-tools appends to it at every seeding
    scvi.settings.seed = 0
    scvi.settings.verbosity = logging.WARNING  # what is logged is no output of an example
    logging.getLogger("scvi.vennvi").setLevel(logging.NOTSET)  # which the command line raises
