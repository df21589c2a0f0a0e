"""A file or a folder that is replaced is either the new one or the old one."""

from __future__ import annotations

import os

import pytest

from vennvi import _files


@pytest.mark.parametrize("fails_at", [1, 2], ids=["putting the old away", "putting the new in place"])
def test_a_folder_whose_replacement_fails_stays(fails_at, tmp_path, monkeypatch):
    target = tmp_path / "tables"
    target.mkdir()
    (target / "old.csv").write_text("old")
    calls, replace = [], os.replace

    def failing(source, destination):
        calls.append(source)
        if len(calls) == fails_at:
            raise OSError("disk full")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk full"), _files.atomic_folder(target, overwrite=True) as part:
        (part / "new.csv").write_text("new")
    assert [path.name for path in target.iterdir()] == ["old.csv"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "tables"
    for name in ("old", "new"):
        with _files.atomic_folder(target, overwrite=True) as part:
            (part / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_while_writing_leaves_what_there_was(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write_half():
        with _files.atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
