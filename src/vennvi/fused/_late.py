"""A gradient that is made when it is read, some rows at a time: an optimiser that asks for rows never has the whole."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from vennvi._runs import Runs, pieces, shares
from vennvi.fused._gradients import empty_gradient
from vennvi.fused._threads import in_threads, n_shares

#: Rows that are made at a time.
_N_ROWS = 2**12
_ALLOWED: ContextVar[bool] = ContextVar("late gradients are allowed", default=False)


class LateRows:
    """Rows of a gradient, and how to make them.

    Parameters
    ----------
    like
        The parameter, shape ``(n_rows, ...)``.
    make
        Makes some rows, ``(n_some, ...)`` in the parameter's type, each time anew.
    nanoseconds
        About how long one thread takes to make all of them.
    """

    def __init__(self, like: Tensor, make: Callable[[slice], Tensor], nanoseconds: float = 0.0):
        self.like, self.nanoseconds = like, nanoseconds
        self._make: Callable[[slice], Tensor] | None = make
        self._whole = torch.empty(0)

    def __getitem__(self, some: slice) -> Tensor:
        return self._whole[some] if self._make is None else self._make(some).contiguous()

    def blocks(self, share: Runs) -> Iterator[tuple[slice, Tensor]]:
        """A share of the rows, which and what they are, in blocks that stay in the cache."""
        for some in pieces(share, _N_ROWS):
            yield some, self[some]

    def whole(self) -> Tensor:
        """All rows, made by several threads; they are kept instead of what makes them, since they may be written to."""
        if self._make is not None:
            gradient = empty_gradient(self.like, len(self.like))

            def write(share: list[slice]) -> None:
                for some, rows in self.blocks(share):
                    gradient[some] = rows

            in_threads(write, shares([slice(0, len(gradient))], n_shares(gradient.device, self.nanoseconds)))
            self._whole, self._make, self.nanoseconds = gradient, None, 0.0
        return self._whole


class LateGradient(Tensor):
    """Gradient of a parameter, made a block of rows at a time by who knows of it, as a whole by whatever else reads it.

    It has no memory of its own: ``data_ptr`` is 0, and the whole cannot be shared with other processes.

    Parameters
    ----------
    rows
        Its rows; at hand as ``late_rows``.

    Examples
    --------
    >>> import torch
    >>> weight = torch.zeros(3, 2)
    >>> gradient = LateGradient(LateRows(weight, lambda some: torch.ones(3, 2)[some]))
    >>> gradient.late_rows[:1]
    tensor([[1., 1.]])
    >>> (2 * gradient).sum()
    tensor(12.)
    """

    late_rows: LateRows

    @staticmethod
    def __new__(cls, rows: LateRows) -> LateGradient:
        """Of the parameter's shape and type, without room of its own."""
        self = Tensor._make_wrapper_subclass(cls, rows.like.shape, dtype=rows.like.dtype, device=rows.like.device)
        self.late_rows = rows
        return self

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """As torch prints the whole."""
        return repr(self.late_rows.whole())

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The whole as an array."""
        return self.late_rows.whole().numpy(force=force)

    def tolist(self) -> list[Any]:
        """The whole as lists."""
        return self.late_rows.whole().tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of the whole."""
        return copy.deepcopy(self.late_rows.whole(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as the whole."""
        return self.late_rows.whole().__reduce_ex__(protocol)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any operation is one on the whole; autograd hands a gradient on detached, and that stays late."""
        if func is torch.ops.aten.detach.default:
            return cls(args[0].late_rows)
        args, kwargs = tree_map_only(cls, lambda gradient: gradient.late_rows.whole(), (args, kwargs or {}))
        return func(*args, **kwargs)


@contextmanager
def late_gradients() -> Iterator[None]:
    """Wide first layers' gradients are late meanwhile: their optimiser is to be one that asks for rows."""
    before = _ALLOWED.set(True)
    try:
        yield
    finally:
        _ALLOWED.reset(before)


def may_be_late() -> bool:
    """Whether gradients may be late now: not where processes average them."""
    return _ALLOWED.get() and not (torch.distributed.is_available() and torch.distributed.is_initialized())
