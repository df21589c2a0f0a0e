"""Real data for the tests that want it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(os.environ.get("VENNVI_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Function from the name of a data set to the path of its ``.h5mu``; it skips the test if there is none.

    The folder is the environment variable ``VENNVI_DATA``, by default ``../shared/data`` beside the project.
    """

    def path(name: str) -> Path:
        file = DATA / f"{name}.h5mu"
        if not file.exists():
            pytest.skip(f"{file} is not there: set VENNVI_DATA to the folder of {file.name}")
        return file

    return path
