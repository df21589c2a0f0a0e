from __future__ import annotations

import dataclasses
import os
import signal

import joblib
import numpy as np
import pandas as pd
import pytest

from vennvi.benchmark import OtherResultsError, cells_of, get_model, run
from vennvi.benchmark._preflight import CannotStartError
from vennvi.benchmark._results import read_frame, write_atomically
from vennvi.benchmark._run import _threads_per_job

#: Differ between two runs of the same cell.
VOLATILE = ["seconds", "date"]


def stems(out):
    return sorted(path.stem for path in (out / "cells").glob("*.csv"))


def test_every_cell_is_run_once_and_reported(tiny, truth, tmp_path):
    model = truth()
    results = run(tiny, tmp_path, models=[model], progress=False)

    assert model.adapter.n_fits == 4  # 2 conditions x 2 seeds
    assert stems(tmp_path) == sorted(cell.slug for cell in cells_of(tiny, [model]))
    assert {path.name for path in tmp_path.iterdir()} == {
        "cells",
        "experiment.json",
        "figure.png",
        "results.csv",
        "summary.csv",
        "table.md",
    }
    pd.testing.assert_frame_equal(read_frame(tmp_path / "results.csv"), results, check_exact=False, rtol=1e-4)
    assert set(results["status"]) == {"ok"}
    assert results["versions"].str.contains("torch").all()
    assert results["versions"].str.contains("python 3").all()
    assert results["date"].str.match(r"\d{4}-\d\d-\d\d").all()
    auc = results[(results["space"] == "shared") & (results["metric"] == "auc_test")]
    assert (auc["value"] == 1.0).all()
    assert auc.groupby("condition")["seed"].apply(sorted).to_dict() == {"low": [0, 1], "high": [0, 1]}


def test_finished_cells_are_not_run_again(tiny, truth, tmp_path):
    first = run(tiny, tmp_path, models=[truth()], progress=False)
    again = truth()
    second = run(tiny, tmp_path, models=[again], progress=False)
    assert again.adapter.n_fits == 0
    pd.testing.assert_frame_equal(first, second)

    more = truth()
    run(dataclasses.replace(tiny, n_seeds=3), tmp_path, models=[more], progress=False)
    assert more.adapter.n_fits == 2  # the third seed of both conditions


def test_resume_after_an_interruption(tiny, truth, tmp_path):
    interrupted = truth(fit3=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path, models=[interrupted], progress=False)
    assert len(stems(tmp_path)) == 2
    assert len(read_frame(tmp_path / "results.csv")[["condition", "seed"]].drop_duplicates()) == 2

    resumed = truth()
    results = run(tiny, tmp_path, models=[resumed], progress=False)
    assert resumed.adapter.n_fits == 2
    whole = run(tiny, tmp_path / "whole", models=[truth()], progress=False)
    pd.testing.assert_frame_equal(results.drop(columns=VOLATILE), whole.drop(columns=VOLATILE))


def test_a_failing_cell_is_a_row_with_its_reason(tiny, truth, tmp_path):
    failing = truth(fit2=ZeroDivisionError("a reason\nof two lines"))
    results = run(tiny, tmp_path, models=[failing], progress=False)
    assert failing.adapter.n_fits == 4  # the others go on

    [row] = results[results["status"] == "failed"].to_dict("records")
    assert row["reason"] == "ZeroDivisionError: a reason of two lines"
    assert np.isnan(row["value"])
    [log] = (tmp_path / "cells").glob("*.log")
    assert "Traceback" in log.read_text()
    assert "failed" in (tmp_path / "table.md").read_text()

    again = truth()
    run(tiny, tmp_path, models=[again], progress=False)
    assert again.adapter.n_fits == 0  # not by itself
    results = run(tiny, tmp_path, models=[again], retry=True, progress=False)
    assert again.adapter.n_fits == 1
    assert set(results["status"]) == {"ok"}
    assert not list((tmp_path / "cells").glob("*.log"))


def test_what_the_environment_lacks_is_no_result(tiny, truth, tmp_path):
    def absent(**_):
        raise FileNotFoundError("Set VENNVI_DATA.")

    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="VENNVI_DATA"):
        run(dataclasses.replace(tiny, build=absent), out, models=[truth()], progress=False)
    with pytest.raises(CannotStartError, match="no accelerator 'banana': choose auto, gpu, cpu"):
        run(tiny.restrict(accelerator="banana"), out, models=[truth()], progress=False)
    assert not out.exists()
    broken = dataclasses.replace(tiny, build=lambda **_: 1 / 0)
    assert set(run(broken, out, models=[truth()], progress=False)["status"]) == {"failed"}


def test_an_unreadable_cell_is_run_again(tiny, truth, tmp_path):
    whole = run(tiny, tmp_path, models=[truth()], progress=False)
    path = min((tmp_path / "cells").glob("*.csv"))
    path.write_text("")
    again = truth()
    results = run(tiny, tmp_path, models=[again], progress=False)
    assert again.adapter.n_fits == 1
    pd.testing.assert_frame_equal(results.drop(columns=VOLATILE), whole.drop(columns=VOLATILE))


def test_an_empty_folder_is_free(tiny, truth, tmp_path):
    run(dataclasses.replace(tiny, conditions=()), tmp_path, models=[truth()], progress=False)
    run(tiny.restrict(max_epochs=7), tmp_path, models=[truth()], progress=False)
    cells = stems(tmp_path)
    with pytest.raises(OtherResultsError, match="max_epochs 7, not 8"):
        run(tiny.restrict(max_epochs=8), tmp_path, models=[truth()], progress=False)
    assert stems(tmp_path) == cells


