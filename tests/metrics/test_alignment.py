"""Alignment of paired latents, checked against naive loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from vennvi.metrics import alignment, foscttm, recall_at_k


def naive(a, b, k):
    """FOSCTTM and recall written out, without ties."""
    n = len(a)
    fractions, hits = [], []
    for source, target in ((a, b), (b, a)):
        for i in range(n):
            distance = [float(np.sqrt(((source[i] - target[j]) ** 2).sum())) for j in range(n)]
            fractions.append(sum(d < distance[i] for d in distance) / (n - 1))
            hits.append(i in np.argsort(distance)[:k])
    return np.mean(fractions), np.mean(hits)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(60, 3))
    return a, a + 0.7 * rng.normal(size=a.shape)


@pytest.mark.parametrize("block_entries", [2**19, 60, 7 * 60, 1])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_agrees_with_naive_loops_whatever_the_blocks(pairs, k, block_entries, monkeypatch):
    monkeypatch.setattr("vennvi.metrics._alignment._BLOCK_ENTRIES", block_entries)
    fraction, recall = naive(*pairs, k)
    assert foscttm(*pairs) == pytest.approx(fraction)
    assert recall_at_k(*pairs, k) == pytest.approx(recall)


def test_symmetric(pairs):
    a, b = pairs
    assert foscttm(a, b) == pytest.approx(foscttm(b, a))
    assert recall_at_k(a, b, 3) == pytest.approx(recall_at_k(b, a, 3))


def test_perfect_and_worst(pairs):
    a, _ = pairs
    assert foscttm(a, a) == 0
    assert recall_at_k(a, a, 1) == 1
    ends = np.array([[0.0], [1.0]])
    assert foscttm(ends, ends[::-1]) == 1
    assert recall_at_k(ends, ends[::-1], 1) == 0


@pytest.mark.parametrize("k", [1, 10, 50])
def test_collapsed_latents_are_chance(k):
    point = np.full((50, 2), 0.1)
    assert foscttm(point, point) == pytest.approx(0.5)
    assert recall_at_k(point, point, k) == pytest.approx(k / 50)


def test_one_collapsed_modality_is_chance_too(pairs):
    a, _ = pairs
    point = np.full_like(a, 0.3)
    from_point = foscttm(a, point)  # from a all are ties; from the point its match has a random rank
    assert from_point == pytest.approx(0.5)


def test_null_is_chance(pairs):
    score = alignment(*pairs, k=6, n_shuffles=30)
    assert score.foscttm_null == pytest.approx(0.5, abs=0.02)
    assert score.recall_null == pytest.approx(6 / 60, abs=0.02)
    assert score.foscttm < 0.2


def test_null_is_the_score_of_shuffled_pairs(pairs):
    a, b = pairs
    rng = np.random.default_rng(3)
    shuffled = [b[rng.permutation(60)] for _ in range(4)]
    score = alignment(a, b, k=5, n_shuffles=4, seed=3)
    assert score.foscttm_null == pytest.approx(np.mean([foscttm(a, other) for other in shuffled]))
    assert score.recall_null == pytest.approx(np.mean([recall_at_k(a, other, 5) for other in shuffled]))


def test_gathers_the_single_scores(pairs):
    a, b = (array.copy() for array in pairs)
    a[3] = np.nan
    b[[3, 9], 0] = np.nan
    kept = np.delete(np.arange(60), [3, 9])
    score = alignment(a, b, k=4, n_shuffles=2, seed=1)
    assert (score.n_obs, score.n_left_out, score.k) == (58, 2, 4)
    assert score.foscttm == foscttm(a, b) == foscttm(a[kept], b[kept])
    assert score.recall == recall_at_k(a, b, 4) == recall_at_k(a[kept], b[kept], 4)
    assert score == alignment(a, b, k=4, n_shuffles=2, seed=1)
    assert score.foscttm_null != alignment(a, b, k=4, n_shuffles=2, seed=2).foscttm_null


def test_undefined_is_nan(pairs):
    a, b = pairs
    assert np.isnan(foscttm(a[:1], b[:1]))
    assert np.isnan(recall_at_k(a[:0], b[:0], 1))
    assert np.isnan(alignment(a, b, n_shuffles=0).foscttm_null)


def test_bad_input(pairs):
    a, b = pairs
    with pytest.raises(ValueError, match="same rows"):
        foscttm(a, b[:-1])
    with pytest.raises(ValueError, match="dimensions"):
        foscttm(a, b[:, :2])
    with pytest.raises(ValueError, match="k must be"):
        recall_at_k(a, b, 0)
