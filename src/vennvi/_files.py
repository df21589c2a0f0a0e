"""Files that are either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def check_writable(path: Path | str) -> None:
    """Refuse a file that could not be written, before what is to be in it is computed.

    Raises
    ------
    OSError
        If the path is a folder, or if its folder cannot be made or written to.

    Examples
    --------
    >>> check_writable(".")
    Traceback (most recent call last):
    ...
    IsADirectoryError: . is a folder: give the name of a file.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file.")
    folder = _followed(path).parent
    try:
        with _made(folder), tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is where its folder should be" if in_the_way else error.strerror
        raise type(error)(f"{path} cannot be written: {reason}.") from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there meanwhile; afterwards, what was made for it and is still empty is gone."""
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in absent:
            if each.is_dir() and not any(each.iterdir()):
                each.rmdir()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Path to write to, in the same folder and with the same ending; it takes the place of ``path`` if all went well.

    A link to a file stays one: what it leads to is replaced.

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
    path = _followed(Path(path))
    part = _beside(path, "part")
    with _made(path.parent):
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
    part, old = (_beside(path, word) for word in ("part", "old"))
    with _made(path.parent):
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
                if leftover.is_dir() and not leftover.is_symlink():
                    _remove(leftover)
                else:
                    leftover.unlink(missing_ok=True)


def _followed(path: Path) -> Path:
    """What a link leads to."""
    return path.resolve() if path.is_symlink() else path


def _remove(folder: Path) -> None:
    """Remove a folder that threads of an interrupted writer may still write to for a moment."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _beside(path: Path, word: str) -> Path:
    """A name in the same folder that nobody else has, with the same ending."""
    return path.with_name(f".{path.stem}.{uuid4().hex[:12]}.{word}{path.suffix}")
