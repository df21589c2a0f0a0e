"""The gallery shows every figure, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from vennvi import pl

DOCS = Path(__file__).parents[2] / "docs"


def _drawn() -> set[str]:
    """Keys of ``FIGURES`` in the script, which is not run."""
    for node in ast.parse((DOCS / "make_gallery.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FIGURES":
            return set(map(ast.literal_eval, node.value.keys))
    raise AssertionError("no FIGURES")


def test_every_figure_is_drawn_stored_and_shown():
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    images = {path.stem: path for path in (DOCS / "_static" / "gallery").glob("*.png")}
    assert set(images) == set(pl.__all__)
    assert _drawn() == set(pl.__all__)
    assert set(re.findall(r"_static/gallery/(\w+)\.png", page)) == set(pl.__all__)
    assert set(re.findall(r"vennvi\.pl\.(\w+)\(", page)) == set(pl.__all__)
    assert all(path.stat().st_size < 300_000 for path in images.values())
