"""Without annbatch: what is missing, where it comes from, and what to do instead."""

from __future__ import annotations

import sys

import pytest
from toy import toy_mudata

import vennvi
from vennvi.data import _annbatch


@pytest.fixture
def without_annbatch(monkeypatch):
    monkeypatch.setattr(_annbatch, "find_spec", lambda name: None)


def test_names_the_extra_and_the_reason(without_annbatch, tmp_path, monkeypatch):
    with pytest.raises(ImportError, match=r"writing a collection needs it: `pip install 'vennvi\[ondisk\]'`"):
        vennvi.data.write_collection(toy_mudata(2), tmp_path / "toy.zarr")
    with pytest.raises(ImportError, match=r"reading a collection needs it"):
        vennvi.data.AnnbatchMuDataModule(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(
        _annbatch, "sys", type("sys", (), {"version_info": type("V", (tuple,), {"major": 3, "minor": 11})((3, 11))})
    )
    with pytest.raises(ImportError, match=r"needs Python 3\.12 or newer, and this is Python 3\.11; a backed MuData"):
        _annbatch.require_annbatch("reading")
    assert sys.version_info >= (3, 11)
