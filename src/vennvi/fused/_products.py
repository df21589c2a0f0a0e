"""The three matrix products of a block of a decoder's last layer."""

from __future__ import annotations

import copy
from typing import Self

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
        self._by_hidden = torch.zeros_like(self._across)

    def add_outputs(self, o: Tensor, w: Tensor, sign: float) -> None:
        """Add the layer's outputs, times the sign, to ``(n_block, n_outputs)``; its weight is ``(n_block, n_hidden)``."""
        o.addmm_(w, self._across, alpha=sign)

    def read_derivative(self, derivative: Tensor, w: Tensor, by_weight: Tensor) -> None:
        """From the derivative by the outputs, unweighted: the weight's gradient is written, the activations' added up."""
        self._by_hidden.addmm_(w.T, derivative)
        torch.mm(derivative, self._weighted, out=by_weight)

    def by_hidden(self) -> Tensor:
        """Sum over the blocks that were read of the activations' gradients, unweighted, ``(n_hidden, n_outputs)``."""
        return self._by_hidden

    def of_another_thread(self) -> Self:
        """The same factors, for other blocks at the same time."""
        other = copy.copy(self)
        other._by_hidden = torch.zeros_like(self._by_hidden)
        return other


class LowPrecisionProducts(Products):
    """The same with factors in half precision, as autocast has them; sums over blocks, and all else, are in single."""

    def __init__(self, h: Tensor, g: Tensor, dtype: torch.dtype):
        super().__init__(h, g)
        self._dtype, self._across, self._weighted = dtype, self._across.to(dtype), self._weighted.to(dtype)
        self._w: Tensor | None = None

    def add_outputs(self, o: Tensor, w: Tensor, sign: float) -> None:
        """Add the layer's outputs."""
        self._w = w.to(self._dtype)
        o.add_(self._w @ self._across, alpha=sign)

    def read_derivative(self, derivative: Tensor, w: Tensor, by_weight: Tensor) -> None:
        """Write the weight's gradient, and add up the activations'; of the block that outputs were added for."""
        low = derivative.to(self._dtype)
        self._by_hidden += self._w.T @ low  # type: ignore[union-attr]
        by_weight.copy_(low @ self._weighted)


def products_of(h: Tensor, g: Tensor) -> Products:
    """Products in the precision that is asked for: in bfloat16 where autocast says so, otherwise in single precision.

    Not in float16: derivatives, which no gradient scaler reaches here, could underflow in it.
    """
    device = h.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16:
        return LowPrecisionProducts(h, g, torch.bfloat16)
    return Products(h, g)
