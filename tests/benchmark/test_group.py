from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

from vennvi.benchmark import (
    GROUPS,
    Group,
    Member,
    OtherResultsError,
    Reading,
    Reference,
    Target,
    get_model,
    run_group,
)
from vennvi.benchmark import cli as command_line
from vennvi.benchmark._results import read_frame

runner = CliRunner(env={"COLUMNS": "200"})
AUC = Reading("shared", "y", "auc_test")


@pytest.fixture
def other(tiny):
    """The tiny experiment again, under another name."""
    return dataclasses.replace(tiny, name="other")


@pytest.fixture
def group(tiny, other) -> Group:
    """A subject that knows the truth, against PCA + CCA, on two experiments."""
    return Group(
        name="both",
        title="Does it hold?",
        subject="truth",
        members=(
            Member(tiny, ("low", "high"), ("1+1+1",), ("truth", "PCA+CCA")),
            Member(other, ("high",), ("1+1+1",), ("truth",)),
        ),
        targets=(
            Target("tiny", "low", "1+1+1", "AUC of y", AUC, "≥", (Reference(),)),
            Target("tiny", "high", "1+1+1", "AUC of y", AUC, "≤", (0.4,)),
            Target("other", "high", "1+1+1", "AUC of y", AUC, "≥", (0.9,)),
        ),
    )


def stems(folder):
    return sorted(path.stem for path in (folder / "cells").glob("*.csv"))


@pytest.mark.parametrize("record", [pytest.param(g, id=g.name) for g in GROUPS.values()])
def test_records_are_consistent(record):
    assert GROUPS[record.name] is record
    assert record.subject in record.models
    for member in record.members:
        part = member.part()
        assert part.name == member.name
        assert part.supervision == (False,)
        assert [part.latents_label(latents) for latents in part.latents] == list(member.latents)
        for name in member.models:
            assert get_model(name).name == name
        short = member.part(quick=True)
        assert (len(short.conditions), len(short.latents), short.n_seeds) == (1, 1, 1)

    keys = {(m.name, h.space, h.target, h.metric) for m in record.members for h in m.experiment.headlines}
    for target in record.targets:  # what a target reads is shown in the experiment's own report
        assert (target.experiment, *dataclasses.astuple(target.reading)[:3]) in keys
        [member] = [member for member in record.members if member.name == target.experiment]
        for bound in target.bounds:
            assert isinstance(bound, float) or set(bound.models) <= set(member.models)
    assert {target.experiment for target in record.targets} == {member.name for member in record.members}


def test_the_targets_of_the_recommended_model():
    robust = GROUPS["robust"]
    assert robust.subject == "VennVI"
    sizes = {m.name: len(list(m.conditions)) * len(m.latents) for m in robust.members}
    assert sizes == {
        "gp": 8,
        "gp-wiggly": 1,
        "gp-even": 1,
        "gp-shuffled": 1,
        "cll": 3,
        "brca": 3,
        "multiome-types": 1,
        "citeseq-types": 1,
    }
    by_place = {(t.experiment, t.condition, t.latents, t.reading.space, t.reading.target): t for t in robust.targets}
    assert by_place["gp", "1000/1000", "10+10+10", "shared", "shared factor"].bounds == (0.96,)
    leak = by_place["gp", "20/100", "5+5+5", "private", "shared factor"]
    assert (leak.direction, leak.bounds, leak.reading.above_null) == ("≤", (0.05,), True)
    assert by_place["gp-wiggly", "100/100", "5+5+5", "shared", "shared factor"].bounds == (
        Reference(("PCA+CCA",), 0.03),
    )
    assert by_place["cll", "2000", "5+5+5", "private:methylation", "IGHV"].bounds == (0.65,)
    cell_type = [t for t in robust.targets if t.experiment == "multiome-types" and t.reading.space == "shared"][:2]
    assert cell_type[0].bounds == (
        Reference(),
        Reference(("PCA",), -0.01, "shared:rna"),
        Reference(("PCA",), -0.01, "shared:atac"),
    )
    assert cell_type[1].bounds == (0.83,)


def test_a_fraction_of_seeds_is_judged_and_shown_as_such(group, truth, tmp_path):
    level = Reading("shared", "y", "auc_test", over=0.5)
    own = dataclasses.replace(
        group,
        targets=(
            Target("tiny", "low", "1+1+1", "seeds above chance", level, "≥", (0.95,)),
            Target("tiny", "low", "1+1+1", "seeds above 1", dataclasses.replace(level, over=1.0), "≥", (0.5,)),
        ),
    )
    verdicts, _ = run_group(own, tmp_path, models=[truth(), get_model("PCA+CCA")], progress=False)
    assert [verdict.met for verdict in verdicts] == [True, False]
    assert verdicts[1].shortfall == pytest.approx(0.5)
    table = (tmp_path / "table.md").read_text()
    assert "| seeds above chance | ≥ 0.95 | 2 of 2 runs | yes |" in table
    assert "| seeds above 1 | ≥ 0.50 | 0 of 2 runs | no, by 0.500 |" in table


