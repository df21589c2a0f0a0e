"""The API page of the documentation names every public name."""

from __future__ import annotations

from inspect import ismodule
from pathlib import Path

import pytest

import vennvi

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
NAMESPACES = [vennvi, *(value for value in map(vars(vennvi).get, vennvi.__all__) if ismodule(value))]


@pytest.mark.parametrize("namespace", NAMESPACES, ids=lambda module: module.__name__)
def test_every_public_name_is_on_the_page(namespace):
    prefix = f"{namespace.__name__}.".removeprefix("vennvi.")
    public = {prefix + name for name in namespace.__all__ if not ismodule(getattr(namespace, name))}
    assert public - set(PAGE.read_text().split()) == set()
