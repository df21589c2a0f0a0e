"""The API page of the documentation names every public name."""

from __future__ import annotations

from pathlib import Path

import pytest

import vennvi

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text().split()


@pytest.mark.parametrize(
    "namespace", [vennvi, vennvi.data, vennvi.metrics, vennvi.pl], ids=lambda module: module.__name__
)
def test_every_public_name_is_on_the_page(namespace):
    prefix = "" if namespace is vennvi else namespace.__name__.removeprefix("vennvi.") + "."
    modules = {"data", "metrics", "pl"} if namespace is vennvi else set()
    missing = {prefix + name for name in set(namespace.__all__) - modules} - set(PAGE)
    assert not missing
