"""A file or a folder that is replaced is either the new one or the old one."""

from __future__ import annotations

import os
import shutil

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


def test_a_link_to_a_folder_is_replaced_and_what_it_led_to_stays(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "old").write_text("old")
    link.symlink_to(real)
    with _files.atomic_folder(link, overwrite=True) as part:
        (part / "new").write_text("new")
    assert [path.name for path in link.iterdir()] == ["new"]
    assert [path.name for path in real.iterdir()] == ["old"]
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_a_link_to_a_file_stays_one(tmp_path):
    real, link = tmp_path / "deep" / "real.csv", tmp_path / "link.csv"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(real)
    with _files.atomic_path(link) as part:
        part.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert sorted(tmp_path.rglob("*")) == [real.parent, real, link]


def test_a_folder_that_is_still_written_to_is_removed(tmp_path, monkeypatch):
    """By threads of a writer that was interrupted; what interrupted it is not hidden."""
    rmtree, calls = shutil.rmtree, []

    def written_to(folder, **kwargs):
        calls.append(folder)
        if len(calls) > 2:
            rmtree(folder, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", written_to)
    with pytest.raises(KeyboardInterrupt), _files.atomic_folder(tmp_path / "tables"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    """Process ids come again, in containers with every run."""
    names = set()
    for _ in range(2):
        with _files.atomic_folder(tmp_path / "tables", overwrite=True) as part:
            names.add(part.name)
    assert len(names) == 2


@pytest.mark.parametrize("write", [_files.atomic_path, _files.atomic_folder])
def test_folders_made_for_what_failed_are_gone(write, tmp_path):
    with pytest.raises(RuntimeError), write(tmp_path / "deep" / "deeper" / "table"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        _files.check_writable(tmp_path)
    with pytest.raises(OSError, match=r"table.csv cannot be written: a file is where its folder should be\."):
        _files.check_writable(tmp_path / "file" / "table.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "file" / "table.csv")
    with pytest.raises(OSError, match=r"link.csv cannot be written"):
        _files.check_writable(tmp_path / "link.csv")
    (tmp_path / "link.csv").unlink()
    _files.check_writable(tmp_path / "file")
    _files.check_writable(tmp_path / "deep" / "table.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "kept")]
