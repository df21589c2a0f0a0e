"""Work shared out among threads, each of which does its own from beginning to end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

#: About how many nanoseconds one thread takes to multiply and add two numbers: in a matrix product, and in a sparse one.
PRODUCT_NS, SPARSE_PRODUCT_NS = 0.02, 0.1
#: Nanoseconds that are worth a thread of its own: some times as many as waking it takes.
_WORTH_A_THREAD = 300_000
_AT_HAND: ContextVar[int | None] = ContextVar("threads at hand", default=None)


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of each part, in their order, by as many threads as there are; operations of each are on one thread.

    A block that all threads work on together goes from one core's cache to the other's with every operation; one that a
    thread has for itself stays where it is. No gradients are recorded; inference mode is the caller's. An error of a part is
    raised. The first part is done by the caller, which has a core already.
    """
    if len(parts) == 1:
        return [work(parts[0])]
    is_inference = torch.is_inference_mode_enabled()

    def apart(part: Part) -> Result:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(False):
            return work(part)

    if (n := n_threads()) == 1:
        return [apart(part) for part in parts]
    others = _pool(n - 1, os.getpid())
    results = [others.submit(apart, part) for part in parts[1:]]
    try:
        with _at_hand(1):  # so that it does not share its part out again: the others are busy
            first = apart(parts[0])
    finally:
        for result in results:
            result.exception()  # waits for it, with fewer locks than `wait`
    return [first, *(result.result() for result in results)]


@contextmanager
def others_at_hand() -> Iterator[None]:
    """Operations of this thread are on one thread meanwhile, and all others wait for what is shared out by :func:`in_threads`.

    OpenMP's threads wait for the next operation at full speed, for some milliseconds after each that they took part in, and
    would take the cores from those that have work.
    """
    with _at_hand(n_threads()):
        yield


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Operations of this thread are on one thread meanwhile, and nothing is shared out."""
    with _at_hand(1):
        yield


@contextmanager
def _at_hand(n: int) -> Iterator[None]:
    before, at_hand = torch.get_num_threads(), _AT_HAND.set(n)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _AT_HAND.reset(at_hand)


def n_shares(device: torch.device, nanoseconds: float) -> int:
    """Threads among which work that takes one so long is worth being shared out; 1 on a GPU."""
    return max(min(n_threads(), int(nanoseconds / _WORTH_A_THREAD)), 1) if device.type == "cpu" else 1


def n_threads() -> int:
    """Threads that work can be shared out among."""
    return _AT_HAND.get() or torch.get_num_threads()


@cache
def _pool(n_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one has none of its parent's."""
    n_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, "vennvi", initializer=_one_thread_each)
    everyone = threading.Barrier(n_threads, timeout=60)  # so that each of them is there
    list(pool.map(lambda _: everyone.wait(), range(n_threads)))
    torch.set_num_threads(n_before)  # what threads of others start with is not changed
    return pool


def _one_thread_each() -> None:
    torch.get_num_threads()  # a thread takes over the process's number when it is first asked
    torch.set_num_threads(1)
