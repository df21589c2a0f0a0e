"""Gradients that a fused pass makes by itself: where they are held, and the chain rule's last step."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class GradientRooms:
    """Memory that the gradients of one step leave to those of the next, once nobody holds them any more.

    Let go and fetched anew, the memory of a wide layer's gradient is taken meanwhile by something small, and there have to
    be two of it; from some size on the system takes it back, and clears it each time.
    """

    def __init__(self) -> None:
        self._rooms: dict[int, tuple[NDArray, weakref.ref]] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """In this context gradients are made in these rooms."""
        token = _ROOMS.set(self)
        try:
            yield
        finally:
            _ROOMS.reset(token)

    def room(self, like: Tensor, n_rows: int) -> NDArray[np.float32]:
        """Room for a gradient, that of the one before of the same parameter if it is free."""
        whole, last = self._rooms.get(like.data_ptr(), (None, None))
        if last is not None and last() is not None:  # a tensor holds on to the array that it was made of
            return _room(like, n_rows)
        if whole is None or len(whole) < n_rows or whole.shape[1:] != like.shape[1:]:
            self._rooms.pop(like.data_ptr(), None)
            whole = None  # before there is another
            whole = _room(like, n_rows)
        given = whole[:n_rows]
        self._rooms[like.data_ptr()] = whole, weakref.ref(given)
        return given

    def clear(self) -> None:
        """Let the memory go."""
        self._rooms.clear()


_ROOMS: ContextVar[GradientRooms | None] = ContextVar("rooms for gradients", default=None)


def empty_gradient(like: Tensor, n_rows: int) -> Tensor:
    """Room for the gradient of some rows of a tensor, a parameter's within :meth:`GradientRooms.in_use` that of the step before.

    numpy asks the system for huge pages, torch on a CPU does not: for 100,000 peaks, fetching the room anew each step
    took longer than filling it.
    """
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return like.new_empty(n_rows, *like.shape[1:])
    rooms = _ROOMS.get() if like.is_leaf else None  # what is computed anew is somewhere else in each step
    return torch.from_numpy(_room(like, n_rows) if rooms is None else rooms.room(like, n_rows))


def _room(like: Tensor, n_rows: int) -> NDArray[np.float32]:
    return np.empty((n_rows, *like.shape[1:]), np.float32)


def scaled(gradients: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Gradients times a scalar, in place; as they are where looking at the scalar is free and it is one."""
    if factor.device.type == "cpu" and factor.item() == 1:
        return list(gradients)
    return [gradient.mul_(factor) for gradient in gradients]
