"""What is drawn: every cell in every panel, its colours, the notes and the legends."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

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


def test_many_categories_have_a_colour_each():
    labels = [f"type{i}" for i in range(20)]
    figure = spaces({"shared": np.random.default_rng(0).normal(size=(20, 2))}, {"type": labels})
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 20


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"'shared' has shape \(3, 5\); 'depth' colours 3 cells"):
        spaces({"shared": np.ones((3, 5))}, {"depth": np.ones(3)})
