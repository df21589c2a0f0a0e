"""Blocks of features shared out among threads, each of which does its own from beginning to end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of each part, in their order; each in a thread of its own, whose operations are on one thread.

    A block that all threads work on together goes from one core's cache to the other's with every operation; one that a
    thread has for itself stays where it is. No gradients are recorded; inference mode is the caller's. An error of a part is
    raised. A single part is done by the caller, on as many threads as it has.
    """
    if len(parts) == 1:
        return [work(parts[0])]
    is_inference = torch.is_inference_mode_enabled()

    def apart(part: Part) -> Result:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(False):
            return work(part)

    return list(_pool(len(parts), os.getpid()).map(apart, parts))


@cache
def _pool(n_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one has none of its parent's."""
    n_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, "vennvi", initializer=_one_thread_each)
    everyone = threading.Barrier(n_threads)  # so that each of them is there
    list(pool.map(lambda _: everyone.wait(), range(n_threads)))
    torch.set_num_threads(n_before)  # what threads of others start with is not changed
    return pool


def _one_thread_each() -> None:
    torch.get_num_threads()  # a thread takes over the process's number when it is first asked
    torch.set_num_threads(1)
