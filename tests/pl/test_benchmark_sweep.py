"""What is drawn of a sweep: medians, ranges, names, levels of no information."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from vennvi import pl
from vennvi.pl._benchmark_labels import spread_apart

AUC, R2 = ("shared", "y", "auc_test"), ("private:a", "factor", "knn_r2")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def tidy(models=("A", "B"), conditions=("few", "some", "many"), latents=("2+2", "10+10"), n_seeds=3):
    rng = np.random.default_rng(0)
    rows = [
        (m, c, z, supervised, seed, *score, rng.random())
        for m in models
        for c in conditions
        for z in latents
        for supervised in (False, True)
        for seed in range(n_seeds)
        for score in (AUC, R2, (*R2[:2], "knn_r2_null"))
    ]
    names = ["model", "condition", "latents", "supervised", "seed", "space", "target", "metric", "value"]
    return pd.DataFrame(rows, columns=names)


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_medians_ranges_and_levels_of_no_information():
    table = tidy()
    figure = pl.benchmark_sweep(table, {AUC: "AUC of y", R2: "factor"}, chance={AUC: 0.5}, xlabel="samples")
    assert figure.get_supxlabel() == "samples"
    axes = np.array(figure.axes).reshape(2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["latents 2+2", "latents 10+10"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["AUC of y", "factor"]
    for row, (space, target, metric) in zip(axes, (AUC, R2), strict=True):
        for ax, latents in zip(row, ("2+2", "10+10"), strict=True):
            lines = lines_of(ax)
            assert list(lines) == ["A", "B", "A, labels", "B, labels"]
            here = table[(table["latents"] == latents) & (table["space"] == space) & (table["target"] == target)]
            for (name, line), band in zip(lines.items(), ax.collections, strict=True):
                own = here[(here["model"] == name[0]) & (here["supervised"] == name.endswith("labels"))]
                own = own[own["metric"] == metric].groupby("condition")["value"]
                order = ["few", "some", "many"]
                np.testing.assert_allclose(line.get_ydata(), own.median()[order])
                extents = band.get_paths()[0].get_extents()
                np.testing.assert_allclose([extents.y0, extents.y1], [own.min().min(), own.max().max()])
                assert line.is_dashed() == name.endswith("labels")
            [level] = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
            null = here[here["metric"] == f"{metric}_null"].groupby("condition")["value"].median()
            expected = np.full(3, 0.5) if metric == "auc_test" else null[["few", "some", "many"]]
            np.testing.assert_allclose(level.get_ydata(), expected)
        assert [text.get_text() for text in row[0].texts] == []
        assert {text.get_text() for text in row[1].texts} == set(lines)
    assert axes[0, 0].get_ylim()[1] >= 1.0
    assert [text.get_text() for text in axes[1, 0].get_xticklabels()] == ["few", "some", "many"]


def test_a_summary_draws_the_same_as_its_results():
    table = tidy()
    keys = ["model", "condition", "latents", "supervised", "space", "target", "metric"]
    summary = table.groupby(keys, sort=False, as_index=False)["value"].agg(["median", "min", "max"])
    for ax, other in zip(pl.benchmark_sweep(table).axes, pl.benchmark_sweep(summary).axes, strict=True):
        for line, same in zip(lines_of(ax).values(), lines_of(other).values(), strict=True):
            np.testing.assert_allclose(line.get_ydata(), same.get_ydata())
        for band, same in zip(ax.collections, other.collections, strict=True):
            np.testing.assert_allclose(band.get_paths()[0].vertices, same.get_paths()[0].vertices)


def test_of_a_plain_table_of_ones_own():
    table = tidy(latents=("2+2",))
    table = table[~table["supervised"]].drop(columns=["latents", "supervised", "seed"])
    figure = pl.benchmark_sweep(
        table, [AUC], conditions=["many", "few"], models=["B"], labels={"A": "ours"}, colors={"A": "red"}
    )
    [ax] = figure.axes
    lines = lines_of(ax)
    assert list(lines) == ["B", "ours"]
    assert to_rgba(lines["ours"].get_color()) == to_rgba("red")
    assert ax.get_title() == ""
    assert ax.get_ylabel() == "auc_test of y from shared"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["many", "few", "some"]


def test_labels_stay_inside_the_figure_and_apart_with_many_models():
    table = tidy(models=[f"model {i}" for i in range(8)], latents=("2+2",))
    table["value"] = 0.8
    figure = pl.benchmark_sweep(table, [AUC])
    figure.canvas.draw()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 16
    assert all(low.y0 + 0.7 * low.height <= high.y0 for low, high in pairwise(boxes))
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)


def test_failures_and_absent_scores_are_left_out():
    table = tidy(models=("A",)).assign(status="ok")
    broken = table.iloc[:2].assign(model="B", status="failed", space=None, target=None, metric=None, value=np.nan)
    figure = pl.benchmark_sweep(pd.concat([table, broken]), {AUC: "AUC", ("shared", "z", "auc_test"): "nowhere"})
    assert len(figure.axes) == 2
    assert set(lines_of(figure.axes[0])) == {"A", "A, labels"}


@pytest.mark.parametrize(
    ("drop", "match"),
    [pytest.param(["space"], "'space'", id="space"), pytest.param(["value"], "'median'", id="value")],
)
def test_refuses_tables_without_a_column(drop, match):
    with pytest.raises(KeyError, match=match):
        pl.benchmark_sweep(tidy().drop(columns=drop))


@pytest.mark.parametrize(
    "heights",
    [
        pytest.param([0.1, 0.5, 0.9], id="apart-already"),
        pytest.param([0.5, 0.5, 0.5, 0.5], id="equal"),
        pytest.param([0.2, 0.21, 0.22, 0.6, 0.6], id="two-clusters"),
    ],
)
def test_labels_are_moved_apart_as_little_as_needed(heights):
    moved = np.array(spread_apart(heights, 0.1))
    assert (np.diff(moved) >= 0.1 - 1e-12).all()
    assert np.isclose(moved.mean(), np.mean(heights))
    if (np.diff(heights) >= 0.1).all():
        np.testing.assert_allclose(moved, heights)


@pytest.mark.parametrize("n", [3, 9, 11, 20])
def test_labels_stay_between_0_and_1_if_they_fit(n):
    for height in (0.0, 1.0):
        moved = np.array(spread_apart([height] * n, 0.1))
        np.testing.assert_allclose(np.diff(moved), 0.1)
        if n <= 11:
            assert moved.min() >= -1e-9
            assert moved.max() <= 1 + 1e-9
            assert np.isclose(moved[0], 0) or height == 1


def test_one_condition_has_a_row_a_model():
    table = tidy(conditions=("all",))
    figure = pl.benchmark_sweep(table, {AUC: "AUC of y", R2: "factor"}, chance={AUC: 0.5}, xlabel="samples")
    panels = np.array(figure.axes).reshape(2, 2)
    rows = ["A", "B", "A, labels", "B, labels"]
    assert [label.get_text() for label in panels[0, 0].get_yticklabels()] == rows
    for row, latents in zip(panels, ("2+2", "10+10"), strict=True):
        assert row[0].get_title(loc="left") == f"latents {latents}"
        for ax, (space, target, metric), title in zip(row, (AUC, R2), ("AUC of y", "factor"), strict=True):
            assert ax.get_xlabel() == title
            *drawn, level = ax.get_lines()
            here = table[(table["latents"] == latents) & (table["space"] == space) & (table["target"] == target)]
            for i, name in enumerate(rows):
                own = here[(here["model"] == name[0]) & (here["supervised"] == name.endswith("labels"))]
                values = own.loc[own["metric"] == metric, "value"]
                bar, dot = drawn[2 * i : 2 * i + 2]
                np.testing.assert_allclose(bar.get_xdata(), [values.min(), values.max()])
                np.testing.assert_allclose([*dot.get_xdata(), *dot.get_ydata()], [values.median(), i])
                assert (dot.get_markerfacecolor() == "white") == name.endswith("labels")
            null = here.loc[here["metric"] == "knn_r2_null", "value"]
            expected = 0.5 if metric == "auc_test" else null.groupby(here["condition"]).median().iloc[0]
            np.testing.assert_allclose(level.get_xdata(), expected)


def test_a_model_that_the_last_column_lacks_is_named_in_a_legend():
    table = tidy()
    table = table[(table["model"] != "B") | (table["latents"] == "2+2")]
    figure = pl.benchmark_sweep(table, {AUC: "AUC of y"})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["B", "B, labels"]
    assert not pl.benchmark_sweep(tidy(), {AUC: "AUC of y"}).legends


def spans_of(ax):
    """Lower and upper ends of all bars, by their places."""
    segments = [segment for bars in ax.collections if hasattr(bars, "get_segments") for segment in bars.get_segments()]
    return {round(float(low[0]), 9): (low[1], high[1]) for low, high in segments}


def test_conditions_that_are_numbers_stand_at_their_logarithms():
    table = tidy(models=("A",), conditions=("50", "500", "2,000"), latents=("2+2",))
    [ax] = pl.benchmark_sweep(table, [AUC]).axes
    for line in lines_of(ax).values():
        np.testing.assert_allclose(10 ** line.get_xdata(), [50, 500, 2000])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50", "500", "2,000"]


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param(("20/100", "50/100", "1000/100"), id="pairs"),
        pytest.param(("500", "50", "5"), id="descending"),
        pytest.param(("0", "1", "10"), id="zero"),
        pytest.param(("1", "2", "inf"), id="infinite"),
    ],
)
def test_other_conditions_stand_evenly(conditions):
    [ax] = pl.benchmark_sweep(tidy(models=("A",), conditions=conditions, latents=("2+2",)), [AUC]).axes
    assert all(line.get_xdata().tolist() == [0, 1, 2] for line in lines_of(ax).values())


def test_ranges_of_many_models_are_bars_side_by_side():
    names = [f"model {i}" for i in range(6)]
    table = tidy(models=names, conditions=("1", "10", "20"), latents=("2+2",))
    [ax] = pl.benchmark_sweep(table, [AUC]).axes
    lines, spans = lines_of(ax), spans_of(ax)
    assert len(lines) == 12
    assert len(ax.collections) == 12  # and no bands
    assert len(spans) == 36  # no two bars in one place
    home = np.log10([1, 10, 20])
    for name, line in lines.items():
        own = table[(table["model"] == name.split(",")[0]) & (table["supervised"] == name.endswith("labels"))]
        values = own[own["metric"] == "auc_test"].groupby("condition")["value"]
        for x, median, condition in zip(line.get_xdata(), line.get_ydata(), ("1", "10", "20"), strict=True):
            assert spans[round(float(x), 9)] == (values.min()[condition], values.max()[condition])
            assert median == values.median()[condition]
        assert np.abs(line.get_xdata()[:, None] - home).argmin(axis=1).tolist() == [0, 1, 2]


def test_a_point_without_a_neighbour_has_a_bar():
    table = tidy(models=("A",), latents=("2+2",))
    table = table[~table["supervised"] & (table["condition"] != "some")]
    alone = pl.benchmark_sweep(table, [AUC], conditions=["few", "some", "many"]).axes[0]
    assert not len(spans_of(alone))  # the two conditions that are left are neighbours
    other = tidy(models=("B",), latents=("2+2",)).query("not supervised")
    [ax] = pl.benchmark_sweep(pd.concat([table, other]), [AUC], conditions=["few", "some", "many"]).axes
    values = table[table["metric"] == "auc_test"].groupby("condition")["value"]
    spans = list(spans_of(ax).values())
    assert spans == [(values.min()[c], values.max()[c]) for c in ("few", "many")]


def test_a_line_that_ends_early_is_named_in_a_legend_and_nothing_leads_through_the_panel():
    table = tidy(latents=("2+2",))
    table = table[(table["model"] != "B") | (table["condition"] == "few")]
    figure = pl.benchmark_sweep(table, [AUC])
    [ax] = figure.axes
    figure.canvas.draw()
    assert {text.get_text() for text in ax.texts} == {"A", "A, labels"}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["B", "B, labels"]
    for text in ax.texts:
        leader = text.arrow_patch.get_path().vertices
        assert ax.transAxes.inverted().transform(text.arrow_patch.get_transform().transform(leader))[:, 0].min() > 1


def test_a_long_name_of_what_is_swept_stays_inside_the_figure():
    figure = pl.benchmark_sweep(tidy(latents=("2+2",)), [AUC], xlabel="genes that nobody asked for " * 6)
    figure.canvas.draw()
    [label] = [text for text in figure.findobj(Text) if text.get_text().startswith("genes that")]
    box = label.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
