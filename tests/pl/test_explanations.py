"""What is drawn of an explanation: every number of the table, labels, limits, for two modalities and for six."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from vennvi import pl
from vennvi.pl._palette import PALETTE


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def table(n_modalities=2, n_shared=3, n_private=2, covariates=False):
    rng = np.random.default_rng(0)
    rows = []
    for m in [f"view{i}" for i in range(n_modalities)]:
        parts = {"shared": 0.3, "cross": 0.2, "private": 0.25, "covariates": 0.05, "all": 0.5}
        for block, alone in parts.items():
            if block != "covariates" or covariates:
                rows.append((m, block, pd.NA, alone, 0.2 if block == "private" else 0.9 * alone, "R2", 50))
        for block, n in {"shared": n_shared, "private": n_private}.items():
            rows += [(m, block, k, *rng.uniform(0, 0.2, 2), "R2", 50) for k in range(n)]
    columns = ["modality", "block", "dimension", "alone", "incremental", "measure", "n_cells"]
    return pd.DataFrame(rows, columns=columns).astype({"dimension": "Int64"})


@pytest.mark.parametrize(("n_modalities", "n_shared", "n_private"), [(2, 3, 2), (6, 50, 20)])
@pytest.mark.parametrize("value", ["alone", "incremental"])
def test_heat_map(n_modalities, n_shared, n_private, value):
    found = table(n_modalities, n_shared, n_private)
    ax = pl.variance_explained(found, value=value)
    drawn = np.asarray(ax.images[0].get_array())
    expected = found[found["dimension"].notna()][value].to_numpy().reshape(n_modalities, -1).T
    np.testing.assert_allclose(drawn, 100 * expected)
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"view{i}" for i in range(n_modalities)]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == [f"shared {k}" for k in range(n_shared)] + [f"private {k}" for k in range(n_private)]
    assert len(ax.texts) == (drawn.size if n_shared < 10 else 0)
    assert ax.images[0].get_clim() == (0, pytest.approx(drawn.max()))
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_yticklabels()]
    assert all(a.y0 >= b.y1 - 1 for a, b in pairwise(boxes))  # no label covers another


def test_heat_map_of_unequal_private_spaces_and_relative_to_the_whole():
    found = table()
    found = found[~((found["modality"] == "view1") & (found["block"] == "private") & (found["dimension"] == 1))]
    ax = pl.variance_explained(found, relative=True)
    drawn = ax.images[0].get_array()
    assert drawn.mask.sum() == 1
    assert drawn.mask[4, 1]
    first = found[(found["modality"] == "view0") & (found["dimension"] == 0)]["incremental"].iloc[0]
    assert drawn[0, 0] == pytest.approx(100 * first / 0.5)
    with pytest.raises(ValueError, match="no rows for dimensions"):
        pl.variance_explained(found[found["dimension"].isna()])
    found.loc[(found["block"] == "all") & (found["modality"] == "view1"), "alone"] = -0.15
    drawn = pl.variance_explained(found, relative=True).images[0].get_array()
    assert drawn.mask[:, 1].all()  # of nothing there is no fraction
    assert not drawn.mask[:, 0].any()


@pytest.mark.parametrize("n_modalities", [2, 6])
@pytest.mark.parametrize("covariates", [False, True])
def test_blocks_sum_to_all(n_modalities, covariates):
    found = table(n_modalities, covariates=covariates)
    ax = pl.variance_blocks(found)
    parts = 3 if covariates else 2
    assert len(ax.patches) == parts * n_modalities
    heights = np.asarray([bar.get_height() for bar in ax.patches]).reshape(parts, n_modalities)
    np.testing.assert_allclose(heights.sum(0), 50)
    np.testing.assert_allclose(heights[-2:].T, [[25 if covariates else 30, 20]] * n_modalities)
    np.testing.assert_allclose(np.asarray(ax.collections[1].get_offsets())[:, 1], 20)
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"view{i}\nR²" for i in range(n_modalities)]
    assert len(ax.get_legend().get_texts()) == parts + 2


@pytest.mark.parametrize(("covariates", "shared", "whole"), [(0.05, -0.2, 0.3), (-0.1, 0.3, 0.1), (0.02, -0.1, -0.4)])
def test_parts_below_zero_hang_there_and_still_sum_to_all(covariates, shared, whole):
    found = table(1, covariates=True).set_index("block")
    blocks = found["dimension"].isna()
    for block, column, value in [
        ("covariates", "alone", covariates),
        ("shared", "alone", shared),
        ("private", "incremental", whole - shared),
        ("all", "alone", whole),
    ]:
        found.loc[blocks & (found.index == block), column] = value
    bars = pl.variance_blocks(found.reset_index()).patches
    expected = 100 * np.array([covariates, shared - covariates, whole - shared])
    np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
    assert sum(bar.get_height() for bar in bars) == pytest.approx(100 * whole)
    for sign in (-1, 1):  # on each side of zero, bars follow each other from it on
        side = [bar for bar in bars if sign * bar.get_height() > 0]
        ends = np.cumsum([bar.get_height() for bar in side])
        np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in side], ends)


def test_shared_private():
    rng = np.random.default_rng(0)
    var = pd.DataFrame(rng.uniform(-0.5, 0.5, (100, 3)), columns=["r2_shared", "r2_cross", "r2_private"])
    var.index = [f"gene{i}" for i in range(100)]
    var.iloc[0] = np.nan
    ax = pl.shared_private(var, n_labels=4)
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points, var[["r2_private", "r2_cross"]].dropna().clip(lower=-0.1))
    top = set(var["r2_cross"].nlargest(4).index) | set(var["r2_private"].nlargest(4).index)
    assert {t.get_text() for t in ax.texts} == top
    assert ax.get_ylabel() == "explained by the other modalities"
    assert not pl.shared_private(var, shared="r2_shared", n_labels=0).texts
    named = pl.shared_private(var, shared="r2_shared", measure="R2")
    assert (named.get_xlabel(), named.get_ylabel()) == ("R² from the private latents", "R² from the shared latents")
    ax.figure.canvas.draw()
    boxes = sorted((Text.get_window_extent(t) for t in ax.texts), key=lambda box: box.y0)
    assert all(a.y1 <= b.y0 for a, b in pairwise(boxes))  # labels stay apart
    with pytest.raises(KeyError, match="write_variance_explained"):
        pl.shared_private(var, key_suffix="_new")


def test_many_features_are_fainter():
    alphas = []
    for n in (100, 25_000):
        values = np.random.default_rng(0).uniform(size=(n, 2))
        ax = pl.shared_private(pd.DataFrame(values, columns=["r2_cross", "r2_private"]))
        assert len(ax.collections[0].get_offsets()) == n
        alphas.append(ax.collections[0].get_alpha())
    assert alphas[1] < 0.5 * alphas[0]


def test_feature_scores():
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.normal(size=(40, 3)) * [1, 5, 0.1], index=[f"gene{i}" for i in range(40)])
    scores.columns.name = "shared dimension"
    figure = pl.feature_scores(scores, n_features=5, n_columns=2)
    assert [ax.get_title() for ax in figure.axes] == [f"shared dimension {k}" for k in (1, 0, 2)]
    for ax, k in zip(figure.axes, (1, 0, 2), strict=True):
        top = scores[k].loc[scores[k].abs().nlargest(5).index]
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], top)
        assert [t.get_text() for t in ax.get_yticklabels()] == list(top.index)
        assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [PALETTE[0 if v > 0 else 5] for v in top]
    assert len({ax.get_xlim() for ax in figure.axes}) == 1  # a weak dimension looks weak
    assert [ax.title.get_color() == "0.6" for ax in figure.axes] == [False, False, True]
    assert figure.get_suptitle() == ""
    many = pl.feature_scores(pd.DataFrame(rng.normal(size=(30, 50))))
    assert len(many.axes) == 12
    assert many.get_suptitle() == "the strongest 12 of 50 dimensions"
    assert [ax.get_title() for ax in pl.feature_scores(scores, dimensions=[2]).axes] == ["shared dimension 2"]
    with pytest.raises(KeyError, match="7"):
        pl.feature_scores(scores, dimensions=[7])


@pytest.mark.parametrize("letters", [4, 20, 40, 80])
@pytest.mark.parametrize("n_dimensions", [1, 12])
def test_long_names_leave_room_for_what_is_drawn(letters, n_dimensions, recwarn):
    names = [f"{i:03d}".ljust(letters - 1, "x") + str(i % 10) for i in range(60)]
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.normal(size=(60, n_dimensions)), index=names)
    features = pd.DataFrame(rng.random((60, 2)), columns=["r2_cross", "r2_private"], index=names)
    for figure, narrowest in ((pl.feature_scores(scores), 0.8), (pl.shared_private(features).figure, 2)):
        figure.draw_without_rendering()
        width = figure.get_size_inches()[0]
        assert width < 15
        for ax in figure.axes:
            assert ax.get_position().width * width > narrowest
            named = ax.texts or ax.get_yticklabels()
            assert len(named) >= 8
            for text in named:
                box = Text.get_window_extent(text).transformed(figure.transFigure.inverted())
                assert box.x0 > -0.01
                assert box.x1 < 1.01, text.get_text()
    assert not recwarn.list
    drawn = [label.get_text() for label in pl.feature_scores(scores).axes[0].get_yticklabels()]
    assert {name[:3] for name in drawn} <= {name[:3] for name in names}
    assert all(len(name) <= 36 for name in drawn)


def test_names_that_differ_in_the_middle_alone_stay_whole():
    names = [f"a-long-prefix-of-all-names-{k}-and-the-same-long-suffix" for k in range(6)]
    scores = pd.DataFrame({0: np.arange(1.0, 7)}, index=names)
    assert {label.get_text() for label in pl.feature_scores(scores).axes[0].get_yticklabels()} == set(names)
    features = pd.DataFrame(np.random.default_rng(0).random((6, 2)), columns=["r2_cross", "r2_private"], index=names)
    assert {text.get_text() for text in pl.shared_private(features).texts} == set(names)


@pytest.mark.parametrize("n_dimensions", [1, 2, 5])
def test_the_heat_maps_bar_is_named_within_the_figure(n_dimensions):
    """As a script saves it, without drawing it before."""
    rows = [
        {"modality": m, "block": block, "dimension": k, "alone": 0.2, "incremental": 0.1,
         "measure": "deviance" if m == "mutations" else "R2"}
        for m in ("mrna", "methylation", "drugs", "mutations") for block in ("shared", "private") for k in range(n_dimensions)
    ]  # fmt: skip
    figure = pl.variance_explained(pd.DataFrame(rows)).figure
    figure.draw_without_rendering()
    box = figure.axes[-1].yaxis.label.get_window_extent().transformed(figure.transFigure.inverted())
    assert box.y0 >= 0
    assert box.y1 <= 1


def test_one_dimension_into_given_axes():
    scores = pd.DataFrame({0: [1.0, 2.0], 1: [-3.0, 0.5]}, index=["a", "b"])
    scores.attrs["score"] = "change per unit of the dimension"
    figure, ax = plt.subplots()
    assert pl.feature_scores(scores, dimensions=[1], ax=ax) is figure
    assert [bar.get_width() for bar in ax.patches] == [-3.0, 0.5]
    assert ax.get_xlim()[0] < -3 < 0.5 < ax.get_xlim()[1]
    assert ax.get_xlabel() == "change per unit of the dimension"
    assert pl.feature_scores(scores, xlabel="loading").get_supxlabel() == "loading"
    with pytest.raises(ValueError, match="not 2"):
        pl.feature_scores(scores, ax=ax)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_scores_of_nothing(value):
    ax = pl.feature_scores(pd.DataFrame({0: [value, value]})).axes[0]
    assert ax.get_xlim() == (0, 1)


def test_scores_of_no_dimension():
    with pytest.raises(ValueError, match="no dimension to draw"):
        pl.feature_scores(pd.DataFrame(index=["a", "b"]))


def test_names_are_no_formulas():
    name = "a$^$b"
    figure = pl.feature_scores(pd.DataFrame({0: [1.0, 2.0]}, index=[name, "c"]))
    figure.canvas.draw()
    assert name in [label.get_text() for label in figure.axes[0].get_yticklabels()]
    var = pd.DataFrame({"r2_cross": [0.1, 0.2], "r2_private": [0.2, 0.1]}, index=[name, "c"])
    pl.shared_private(var).figure.canvas.draw()
    figure, (left, right) = plt.subplots(1, 2)
    right.set_title(r"$\alpha$")
    pl.feature_scores(pd.DataFrame({0: [1.0, 2.0]}, index=[name, "c"]), ax=left)
    pl.shared_private(var, ax=right)
    figure.canvas.draw()
    assert right.title.get_parse_math()


def test_numbers_are_formulas_where_the_style_says_so():
    var = pd.DataFrame({"r2_cross": [0.1, 0.2], "r2_private": [0.2, 0.1]}, index=["b", "c"])
    with plt.rc_context({"axes.formatter.use_mathtext": True}):
        ax = pl.shared_private(var)
        ax.figure.canvas.draw()
        assert all(label.get_parse_math() for label in ax.get_xticklabels())


def test_they_draw_into_given_axes():
    ax = plt.subplots(1, 3)[1]
    var = pd.DataFrame({"r2_cross": [0.1, 0.2], "r2_private": [0.2, 0.1]}, index=["a", "b"])
    drawn = [
        pl.variance_explained(table(), ax=ax[0]),
        pl.variance_blocks(table(), ax=ax[1]),
        pl.shared_private(var, ax=ax[2]),
    ]
    assert drawn == list(ax)
