"""Matrix products of a fused pass: in single precision or in autocast's, by the library that is faster on this processor."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor


class Multiply:
    """Products of matrices ``a`` ``(n, k)`` and ``b`` ``(k, m)`` in single precision, by torch; both as :meth:`factor` gives them.

    Results are written to, or added to, ``(n, m)`` in single precision. Factors of other precisions raise a
    :class:`RuntimeError` of torch or a :class:`TypeError` of numpy.
    """

    def factor(self, x: Tensor) -> Tensor:
        """A matrix as the products read it."""
        return x.float()

    def __call__(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        r"""Write a product, :math:`a b`."""
        torch.mm(a, b, out=out)

    def add(self, a: Tensor, b: Tensor, to: Tensor, alpha: float = 1.0) -> None:
        r"""Add a product to what is there, :math:`y + \alpha a b`."""
        to.addmm_(a, b, alpha=alpha)

    def affine(self, a: Tensor, b: Tensor, row: Tensor, out: Tensor, column: Tensor | None = None) -> None:
        r"""Write a product with a row ``(m,)`` and a column ``(n, 1)`` added: :math:`a b + r + c`."""
        if column is None:
            torch.addmm(row, a, b, out=out)
        else:
            torch.add(row, column, out=out)
            out.addmm_(a, b)


class _AddsAfterwards(Multiply):
    """One that has no product with something added."""

    def affine(self, a: Tensor, b: Tensor, row: Tensor, out: Tensor, column: Tensor | None = None) -> None:
        """Write the product, then add."""
        self(a, b, out)
        out.add_(row)
        if column is not None:
            out.add_(column)


class LowPrecisionMultiply(_AddsAfterwards):
    """Products whose factors, given by :meth:`factor`, are of another precision; results and sums are in single."""

    def __init__(self, dtype: torch.dtype):
        self._dtype = dtype

    def factor(self, x: Tensor) -> Tensor:
        """A matrix in that precision."""
        return x.to(self._dtype)

    def __call__(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """Write a product."""
        out.copy_(a @ b)

    def add(self, a: Tensor, b: Tensor, to: Tensor, alpha: float = 1.0) -> None:
        """Add a product."""
        to.add_(a @ b, alpha=alpha)


#: Products of so many numbers take no longer than reading and writing their sum.
_FEW = 32


class NumpyMultiply(_AddsAfterwards):
    """Products of a CPU in single precision, by numpy's BLAS."""

    def __call__(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """Write a product."""
        self._product(a, b, _array(out))

    def add(self, a: Tensor, b: Tensor, to: Tensor, alpha: float = 1.0) -> None:
        """Add a product; one of few numbers by torch, which needs no room for it, and takes less time."""
        if a.shape[1] <= _FEW:
            to.addmm_(a, b, alpha=alpha)
        else:
            to.add_(torch.from_numpy(self._product(a, b)), alpha=alpha)

    @staticmethod
    def _product(a: Tensor, b: Tensor, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):  # as torch: who reads the loss sees what is not finite
            return np.matmul(_array(a), _array(b), out=out)


_ON_CPU: ContextVar[Multiply | None] = ContextVar("products of a CPU", default=None)


def multiplication(device_type: str) -> Multiply:
    """How products are made now: in bfloat16 where autocast says so, otherwise in single precision.

    Not in float16: derivatives, which no gradient scaler reaches here, could underflow in it.
    """
    if torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.bfloat16:
        return LowPrecisionMultiply(torch.bfloat16)
    return (_ON_CPU.get() if device_type == "cpu" else None) or Multiply()


@contextmanager
def multiplied_by(multiply: Multiply) -> Iterator[None]:
    """Products of a CPU are made like that meanwhile; numpy's by one thread each, since several share them out already.

    That limit is the whole process's.
    """
    before = _ON_CPU.set(multiply)
    try:
        with threadpool_limits(1, user_api="blas") if isinstance(multiply, NumpyMultiply) else nullcontext():
            yield
    finally:
        _ON_CPU.reset(before)


def fastest_multiply() -> Multiply:
    """Of a CPU: numpy's OpenBLAS where torch has MKL and the processor is AMD's.

    MKL leaves such a processor's vectors of 512 bits alone: OpenBLAS takes half the time with them, and nine tenths with
    those of 256.
    """
    return NumpyMultiply() if torch.backends.mkl.is_available() and _openblas_in_numpy() and _is_amd() else Multiply()


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def _openblas_in_numpy() -> bool:
    built_with = np.show_config(mode="dicts").get("Build Dependencies", {})
    return "openblas" in built_with.get("blas", {}).get("name", "").lower()


@cache
def _is_amd() -> bool:
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        about = platform.processor()
    return "AuthenticAMD" in about