def test_a_folder_is_claimed_from_the_start(tiny, truth, tmp_path):
    """While the first run is in its first cell, another one with other settings is refused."""

    def another(**kwargs):
        with pytest.raises(OtherResultsError, match="max_epochs 1, not 8"):
            run(tiny.restrict(max_epochs=8), tmp_path, models=[truth()], progress=False)
        return tiny.build(**kwargs)

    first = truth()
    fit = first.adapter.fit
    object.__setattr__(
        first.adapter, "fit", lambda data, *args, **kwargs: (another(seed=0, noise=0.1), fit(data, *args, **kwargs))[1]
    )
    assert set(run(tiny, tmp_path, models=[first], progress=False)["status"]) == {"ok"}


def test_an_interruption_of_a_training_is_one_of_the_run(tiny, tmp_path, monkeypatch):
    """Lightning leaves the interpreter instead, deaf to further interruptions."""
    from vennvi.train import SharedPrivateTrainingPlan

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SharedPrivateTrainingPlan, "training_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path, models=[get_model("MVAE")], progress=False)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_model_that_cannot_run_is_shown_as_such(tiny, truth, refusing, tmp_path):
    results = run(tiny, tmp_path, models=[truth(), refusing], progress=False)
    refused = results[results["model"] == "refusing"]
    assert set(refused["status"]) == {"cannot"}
    assert set(refused["reason"]) == {"it is not made for | such data"}
    table = (tmp_path / "table.md").read_text()
    assert "| refusing | cannot run | cannot run |" in table
    assert "- refusing cannot run at low, high (4 runs): it is not made for | such data" in table


def test_only_models_with_a_supervised_variant_see_labels(tiny, truth, refusing, tmp_path):
    both = dataclasses.replace(tiny, supervision=(False, True), n_seeds=1)
    results = run(both, tmp_path, models=[truth(), refusing], progress=False)
    assert results.groupby("model")["supervised"].unique().map(sorted).to_dict() == {
        "truth": [False, True],
        "refusing": [False],
    }
    classifier = results[results["space"] == "classifier"]
    assert set(classifier["supervised"]) == {True}
    assert (classifier["value"] == 1.0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"settings": {"max_epochs": 7}}, "max_epochs 1, not 7", id="epochs"),
        pytest.param({"settings": {"lr": 0.5}}, "lr 0.001, not 0.5", id="learning-rate"),
        pytest.param({"name": "other"}, "experiment tiny, not other", id="experiment"),
        pytest.param({"noise": 3.0}, "condition low made with", id="data"),
    ],
)
def test_results_of_other_settings_are_not_mixed(tiny, truth, tmp_path, change, said):
    run(tiny, tmp_path, models=[truth()], progress=False)
    settings = dataclasses.replace(tiny.settings, **change.get("settings", {}))
    low = dataclasses.replace(tiny.conditions[0], params={"noise": change.get("noise", 0.1)})
    other = dataclasses.replace(
        tiny, name=change.get("name", tiny.name), settings=settings, conditions=(low, *tiny.conditions[1:])
    )
    with pytest.raises(OtherResultsError, match=said):
        run(other, tmp_path, models=[truth()], progress=False)


def test_part_of_the_sweep_may_be_run_first(tiny, truth, tmp_path):
    run(tiny.restrict(conditions=["high"]), tmp_path, models=[truth()], progress=False)
    run(tiny.restrict(conditions=["low"]), tmp_path, models=[truth()], progress=False)
    rest = truth()
    results = run(tiny, tmp_path, models=[rest], progress=False)
    assert rest.adapter.n_fits == 0
    assert list(dict.fromkeys(results["condition"])) == ["low", "high"]  # the experiment's order


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.csv"
    write_atomically(path, "old")

    def fail(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_cell_to_be_run(tiny, truth, tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        if str(target).endswith("seed1.csv"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path, models=[truth()], progress=False)
    monkeypatch.undo()
    assert all(stem.endswith("seed0") for stem in stems(tmp_path))
    assert not list((tmp_path / "cells").glob(".*"))
    resumed = truth()
    run(tiny, tmp_path, models=[resumed], progress=False)
    assert resumed.adapter.n_fits == 2


@pytest.mark.parametrize(
    ("jobs", "wanted", "expected"),
    [
        pytest.param(1, None, 8, id="all-cores"),
        pytest.param(3, None, 2, id="share"),
        pytest.param(16, None, 1, id="at-least-one"),
        pytest.param(1, "2", 2, id="lowered"),
        pytest.param(4, "4", 2, id="not-raised"),
    ],
)
def test_threads_are_held_to_the_cores(jobs, wanted, expected, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wanted:
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert _threads_per_job(jobs) == expected


def test_jobs_must_be_positive(tiny, tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        run(tiny, tmp_path, jobs=0)


@pytest.mark.slow
def test_parallel_equals_serial(tmp_path):
    from vennvi.benchmark import get_experiment

    models = [get_model("PCA+CCA"), get_model("TOTALVI")]
    experiment = get_experiment("gp").quickened().restrict(models=[m.name for m in models], n_seeds=2)
    serial = run(experiment, tmp_path / "serial", models=models, jobs=1, progress=False)
    parallel = run(experiment, tmp_path / "parallel", models=models, jobs=2, progress=False)
    assert set(serial["status"]) == {"ok", "cannot"}
    pd.testing.assert_frame_equal(serial.drop(columns=VOLATILE), parallel.drop(columns=VOLATILE), rtol=1e-4)
