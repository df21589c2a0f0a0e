"""What is drawn: every cell in every panel, its colours, the notes and the legends."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from vennvi.pl import spaces


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_panels():
    rng = np.random.default_rng(0)
    embeddings = {"shared": rng.normal(size=(40, 2)), "private rna": rng.normal(size=(40, 2))}
    embeddings["private rna"][:5] = np.nan
    colors = {"type": pd.Series(list("ab") * 20, index=[f"c{i}" for i in range(40)]), "depth": rng.normal(size=40)}
    figure = spaces(embeddings, colors, notes={("shared", "depth"): "R² 0.5"})
    panels = figure.axes[:4]
    assert [ax.get_title() for ax in panels] == ["type", "depth", "", ""]
    assert [ax.get_ylabel() for ax in panels] == ["shared", "", "private rna", ""]
    assert [len(ax.collections[0].get_offsets()) for ax in panels] == [40, 40, 35, 35]
    drawn = np.sort(np.asarray(panels[0].collections[0].get_offsets()), axis=0)
    np.testing.assert_allclose(drawn, np.sort(embeddings["shared"], axis=0))
    assert len(np.unique(panels[0].collections[0].get_facecolors(), axis=0)) == 2
    assert [text.get_text() for text in panels[2].get_legend().get_texts()] == ["a", "b"]
    assert [text.get_text() for text in panels[1].texts] == ["R² 0.5"]


def _faces(ax, labels):
    """Face colour of each label, from the panel whose cell ``i`` is at ``(i, 0)``."""
    points = ax.collections[0]
    at = np.asarray(points.get_offsets())[:, 0].astype(int)
    return {labels[i]: to_hex(color) for i, color in zip(at, points.get_facecolors(), strict=True)}


def _line(n):
    return {"shared": np.c_[np.arange(n), np.zeros(n)]}


@pytest.mark.parametrize("n", [8, 20])
def test_categories_have_a_colour_each(n):
    labels = [f"type{i}" for i in range(n)]
    figure = spaces(_line(n), {"type": labels})
    assert len(set(_faces(figure.axes[0], labels).values())) == n
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(legend) == n
    assert all(name.endswith(label) for name, label in zip(legend, sorted(labels), strict=True))


@pytest.mark.parametrize("as_mapping", [False, True])
def test_a_palette_and_the_order_of_a_categorical(as_mapping):
    order, colors = ["low", "middle", "unused", "high"], ["#112233", "#445566", "#778899", "#aabbcc"]
    labels = pd.Categorical(["high", "low", "middle", "low"], categories=order)
    palette = dict(zip(order, colors, strict=True))
    figure = spaces(_line(4), {"level": labels}, palette={"level": palette if as_mapping else colors})
    assert _faces(figure.axes[0], labels) == {name: palette[name] for name in ("low", "middle", "high")}
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["low", "middle", "high"]
    assert [to_hex(handle.get_color()) for handle in legend.legend_handles] == ["#112233", "#445566", "#aabbcc"]
    with pytest.raises(ValueError, match="'level' has no colour for category 'high'"):
        spaces(_line(4), {"level": labels}, palette={"level": colors[:2]})


@pytest.mark.parametrize("given", [False, True], ids=["our-colours", "a-palette"])
def test_the_largest_of_thirty_are_named(given):
    labels = [f"t{k:02}" for k in range(30) for _ in range(k + 1)]
    palette = [to_hex((k / 29, 0.5, 0.5)) for k in range(30)]
    figure = spaces(_line(len(labels)), {"type": labels, "depth": np.arange(len(labels))},
                    palette={"type": palette} if given else None)  # fmt: skip
    faces, legend = _faces(figure.axes[0], labels), figure.axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [f"{k}  t{k + 9:02}" for k in range(1, 21)] + ["10 smaller ones"]
    if given:
        assert faces == dict(zip(sorted(set(labels)), palette, strict=True))
    else:
        assert len({faces[f"t{k:02}"] for k in range(10, 30)}) == 20
        assert {faces[f"t{k:02}"] for k in range(10)} == {to_hex(legend.legend_handles[-1].get_color())}
    figure.canvas.draw()
    inch = figure.dpi
    for ax in figure.axes:
        box = ax.get_window_extent()
        assert box.width == pytest.approx(box.height)
        assert box.width / inch == pytest.approx(2.3)
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.axes[1].get_window_extent().x0 + 0.3 * inch
    bar = figure.axes[1].child_axes[0].get_window_extent()
    assert 0 < figure.axes[1].get_window_extent().y0 - bar.y1 < 0.25 * inch


def test_numbers_are_on_their_categories_or_nowhere():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(12), 30)
    angle = 2 * np.pi * codes / 12
    apart = 10 * np.c_[np.cos(angle), np.sin(angle)] + rng.normal(size=(360, 2)) * 0.3
    figure = spaces({"apart": apart, "mixed": rng.normal(size=(360, 2))}, {"type": [f"t{k:02}" for k in codes]})
    numbers = {int(text.get_text()): text.get_position() for text in figure.axes[0].texts}
    assert sorted(numbers) == list(range(1, 13))
    for number, at in numbers.items():
        nearest = np.argmin(((apart - at) ** 2).sum(1))
        assert codes[nearest] == number - 1
    assert not figure.axes[1].texts


def test_cells_without_a_category_are_grey_and_said():
    labels = ["a", None, "b"]
    figure = spaces(_line(3), {"type": labels})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b", "missing"]
    red, green, blue = to_rgb(_faces(figure.axes[0], labels)[None])
    assert red == green == blue


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"'shared' has shape \(3, 5\); 'depth' colours 3 cells"):
        spaces({"shared": np.ones((3, 5))}, {"depth": np.ones(3)})


def test_numbers_that_are_none_do_not_stretch_the_colours():
    xy = np.random.default_rng(0).normal(size=(50, 2))
    values = np.linspace(0, 1, 50)
    values[3] = np.inf
    low, high = spaces({"shared": xy}, {"depth": values}).axes[0].collections[0].get_clim()
    assert 0 <= low < high <= 1
    figure = spaces({"shared": xy}, {"depth": np.full(50, np.nan), "a$^$b": ["$^$"] * 50})
    figure.canvas.draw()
    assert spaces({"shared": xy[:0]}, {"depth": values[:0]}).axes


def test_long_names_that_differ_at_their_ends_are_told_apart():
    names = [f"a very long name of a type of cells, number {k:02d} (activated)" for k in range(12)]
    labels = pd.Series(np.repeat(names, 10), dtype="category")
    figure = spaces({"shared": np.random.default_rng(0).normal(size=(120, 2))}, {"type": labels})
    (legend,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    assert len({text.get_text() for text in legend.get_texts()}) == 12
