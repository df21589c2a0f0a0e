from __future__ import annotations

import pytest
from typer.testing import CliRunner

from vennvi.benchmark import EXPERIMENTS
from vennvi.benchmark._results import read_frame
from vennvi.benchmark.cli import app

runner = CliRunner(env={"COLUMNS": "200"})


def test_list_names_every_experiment_and_model():
    result = runner.invoke(app, ["list"])
    assert result.exit_code == 0
    for name in [*EXPERIMENTS, "MMVAEPlusPlus", "PCA+CCA", "MOFA", "MULTIVI"]:
        assert name in result.stdout


def test_run_writes_results_and_resumes(tmp_path):
    command = ["run", "gp", "--quick", "--models", "pca+cca", "--seeds", "2", "--out", str(tmp_path)]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    results = read_frame(tmp_path / "results.csv")
    assert set(results["experiment"]) == {"gp-quick"}
    assert set(results["model"]) == {"PCA+CCA"}
    assert set(results["seed"]) == {0, 1}
    assert "PCA + CCA" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figure.png").stat().st_size > 10_000

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert runner.invoke(app, command).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()} == times
    other = runner.invoke(app, [*command, "--max-epochs", "3"])
    assert other.exit_code == 2
    assert "max_epochs" in other.output
    other = runner.invoke(app, [*command, "--batch-size", "32"])
    assert other.exit_code == 2
    assert "batch_size 128, not 32" in other.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["nope"], "no experiment", id="experiment"),
        pytest.param(["gp", "--models", "nope"], "no model", id="model"),
        pytest.param(["gp", "--conditions", "1/1"], "no condition", id="condition"),
        pytest.param(["gp", "--latents", "1+1"], "has latents", id="latents"),
    ],
)
def test_mistakes_are_explained(arguments, said, tmp_path):
    result = runner.invoke(app, ["run", *arguments, "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert said in result.output
    assert not list(tmp_path.iterdir())
