"""The three matrix products of a block of a decoder's last layer."""

from __future__ import annotations

import torch
from torch import Tensor


class Products:
    r"""Products of a block in single precision: :math:`\pm W h^\top`, :math:`W^\top d` and :math:`d \, (g h)`.

    Everything lies feature by feature, so that each product reads its factors as they are.

    Parameters
    ----------
    h
        Activations that the layer reads, shape ``(n_outputs, n_hidden)``, a row for each term and cell.
    g
        Weight of each row, shape ``(n_outputs, 1)``.
    """

    def __init__(self, h: Tensor, g: Tensor):
        self._across, self._weighted = h.T.contiguous(), h * g

    def factor(self, w: Tensor) -> Tensor:
        """The layer's weight ``(n_block, n_hidden)`` as the products read it."""
        return w

    def add_outputs(self, o: Tensor, w: Tensor, sign: float) -> None:
        """Add the layer's outputs, times the sign, to ``o`` of shape ``(n_block, n_outputs)``."""
        o.addmm_(w, self._across, alpha=sign)

    def add_by_hidden(self, by_hidden: Tensor, w: Tensor, derivative: Tensor) -> None:
        """Add the activations' gradient, unweighted, ``(n_hidden, n_outputs)``, given the outputs', ``(n_block, n_outputs)``."""
        by_hidden.addmm_(w.T, derivative)

    def write_by_weight(self, by_weight: Tensor, derivative: Tensor) -> None:
        """Write the weight's gradient, ``(n_block, n_hidden)``."""
        torch.mm(derivative, self._weighted, out=by_weight)


class LowPrecisionProducts(Products):
    """The same with factors of another precision, as autocast has them; sums over blocks, and all else, are in single."""

    def __init__(self, h: Tensor, g: Tensor, dtype: torch.dtype):
        super().__init__(h, g)
        self._dtype, self._across, self._weighted = dtype, self._across.to(dtype), self._weighted.to(dtype)

    def factor(self, w: Tensor) -> Tensor:
        """The layer's weight in that precision."""
        return w.to(self._dtype)

    def add_outputs(self, o: Tensor, w: Tensor, sign: float) -> None:
        """Add the layer's outputs."""
        o.add_(w @ self._across, alpha=sign)

    def add_by_hidden(self, by_hidden: Tensor, w: Tensor, derivative: Tensor) -> None:
        """Add the activations' gradient."""
        by_hidden += w.T @ derivative.to(self._dtype)

    def write_by_weight(self, by_weight: Tensor, derivative: Tensor) -> None:
        """Write the weight's gradient."""
        by_weight.copy_(derivative.to(self._dtype) @ self._weighted)


def products_of(h: Tensor, g: Tensor) -> Products:
    """Products in the precision of :func:`factor_dtype`."""
    dtype = factor_dtype(h.device.type)
    return Products(h, g) if dtype == torch.float32 else LowPrecisionProducts(h, g, dtype)


def factor_dtype(device_type: str) -> torch.dtype:
    """Precision of the factors: bfloat16 where autocast says so, otherwise single.

    Not float16: derivatives, which no gradient scaler reaches here, could underflow in it.
    """
    if torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.bfloat16:
        return torch.bfloat16
    return torch.float32


def add_product(to: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add a product, of factors in the precision of the second, to what is in single precision; in place."""
    return to.addmm_(a, b) if b.dtype == to.dtype else to.add_(a.to(b.dtype) @ b)
