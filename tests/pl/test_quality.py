"""What the figures of a model's quality draw."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from toy import toy_mudata

from vennvi import MMVAEPlusPlus, metrics, pl
from vennvi.pl._palette import PALETTE


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    mdata = toy_mudata()
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="label")
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8, alignment_weight=1.0)
    model.train(max_epochs=3, train_size=0.7, accelerator="cpu", check_val_every_n_epoch=1)
    return model


def test_training_curves_has_every_term(model):
    figure = pl.training_curves(model.history)
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert list(panels) == [
        "loss", "reconstruction of atac", "reconstruction of protein", "reconstruction of rna", "KL, shared",
        "KL, private", "accuracy of labels", "alignment", "alignment (FOSCTTM)", "classification",
    ]  # fmt: skip
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rna", "atac", "protein"]
    assert len(panels["reconstruction of rna"].lines) == 6
    splits = [text.get_text() for text in panels["loss"].get_legend().get_texts()]
    assert splits == ["training cells", "validation cells"]
    drawn = panels["loss"].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, model.history["train_loss"].iloc[:, 0].astype(float))
    assert {line.get_linestyle() for line in panels["loss"].lines} == {"-", "--"}


def test_training_curves_of_a_modality_that_is_called_like_a_term():
    names = ("rna", "x_to_y")
    curve = pd.DataFrame({"v": [3.0, 2.0, 1.0]})
    history = {f"reconstruction_{a}_to_{b}_train": curve for a in names for b in names}
    figure = pl.training_curves(history | {f"kl_private_{a}_train": curve for a in names})
    assert [ax.get_title() for ax in figure.axes] == [
        "reconstruction of rna",
        "reconstruction of x_to_y",
        "KL, private",
    ]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(names)


@pytest.mark.parametrize("names", [["rna", "atac"], ["mrna", "methylation", "drugs", "mutations"]], ids=len)
def test_coverage_is_named_within_the_figure(names):
    """As a script saves it, without drawing it before."""
    levels = [0.1, 0.5, 0.9]
    tables = [
        pd.DataFrame({"target": m, "source": "+".join(o for o in names if o != m), "level": levels, "coverage": levels})
        for m in names
    ]
    ax = pl.coverage(pd.concat(tables))
    ax.figure.draw_without_rendering()
    for part in (ax.yaxis.label, ax.xaxis.label, ax.get_legend()):
        box = part.get_window_extent().transformed(ax.figure.transFigure.inverted())
        assert min(box.x0, box.y0) >= 0
        assert max(box.x1, box.y1) <= 1


def test_training_curves_without_the_start(model):
    ax = pl.training_curves(model.history, skip=2).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [2])
    with pytest.raises(ValueError, match="no curve"):
        pl.training_curves(model.history, skip=3)


@pytest.mark.parametrize(("n_modalities", "n_lines"), [(2, 3), (4, 15), (6, 63)])
def test_training_curves_of_every_set_of_modalities(n_modalities, n_lines):
    names = list("abcdef"[:n_modalities])
    sets = ["+".join(c) for r in range(1, n_modalities + 1) for c in combinations(names, r)]
    rng = np.random.default_rng(0)
    history = {f"reconstruction_{s}_to_{m}_train": pd.DataFrame({"x": rng.normal(size=9)}) for m in names for s in sets}
    figure = pl.training_curves(history)
    for ax in figure.axes:
        looks = {(line.get_color(), line.get_marker()) for line in ax.lines}
        assert len(looks) == len(ax.lines) == n_lines
        assert PALETTE[6] not in dict(looks)  # yellow on white
        if n_lines < 19:
            assert len(dict(looks)) == n_lines
    figure.canvas.draw()
    legend, *more = figure.legends
    assert not more
    assert len(legend.get_texts()) == n_lines
    box = legend.get_window_extent()
    assert not any(box.overlaps(ax.get_tightbbox()) for ax in figure.axes)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["training cells"]


@pytest.mark.parametrize("n_modalities", [2, 6])
def test_probe_matrix(n_modalities):
    names = [f"m{k}" for k in range(n_modalities)]
    spaces = ["shared", *(f"shared {m}" for m in names), *(f"private {m}" for m in names)]
    rows = [(s, "type", "auc", 0.5 + 0.05 * i, 0, 0) for i, s in enumerate(spaces)]
    rows += [(s, "type", "accuracy", 1.0, 0, 0) for s in spaces]
    rows += [
        (s, "depth", metric, value, 0, 0) for s in spaces for metric, value in (("r2_ridge", 0.2), ("r2_knn", -0.1))
    ]
    table = pd.DataFrame(rows, columns=["space", "target", "metric", "value", "n_train", "n_test"])
    ax = pl.probe_matrix(table)
    assert [label.get_text() for label in ax.get_yticklabels()] == spaces
    assert [label.get_text() for label in ax.get_xticklabels()] == ["type (AUC)", "depth (R²)"]
    image = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(image[:, 0], 0.1 * np.arange(len(spaces)), atol=1e-12)
    np.testing.assert_allclose(image[:, 1], 0.2)
    assert len(ax.texts) == 2 * len(spaces)


def test_probe_matrix_of_a_diagnosis(model):
    ax = plt.subplots()[1]
    assert pl.probe_matrix(model.diagnose(labels=["label"]).table, ax=ax) is ax
    assert "label (AUC)" in [label.get_text() for label in ax.get_xticklabels()]
    with pytest.raises(ValueError, match="no probe"):
        pl.probe_matrix(pd.DataFrame({"space": [], "target": [], "metric": [], "value": []}))


def test_alignment_null():
    z = np.random.default_rng(0).normal(size=(50, 3))
    signal = metrics.shared_signal({"a": z, "b": z}, n_permutations=99)
    ax = pl.alignment_null(signal)
    assert sum(bar.get_height() for bar in ax.patches) == 99
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [3.0, 3.0])
    assert ax.get_xlim()[1] > 3.0
    assert "p = 0.01" in [text.get_text() for text in ax.get_legend().get_texts()][1]


def test_alignment_null_of_one_permutation():
    z = np.zeros((20, 2))
    ax = pl.alignment_null(metrics.shared_signal({"a": z, "b": z}, n_permutations=1))
    assert sum(bar.get_height() for bar in ax.patches) == 1


def test_reliability():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), size=300)
    scores = {name: metrics.reliability(p, rng.integers(3, size=300)) for name in ("before", "after")}
    ax = pl.reliability(scores)
    for line, score in zip(ax.lines[1:], scores.values(), strict=True):
        bins = score.table.dropna()
        np.testing.assert_allclose(line.get_ydata(), bins["accuracy"])
    assert len(ax.collections) == 2
    assert [t.get_text().split(":")[0] for t in ax.get_legend().get_texts()] == ["before", "after"]
    assert ax.get_xlim() == ax.get_ylim() == (0, 1)


def test_coverage():
    table = pd.DataFrame(
        {
            "target": ["rna", "rna", "atac", "atac"],
            "source": ["atac", "atac", "rna", "rna"],
            "level": [0.9, 0.5, 0.5, 0.9],
            "coverage": [0.8, 0.4, 0.6, 0.95],
        }
    )
    ax = pl.coverage(table)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rna from atac", "atac from rna"]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.5, 0.4], [0.9, 0.8]])


@pytest.mark.parametrize("n_modalities", [2, 4, 6])
@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "from-the-others"])
def test_coverage_of_many(n_modalities, pairs):
    names = [f"view{k}" for k in range(n_modalities)]
    rng = np.random.default_rng(0)
    chosen = [(t, s) for t in names for s in (names if pairs else ["+".join(m for m in names if m != t)])]
    table = pd.DataFrame([(t, s, level, rng.uniform()) for t, s in chosen for level in (0.5, 0.9)])
    table.columns = ["target", "source", "level", "coverage"]
    ax = pl.coverage(table)
    panels = ax.figure.axes
    assert len(panels) == (n_modalities if len(chosen) > 8 else 1)
    drawn = [line for panel in panels for line in panel.lines[1:]]
    np.testing.assert_allclose([line.get_ydata() for line in drawn], table["coverage"].to_numpy().reshape(-1, 2))
    for panel in panels:
        looks = {(line.get_color(), line.get_marker()) for line in panel.lines[1:]}
        assert len(looks) == len(panel.lines) - 1
        assert PALETTE[6] not in dict(looks)
    ax.figure.canvas.draw()
    legend = ax.get_legend() if len(panels) == 1 else ax.figure.legends[0]
    left = legend.get_window_extent().x0
    assert all(panel.get_window_extent().x1 <= left for panel in panels)
    texts = [text.get_text() for text in legend.get_texts()]
    if len(panels) > 1:
        assert texts == ["from itself", *(f"from {name}" for name in names)]
        by_source = {text: handle.get_color() for text, handle in zip(texts, legend.legend_handles, strict=True)}
        for panel in panels:
            for line in panel.lines[1:]:
                assert line.get_color() == by_source[line.get_label()]
    elif n_modalities > 2:
        assert texts == [f"{name} from the others" for name in names]


def test_they_draw_into_given_axes():
    axes = plt.subplots(1, 3)[1]
    z = np.random.default_rng(0).normal(size=(30, 2))
    score = metrics.reliability([[0.8, 0.2], [0.1, 0.9]], [0, 1])
    names = [f"view{k}" for k in range(5)]
    table = pd.DataFrame(
        {"target": np.repeat(names, 5), "source": names * 5, "level": 0.5, "coverage": np.linspace(0.3, 0.7, 25)}
    )
    drawn = [
        pl.alignment_null(metrics.shared_signal({"a": z, "b": z}, n_permutations=9), ax=axes[0]),
        pl.coverage(table, ax=axes[1]),
        pl.reliability(score, ax=axes[2]),
    ]
    assert drawn == list(axes)
    assert [len(plt.figure(k).axes) for k in plt.get_fignums()] == [3]
    lines = axes[1].lines[1:]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(lines) == 25


def test_points_on_the_edge_are_whole():
    ax = pl.reliability(metrics.reliability([[0.6, 0.4], [0.6, 0.4]], [1, 1]))
    assert np.asarray(ax.collections[0].get_offsets())[0, 1] == 0
    assert not ax.collections[0].get_clip_on()


def test_a_label_and_a_covariate_of_one_name_are_two_columns():
    table = pd.DataFrame(
        [("probe", "shared", "batch", "auc", 0.9), ("covariate", "shared", "batch", "auc", 0.5)],
        columns=["topic", "space", "target", "metric", "value"],
    )
    ax = pl.probe_matrix(table)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["batch (AUC)", "batch (covariate) (AUC)"]
    assert [text.get_text() for text in ax.texts] == [".90", ".50"]