def test_runs_every_member_once_and_judges(group, truth, tmp_path):
    models = [truth(), get_model("PCA+CCA")]
    verdicts, results = run_group(group, tmp_path, models=models, progress=False)
    assert models[0].adapter.n_fits == 6  # 2 + 1 conditions x 2 seeds
    assert set(results["experiment"]) == {"tiny", "other"}
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "other", "table.md"}
    assert set(read_frame(tmp_path / "other" / "results.csv")["model"]) == {"truth"}  # PCA + CCA is no model of it
    assert [verdict.met for verdict in verdicts] == [True, False, True]
    assert verdicts[1].shortfall == pytest.approx(0.6)
    table = (tmp_path / "table.md").read_text()
    assert "truth meets 2 of 3 targets." in table
    assert "| tiny high, 1+1+1 | AUC of y | ≤ 0.40 | 1.00 [1.00, 1.00] | no, by 0.600 |" in table

    again = truth()
    run_group(group, tmp_path, models=[again], progress=False)
    assert again.adapter.n_fits == 0
    assert (tmp_path / "table.md").read_text() == table  # what was run before counts


def test_quick_is_one_cell_of_each_member_in_its_own_folder(group, truth, tmp_path):
    model = truth()
    verdicts, _ = run_group(group, tmp_path, models=[model, get_model("PCA+CCA")], quick=True, progress=False)
    assert stems(tmp_path / "tiny-quick") == [
        "tiny-quick__low__PCA+CCA__1+1__unsupervised__seed0",
        "tiny-quick__low__truth__1+1__unsupervised__seed0",
    ]
    assert stems(tmp_path / "other-quick") == ["other-quick__high__truth__1+1__unsupervised__seed0"]
    assert [(v.target.experiment, v.target.condition) for v in verdicts] == [("tiny", "low"), ("other", "high")]
    assert "A short version" in (tmp_path / "table.md").read_text()


def test_a_model_that_no_member_lists_is_run_on_all(group, truth, tmp_path):
    ablation = truth("ablation")
    verdicts, results = run_group(group, tmp_path, models=[ablation], n_seeds=1, progress=False)
    assert ablation.adapter.n_fits == 3
    assert set(results["model"]) == {"ablation"}
    assert [verdict.met for verdict in verdicts] == [None] * 3  # the subject has not been run
    assert {verdict.best_other for verdict in verdicts} == {None}  # nor anything that is compared with it


def test_an_interrupted_group_is_reported_and_goes_on(group, truth, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_group(group, tmp_path, models=[truth(fit6=KeyboardInterrupt())], progress=False)
    assert "truth meets 1 of 3 targets. 1 cannot be told" in (tmp_path / "table.md").read_text()
    resumed = truth()
    run_group(group, tmp_path, models=[resumed], progress=False)
    assert resumed.adapter.n_fits == 1


def test_an_occupied_folder_is_told_before_anything_is_run(group, truth, tmp_path):
    run_group(group, tmp_path / "a", models=[truth()], progress=False)
    model = truth()
    with pytest.raises(OtherResultsError, match="max_epochs 1, not 7"):
        run_group(group, tmp_path / "a", models=[model], max_epochs=7, progress=False)
    assert model.adapter.n_fits == 0


def test_records_that_cannot_be(group):
    with pytest.raises(ValueError, match="names an experiment twice"):
        dataclasses.replace(group, members=(*group.members, group.members[0]))
    with pytest.raises(ValueError, match="a target at other high, 1\\+1\\+1, which no member runs"):
        dataclasses.replace(group, members=group.members[:1])


def test_on_the_command_line(group, tiny, tmp_path, monkeypatch):
    linear = dataclasses.replace(
        group,
        subject="PCA+CCA",
        members=tuple(dataclasses.replace(member, models=("PCA+CCA", "TOTALVI")) for member in group.members),
    )
    monkeypatch.setitem(command_line.GROUPS, "both", linear)
    assert "Does it hold?" in runner.invoke(command_line.app, ["list"]).stdout

    command = ["run", "both", "--models", "pca+cca", "--seeds", "1", "--quick", "--out", str(tmp_path)]
    result = runner.invoke(command_line.app, command)
    assert result.exit_code == 0, result.output
    assert "of 2 targets met" in result.output
    assert "PCA + CCA meets" in (tmp_path / "table.md").read_text()
    assert len(stems(tmp_path / "tiny-quick")) == 1

    refused = runner.invoke(command_line.app, [*command, "--conditions", "low"])
    assert refused.exit_code == 2
    assert "leave out --conditions" in refused.output
    occupied = runner.invoke(command_line.app, [*command, "--max-epochs", "3"])
    assert occupied.exit_code == 2
    assert "max_epochs" in occupied.output
    unknown = runner.invoke(command_line.app, ["run", "nope"])
    assert unknown.exit_code == 2
    assert "The groups are" in " ".join(unknown.output.split())
