"""Files that are either whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Path to write to, in the same folder and with the same ending; it takes the place of ``path`` if all went well.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "table.csv"
    >>> with atomic_path(target) as part:
    ...     _ = part.write_text("a,b")
    ...     print(target.exists())
    False
    >>> target.read_text()
    'a,b'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Folder to write into, beside ``path``; it takes the place of ``path`` if all went well, which stays otherwise.

    Raises
    ------
    FileExistsError
        If ``path`` exists and is not to be overwritten.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "tables"
    >>> with atomic_folder(target) as part:
    ...     _ = (part / "table.csv").write_text("a,b")
    ...     print(target.exists())
    False
    >>> [file.name for file in target.iterdir()]
    ['table.csv']
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name, or pass `overwrite=True`.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = (path.with_name(f".{path.stem}.{os.getpid()}.{word}{path.suffix}") for word in ("part", "old"))
    try:
        part.mkdir()
        yield part
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(part, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        for leftover in (part, old):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
