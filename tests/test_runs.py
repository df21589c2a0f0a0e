"""Random runs of features choose each with the same probability."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vennvi._runs import length_of, pieces, random_runs, runs_of, shares, take_runs


@pytest.mark.parametrize(("n_features", "n_chosen", "n_runs"), [(40, 10, 4), (37, 11, 5), (9, 8, 16), (7, 1, 16)])
def test_every_feature_is_chosen_equally_often(n_features, n_chosen, n_runs):
    counts = np.zeros(n_features)
    n_draws = 3000
    for _ in range(n_draws):
        runs = random_runs(n_features, n_chosen, n_runs)
        chosen = np.concatenate([np.arange(n_features)[run] for run in runs])
        assert len(chosen) == len(set(chosen)) == n_chosen
        assert (np.diff(chosen) > 0).all()
        counts[chosen] += 1
    p = n_chosen / n_features
    assert np.abs(counts / n_draws - p).max() < 5 * (p * (1 - p) / n_draws) ** 0.5


def test_all_features_are_one_run():
    assert random_runs(5, 5) == random_runs(5, 9) == [slice(0, 5)]


def test_runs_of_an_index_take_it():
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    for n_chosen in (1, 7, 49):
        runs = random_runs(50, n_chosen)
        rows = torch.cat([torch.arange(run.start, run.stop) for run in runs])
        torch.testing.assert_close(take_runs(x, runs), x[rows])
        torch.testing.assert_close(take_runs(x.T, runs, -1), x.T[:, rows])
        for run, entries in runs_of(rows):
            torch.testing.assert_close(x[run], x[rows[entries]])


def test_shares_are_equal_and_in_order():
    rng = np.random.default_rng(0)
    for _ in range(300):
        bounds = np.sort(rng.choice(60, 2 * rng.integers(1, 6), replace=False))
        runs = [slice(int(i), int(j)) for i, j in bounds.reshape(-1, 2)]
        n = int(rng.integers(1, length_of(runs) + 1))
        dealt = shares(runs, n)
        chosen = [np.arange(60)[run] for share in dealt for run in share]
        np.testing.assert_array_equal(np.concatenate(chosen), np.concatenate([np.arange(60)[run] for run in runs]))
        lengths = [length_of(share) for share in dealt]
        assert len(dealt) == n
        assert max(lengths) - min(lengths) <= 1
        assert all(run.start < run.stop for share in dealt for run in share)


def test_nothing_is_dealt_out_in_empty_shares():
    assert shares([], 2) == shares([slice(3, 3)], 2) == [[], []]


@pytest.mark.parametrize("length", [1, 3, 100])
def test_pieces_are_no_longer_than_asked_for(length):
    runs = [slice(2, 9), slice(10, 11)]
    cut = list(pieces(runs, length))
    assert [i for piece in cut for i in range(piece.start, piece.stop)] == [*range(2, 9), 10]
    assert all(0 < piece.stop - piece.start <= length for piece in cut)
