"""The tutorials run, and say what they should."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

TUTORIALS = Path(__file__).parents[1] / "tutorials"


@pytest.mark.slow
def test_simulated_multiome():
    found = runpy.run_path(str(TUTORIALS / "simulated_multiome.py"))
    matrix = found["matrix"].set_index(["space", "target", "metric"])["value"]
    assert matrix["shared", "cell type", "accuracy"] > 0.6
    assert matrix["private atac", "atac programme", "r2_knn"] > matrix["shared", "atac programme", "r2_knn"] + 0.3
    explained, shared = found["explained"].per_feature, found["shared_peaks"]
    assert np.nanmean(explained[shared]) > np.nanmean(explained[~shared])


@pytest.mark.slow
def test_cll(real_data, monkeypatch):
    monkeypatch.setenv("VENNVI_DATA", str(real_data("cll").parent))
    found = runpy.run_path(str(TUTORIALS / "cll.py"))
    auc, best = found["found"], found["best"]
    assert best["IGHV"] != best["trisomy12"]
    assert auc.loc["shared", "IGHV"].max() > 0.9
    assert auc.loc["shared", "trisomy12"].max() > 0.9
    mutations = found["shared"]["mutations"]
    assert (mutations.loc[["IGHV", "trisomy12"], "q_value"] <= 0.05).all()
