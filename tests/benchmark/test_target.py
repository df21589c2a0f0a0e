from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from vennvi.benchmark import Cell, Group, Latents, Member, Reading, Reference, Target, judge
from vennvi.benchmark._results import cell_frame
from vennvi.benchmark._target_table import target_report

AUC = Reading("shared", "y", "auc_test")
OTHERS = ("MMVAE", "PCA+CCA", "PCA")


@pytest.fixture
def results(tiny):
    """VennVI at three seeds, two other models, one without the space, and one that failed at a seed."""
    frames = []

    def add(model, seed, value, *, space="shared", null=0.0, status="ok", **cell):
        rows = pd.DataFrame(
            [(space, "y", "auc_test", value), (space, "y", "auc_test_null", null)],
            columns=["space", "target", "metric", "value"],
        )
        where = Cell(tiny.name, cell.get("condition", "low"), model, Latents(1, 1), seed, cell.get("supervised", False))
        rows = rows if status == "ok" else pd.DataFrame()
        frames.append(cell_frame(tiny, where, rows, status=status, seconds=1.0))

    for seed, (value, null) in enumerate([(0.70, 0.60), (0.90, 0.10), (0.80, 0.50)]):
        add("VennVI", seed, value, null=null)
    add("VennVI", 0, 0.99, supervised=True)
    add("VennVI", 0, 0.11, condition="high")
    for seed, value in enumerate([0.60, 0.70]):
        add("MMVAE", seed, value)
    add("PCA+CCA", 0, 0.75)
    add("PCA", 0, 0.84, space="shared:a")
    add("MOFA", 0, 1.0)  # not compared
    add("MVAE", 0, 0.95)
    add("MVAE", 1, 0.0, status="failed")
    return pd.concat(frames, ignore_index=True)


def target(direction, *bounds, reading=AUC, condition="low"):
    return Target("tiny", condition, "1+1+1", "AUC of y", reading, direction, bounds)


@pytest.mark.parametrize(
    ("direction", "bounds", "bound", "shortfall"),
    [
        pytest.param("≥", (0.8,), 0.8, 0.0, id="exactly"),
        pytest.param("≥", (0.85,), 0.85, 0.05, id="missed"),
        pytest.param("≤", (0.65,), 0.65, 0.15, id="too-much"),
        pytest.param("≤", (0.95,), 0.95, -0.15, id="little-enough"),
        pytest.param("≥", (Reference(),), 0.75, -0.05, id="best-of-all"),
        pytest.param("≤", (Reference(),), 0.65, 0.15, id="least-of-all"),
        pytest.param("≥", (Reference(("MMVAE",), 0.03),), 0.68, -0.12, id="margin"),
        pytest.param("≥", (Reference(), Reference(("PCA",), -0.01, "shared:a")), 0.83, 0.03, id="strictest"),
        pytest.param("≥", (0.81, Reference()), 0.81, 0.01, id="number-and-models"),
    ],
)
def test_verdicts_by_hand(results, direction, bounds, bound, shortfall):
    verdict = judge(target(direction, *bounds), results, "VennVI", OTHERS)
    assert (verdict.found.median, verdict.found.low, verdict.found.high) == pytest.approx((0.8, 0.7, 0.9))
    assert verdict.n_failed == 0
    assert verdict.bound.value == pytest.approx(bound)
    assert verdict.shortfall == pytest.approx(shortfall, abs=1e-12)
    assert verdict.met == (shortfall <= 0)
    best = ("PCA+CCA", 0.75) if direction == "≥" else ("MMVAE", 0.65)
    assert (verdict.best_other.model, verdict.best_other.value) == (best[0], pytest.approx(best[1]))


def test_above_the_null_seed_by_seed(results):
    reading = dataclasses.replace(AUC, above_null=True)
    verdict = judge(target("≤", 0.35, reading=reading), results, "VennVI", OTHERS)
    assert verdict.found.median == pytest.approx(0.3)  # of .1, .8 and .3, not .8 - .5 of the medians
    assert verdict.found.high == pytest.approx(0.8)
    assert verdict.met


@pytest.mark.parametrize(
    ("made", "others"),
    [
        pytest.param(target("≥", Reference()), (*OTHERS, "MULTIVI"), id="a-compared-model-is-missing"),
        pytest.param(target("≥", 0.1, Reference(("TOTALVI",))), OTHERS, id="the-model-of-a-bound-is-missing"),
        pytest.param(target("≥", 0.1, Reference(("MVAE",))), OTHERS, id="the-model-of-a-bound-failed-at-a-seed"),
        pytest.param(target("≥", Reference()), (*OTHERS, "MVAE"), id="a-compared-model-failed-at-a-seed"),
        pytest.param(target("≥", 0.5, reading=Reading("private:a", "y", "auc_test")), OTHERS, id="no-such-rows"),
        pytest.param(target("≥", Reference(), condition="high"), OTHERS, id="only-the-subject-was-run"),
    ],
)
def test_what_has_not_been_run_is_not_judged(results, made, others):
    verdict = judge(made, results, "VennVI", others)
    assert verdict.met is None
    assert np.isnan(verdict.shortfall)


def test_a_subject_that_failed_at_a_seed_meets_nothing(results):
    verdict = judge(target("≥", 0.5), results, "MVAE", OTHERS)
    assert (verdict.n_failed, verdict.met, verdict.found.median) == (1, None, 0.95)


def test_nothing_run(results):
    verdict = judge(target("≥", 0.5), results.iloc[:0], "VennVI", OTHERS)
    assert (verdict.met, verdict.found.n, verdict.best_other) == (None, 0, None)


def test_table(results, tiny):
    targets = (
        target("≥", Reference(), Reference(("PCA",), -0.01, "shared:a")),
        target("≥", Reference(("PCA+CCA",), 0.02)),
        target("≤", 0.95),
        target("≥", Reference(), condition="high"),
    )
    member = Member(tiny, ("low", "high"), ("1+1+1",), ("VennVI", *OTHERS))
    group = Group("all", "Does it hold?", "VennVI", (member,), targets, notes="A note.")
    verdicts = [judge(t, results, "VennVI", OTHERS) for t in targets]
    verdicts[3] = dataclasses.replace(verdicts[3], n_failed=1)
    lines = target_report(group, verdicts, results).splitlines()
    assert lines[:5] == ["# all", "", "**Does it hold?**", "", "A note."]
    assert lines[6].startswith("VennVI meets 2 of 4 targets. 1 cannot be told")
    assert lines[8:14] == [
        "| data | quantity | target | VennVI | met | best other |",
        "| --- | --- | --- | ---: | --- | --- |",
        "| tiny low, 1+1+1 | AUC of y | ≥ 0.83 (PCA of each alone of shared:a − 0.01) | 0.80 [0.70, 0.90] | "
        "no, by 0.030 | 0.75 (PCA + CCA) |",
        "| tiny low, 1+1+1 | AUC of y | ≥ 0.77 (PCA + CCA + 0.02) | 0.80 [0.70, 0.90] | yes | 0.75 (PCA + CCA) |",
        "| tiny low, 1+1+1 | AUC of y | ≤ 0.95 | 0.80 [0.70, 0.90] | yes | 0.65 (MMVAE) |",
        "| tiny high, 1+1+1 | AUC of y | ≥ ? | 0.11 (1 failed) | – | – |",
    ]
    assert "Seeds x epochs of VennVI: tiny 3 x 1." in lines
