from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from vennvi.benchmark import Cell, Latents
from vennvi.benchmark._progress import Progress
from vennvi.benchmark._results import cell_frame


@pytest.mark.parametrize("width", [80, 160])
def test_shows_count_last_number_and_failures_once(tiny, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)

    def frame(model, seed, status, reason=""):
        rows = pd.DataFrame({"space": ["shared"], "target": ["y"], "metric": ["auc_test"], "value": [0.876]})
        rows = rows if status == "ok" else pd.DataFrame()
        cell = Cell(tiny.name, "low", model, Latents(1, 1), seed, False)
        return cell_frame(tiny, cell, rows, status=status, seconds=1.0, reason=reason)

    with Progress(tiny, n_done=1, n_all=5, console=console) as bar:
        bar.advance(frame("MOFA", 0, "cannot", "it is [not] there"))
        bar.advance(frame("MOFA", 1, "cannot", "it is [not] there"))
        bar.advance(frame("MVAE", 0, "ok"))
    shown = console.file.getvalue()
    assert shown.count("MOFA cannot run: it is [not] there") == 1
    last = [line for line in re.split(r"[\r\n]|\x1b\[\S*?[A-Za-z]", shown) if "4/5" in line][-1]
    assert "MVAE low" in last
    assert len(last) <= width
    if width > 80:
        assert "auc_test 0.88" in last
