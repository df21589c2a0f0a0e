"""Some of many features, as a few runs of neighbours: reading and writing them copies nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

#: Runs of neighbouring features, none overlapping.
Runs = Sequence[slice]

#: Runs that a choice of features is made of.
N_RUNS = 16


def random_runs(n_features: int, n_chosen: int, n_runs: int = N_RUNS) -> list[slice]:
    """Choose features evenly over all, each with the same probability: runs and gaps of equal lengths, rotated at random.

    Examples
    --------
    >>> chosen = random_runs(100, 25, n_runs=5)
    >>> sum(run.stop - run.start for run in chosen), 5 <= len(chosen) <= 6
    (25, True)
    """
    if n_chosen >= n_features:
        return [slice(0, n_features)]
    n_runs = min(n_runs, n_chosen, n_features - n_chosen)
    offset = int(torch.randint(n_features, ()))
    runs: list[slice] = []
    for i in range(n_runs):
        chosen_before, gaps_before = i * n_chosen // n_runs, i * (n_features - n_chosen) // n_runs
        start = (offset + chosen_before + gaps_before) % n_features
        stop = start + (i + 1) * n_chosen // n_runs - chosen_before
        runs.append(slice(start, min(stop, n_features)))
        if stop > n_features:
            runs.append(slice(0, stop - n_features))
    return sorted(runs, key=lambda run: run.start)


def length_of(runs: Runs) -> int:
    """Number of features in the runs."""
    return sum(run.stop - run.start for run in runs)


def shares(runs: Runs, n: int) -> list[list[slice]]:
    """Runs dealt out into ``n`` shares of about equal length, in their order.

    Examples
    --------
    >>> shares([slice(0, 4), slice(6, 8)], 2)
    [[slice(0, 3, None)], [slice(3, 4, None), slice(6, 8, None)]]
    """
    length = length_of(runs)
    dealt: list[list[slice]] = [[] for _ in range(n)]
    done = 0
    for run in runs:
        start = run.start
        while start < run.stop:
            share = ((done + 1) * n - 1) // length
            stop = min(run.stop, start + (share + 1) * length // n - done)
            dealt[share].append(slice(start, stop))
            start, done = stop, done + stop - start
    return dealt


def pieces(runs: Runs, length: int) -> Iterator[slice]:
    """Runs cut into pieces no longer than that."""
    for run in runs:
        for start in range(run.start, run.stop, length):
            yield slice(start, min(start + length, run.stop))


def lie_in_place(device: torch.device) -> bool:
    """Whether runs are used where they lie: on a CPU, where that copies nothing; a GPU would start a kernel for each."""
    return device.type == "cpu"


def take_runs(x: Tensor, runs: Runs, dim: int = 0) -> Tensor:
    """Rows of the runs one after the other, or columns with ``dim=-1``; of a single run as they lie."""
    if len(runs) == 1:
        return x.narrow(dim, runs[0].start, runs[0].stop - runs[0].start)
    return torch.cat([x.narrow(dim, run.start, run.stop - run.start) for run in runs], dim=dim)


def rows_of(runs: Runs) -> Tensor:
    """Rows of the runs, one after the other.

    Examples
    --------
    >>> rows_of([slice(3, 5), slice(8, 9)])
    tensor([3, 4, 8])
    """
    return torch.from_numpy(np.concatenate([np.arange(run.start, run.stop, dtype=np.int64) for run in runs]))


def runs_of(rows: Tensor) -> list[tuple[slice, slice]]:
    """Runs of an increasing index: where they lie, and which entries of the index they are.

    Examples
    --------
    >>> runs_of(torch.tensor([3, 4, 8]))
    [(slice(3, 5, None), slice(0, 2, None)), (slice(8, 9, None), slice(2, 3, None))]
    """
    breaks = torch.nonzero(rows.diff() != 1).squeeze(-1).add_(1).tolist()
    bounds = [0, *breaks, len(rows)]
    starts = rows[bounds[:-1]].tolist()
    return [
        (slice(start, start + j - i), slice(i, j)) for start, i, j in zip(starts, bounds[:-1], bounds[1:], strict=True)
    ]
