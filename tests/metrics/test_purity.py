"""Purity of neighbourhoods against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vennvi.metrics import neighbour_purity


def by_hand(latent, labels, k):
    hits = []
    for i, row in enumerate(latent):
        others = sorted((float(((row - other) ** 2).sum()), j) for j, other in enumerate(latent) if j != i)
        hits += [labels[j] == labels[i] for _, j in others[:k]]
    return np.mean(hits)


@pytest.mark.parametrize("k", [1, 7, 100])
def test_purity_is_the_count(k):
    rng = np.random.default_rng(0)
    latent, labels = rng.normal(size=(50, 3)), rng.integers(0, 4, 50)
    latent[:, 0] += labels
    found = neighbour_purity(latent, labels, k)
    assert found.purity == pytest.approx(by_hand(latent, labels, min(k, 49)))
    pairs = [labels[i] == labels[j] for i in range(50) for j in range(50) if i != j]
    assert found.no_information == pytest.approx(np.mean(pairs))


def test_rows_without_a_label_or_latents_are_no_neighbours():
    latent = np.array([[0.0], [0.01], [0.02], [0.5], [np.nan]])
    found = neighbour_purity(latent, np.array(["a", None, "b", "a", "a"], dtype=object), 1)
    assert (found.n_rows, found.n_left_out) == (3, 2)
    assert found.purity == 0.0


def test_a_torn_type_shows_though_a_probe_reads_it():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 100)
    mixed = rng.normal(size=(200, 20))
    mixed[:, 0] = np.where(labels == "a", 1.0, -1.0)
    assert neighbour_purity(mixed, labels).purity < 0.75
    assert neighbour_purity(10 * mixed[:, :1], labels).purity == 1.0


def test_too_few_rows():
    with pytest.raises(ValueError, match="1 rows have a label"):
        neighbour_purity(np.zeros((2, 1)), np.array(["a", None], dtype=object))
