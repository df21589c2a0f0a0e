from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from vennvi.benchmark import Cell, Latents
from vennvi.benchmark._figure import draw
from vennvi.benchmark._results import cell_frame
from vennvi.benchmark._summary import spread, summarise
from vennvi.benchmark._table import markdown_report


@pytest.fixture
def results(tiny):
    """MMVAE at three seeds of two conditions, supervised at one; PCA+CCA cannot run at the second."""
    frames = []

    def add(model, condition, seed, auc, *, supervised=False, status="ok", reason=""):
        rows = pd.DataFrame(
            [
                ("shared", "y", "auc_test", auc),
                ("shared", "shared factor", "knn_r2", auc - 0.5),
                ("shared", "shared factor", "knn_r2_null", -0.15),
            ],
            columns=["space", "target", "metric", "value"],
        )
        cell = Cell(tiny.name, condition, model, Latents(1, 1), seed, supervised)
        rows = rows if status == "ok" else pd.DataFrame()
        frames.append(cell_frame(tiny, cell, rows, status=status, seconds=2.0 + seed, reason=reason))

    for seed, auc in enumerate([0.9, 0.6, 0.8]):
        add("MMVAE", "low", seed, auc)
        add("MMVAE", "high", seed, auc - 0.1)
    add("MMVAE", "low", 0, 0.99, supervised=True)
    add("PCA+CCA", "low", 0, 0.7)
    add("PCA+CCA", "high", 0, 0.7, status="cannot", reason="no")
    return pd.concat(frames, ignore_index=True)


def test_table_holds_medians_ranges_and_what_could_not_run(results, tiny):
    lines = markdown_report(results, tiny).splitlines()
    assert lines[0] == "# tiny"
    table = lines[lines.index("### AUC of y") :]
    assert table[2:8] == [
        "|  | low | high |",
        "| --- | ---: | ---: |",
        "| PCA + CCA | 0.70 | cannot run |",
        "| MMVAE | 0.80 [0.60, 0.90] | 0.70 [0.50, 0.80] |",
        "| MMVAE, labels | 0.99 |  |",
        "| *no information* | 0.50 | 0.50 |",
    ]
    factor = lines[lines.index("### R² of the shared factor") :]
    assert "| *no information* | -0.15 | -0.15 |" in factor
    seconds = lines[lines.index("### Seconds of training") :]
    assert "| MMVAE | 3.0 | 3.0 |" in seconds
    assert "- PCA + CCA cannot run at high (1 run): no" in lines
    assert "over 1 to 3 seeds" in "\n".join(lines)
    assert "vennvi" in lines[-1] or "vennvi" in lines[-2]


def test_a_space_that_a_model_lacks_is_a_dash(results, tiny):
    private = dataclasses.replace(tiny.headlines[0], space="private:a", title="private")
    extended = dataclasses.replace(tiny, headlines=(*tiny.headlines, private))
    row = results[(results["model"] == "MMVAE") & (results["metric"] == "auc_test")].assign(space="private:a")
    lines = markdown_report(pd.concat([results, row]), extended).splitlines()
    table = lines[lines.index("### private") :]
    assert "| PCA + CCA | – | cannot run |" in table


def test_summary_is_the_median_and_range(results, tiny):
    summary = summarise(results, tiny)
    row = summary[
        (summary["model"] == "MMVAE")
        & ~summary["supervised"]
        & (summary["condition"] == "low")
        & (summary["metric"] == "auc_test")
    ]
    assert row[["median", "min", "max", "n_seeds"]].values.tolist() == [[0.8, 0.6, 0.9, 3]]
    [broken] = summary[summary["status"] == "cannot"].to_dict("records")
    assert (broken["model"], broken["condition"], broken["reason"]) == ("PCA+CCA", "high", "no")
    assert summary["versions"].str.contains("vennvi").all()


def test_figure_shows_every_series_with_its_name(results, tiny, tmp_path):
    figure = draw(results, tiny)
    assert len(figure.axes) == 2  # two headlines x one latent size
    top = figure.axes[0]
    lines = {line.get_label(): line for line in top.get_lines() if not line.get_label().startswith("_")}
    assert set(lines) == {"PCA + CCA", "MMVAE", "MMVAE, labels"}
    np.testing.assert_allclose(lines["MMVAE"].get_ydata(), [0.8, 0.7])
    np.testing.assert_allclose(lines["PCA + CCA"].get_ydata(), [0.7, np.nan])
    assert lines["MMVAE"].get_linestyle() == "-"
    assert lines["MMVAE, labels"].get_linestyle() == "--"
    assert lines["MMVAE"].get_color() == lines["MMVAE, labels"].get_color() != lines["PCA + CCA"].get_color()
    band = next(iter(top.collections)).get_paths()[0].get_extents()
    assert band.y0 >= 0
    beside = {text.get_text() for text in top.texts}
    above = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert beside == {"MMVAE"}  # the others end at the first condition
    assert above == {"PCA + CCA", "MMVAE, labels"}
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["low", "high"]

    path = tmp_path / "figure.png"
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_report_of_nothing_but_failures(results, tiny):
    broken = results[results["status"] != "ok"]
    assert "cannot run" in markdown_report(broken, tiny)
    assert len(draw(broken, tiny).axes) == 1
    assert set(summarise(broken, tiny)["status"]) == {"cannot"}


def test_spread_leaves_out_what_is_not_a_number():
    assert str(spread([np.nan, 0.5])) == "0.50"
    assert spread([np.nan]).n == 0
