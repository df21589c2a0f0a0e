"""Which rows of a collection come next: the one order that the loaders of all modalities follow."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch.distributed
from annbatch.abc import Sampler
from numpy.typing import NDArray


class RowSampler(Sampler):
    r"""Minibatches of given rows, in their order or shuffled; the same whenever it is asked in the same epoch.

    Shuffled, an epoch takes blocks of ``chunk_size`` neighbouring rows in random order, holds about ``pool`` rows in
    memory at a time and draws the minibatches from these at random: reading stays sequential within a block, and a
    minibatch has cells of up to ``pool / chunk_size`` places.

    Shared by the processes of :mod:`torch.distributed`, each takes its part of the epoch's rows, equally many; fewer
    rows than there are processes are left out.

    Parameters
    ----------
    rows
        Rows to visit.
    batch_size
        Rows in a minibatch.
    chunk_size
        Neighbouring rows that are read together.
    pool
        Rows in memory at a time; rounded to whole minibatches, so that only the last one is smaller.
    seed
        Seed of the shuffling; ``None`` keeps the order of ``rows``.
    shared
        Whether several processes share the rows, or else each visits all.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        chunk_size: int,
        pool: int,
        seed: int | None = None,
        shared: bool = False,
    ):
        self._rows, self._batch_size, self._chunk_size = rows, batch_size, chunk_size
        self._seed, self._shared = seed, shared
        self._pool = batch_size * max(pool // batch_size, 1)
        self.epoch = 0

    @property
    def batch_size(self) -> int:
        """Rows in a minibatch."""
        return self._batch_size

    @property
    def shuffle(self) -> bool:
        """Whether the rows are shuffled."""
        return self._seed is not None

    def n_batches(self, n_obs: int) -> int:
        """Minibatches in an epoch."""
        return math.ceil(len(self._rows) // self._world()[1] / self._batch_size)

    def validate(self, n_obs: int) -> None:
        """Refuse rows that the collection does not have."""
        if len(self._rows) and not 0 <= self._rows.min() <= self._rows.max() < n_obs:
            raise IndexError(f"The collection has {n_obs} rows, asked for {self._rows.min()} to {self._rows.max()}.")

    def _sample(self, n_obs: int) -> Iterator[dict]:
        rng = None if self._seed is None else np.random.default_rng([self._seed, self.epoch])
        order = self._rows
        if rng is not None:
            chunks = np.split(order, np.arange(self._chunk_size, len(order), self._chunk_size))
            order = np.concatenate([chunks[i] for i in rng.permutation(len(chunks))])
        rank, n_ranks = self._world()
        share = len(order) // n_ranks
        order = order[rank * share : (rank + 1) * share]
        for start in range(0, share, self._pool):
            pool = order[start : start + self._pool]
            wanted, place = np.unique(pool, return_inverse=True)  # increasing: neighbours are read at once
            if rng is not None:
                place = rng.permutation(place)
            yield {
                "requests": wanted,
                "splits": np.split(place, np.arange(self._batch_size, len(place), self._batch_size)),
            }

    def _world(self) -> tuple[int, int]:
        return _world() if self._shared else (0, 1)

    def batches(self, n_obs: int) -> Iterator[NDArray[np.int64]]:
        """Rows of each minibatch of an epoch."""
        for request in self._sample(n_obs):
            yield from (request["requests"][split] for split in request["splits"])


class Relay(Sampler):
    """Passes on what another sampler says: ``current``, as it is when an iteration starts."""

    current: RowSampler

    @property
    def batch_size(self) -> int:
        """Rows in a minibatch."""
        return self.current.batch_size

    @property
    def shuffle(self) -> bool:
        """Whether the rows are shuffled."""
        return self.current.shuffle

    def n_batches(self, n_obs: int) -> int:
        """Minibatches in an epoch."""
        return self.current.n_batches(n_obs)

    def validate(self, n_obs: int) -> None:
        """Refuse rows that the collection does not have."""
        self.current.validate(n_obs)

    def _sample(self, n_obs: int) -> Iterator[dict]:
        yield from self.current._sample(n_obs)


def _world() -> tuple[int, int]:
    """Rank of this process, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
