"""Product of a CSR minibatch and a weight, with a backward pass that reads the minibatch by columns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from vennvi._sparse import pattern_of
from vennvi.fused._gradients import empty_gradient

#: Rows of the weight whose gradient is made at a time.
_ROWS = 2**12


@torch.compiler.disable  # is one fused step already: nothing to trace
def sparse_product(
    x: Tensor, weight: Tensor, coefficients: Tensor | None = None, loadings: Tensor | None = None
) -> Tensor:
    r"""Product :math:`x W` of a CSR minibatch and a weight, or :math:`(x - c L) W`, which never makes :math:`x - c L`.

    The gradient of the weight, :math:`x^\top g` (less :math:`L^\top c^\top g`), is written row by row on a CPU, each row
    once, from the transposed minibatch: several times as fast as the scattered sum of the cells. Nothing else gets one.

    Parameters
    ----------
    x
        CSR minibatch, shape ``(n, n_input)``.
    weight
        Shape ``(n_input, n_output)``.
    coefficients, loadings
        What is taken out of ``x``, as a product: shapes ``(n, k)`` and ``(k, n_input)``.

    Examples
    --------
    >>> import torch
    >>> from vennvi.data._dataset import csr_tensor
    >>> x = csr_tensor([0, 1, 3], [2, 0, 1], torch.tensor([1.0, 2.0, 3.0]), 3)
    >>> weight = torch.eye(3, requires_grad=True)
    >>> sparse_product(x, weight)
    tensor([[0., 0., 1.],
            [2., 3., 0.]], ...)
    """
    if x.device.type == "cpu" and weight.requires_grad and torch.is_grad_enabled():
        return _SparseProduct.apply(x, weight, coefficients, loadings)
    return _product(x, weight, coefficients, loadings)


def _product(x: Tensor, weight: Tensor, coefficients: Tensor | None, loadings: Tensor | None) -> Tensor:
    pattern = pattern_of(x)
    product = embedding_bag(
        pattern.columns,
        weight,
        pattern.starts,
        mode="sum",
        per_sample_weights=x.values(),
        include_last_offset=True,
    )
    return product if coefficients is None or loadings is None else product - coefficients @ (loadings @ weight)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, coefficients: Tensor | None, loadings: Tensor | None) -> Tensor:
        ctx.given, ctx.weight = (x, coefficients, loadings), weight.detach()
        return _product(x, weight, coefficients, loadings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_product: Tensor) -> tuple[Tensor | None, ...]:
        x, coefficients, loadings = ctx.given
        by_feature, by_product = pattern_of(x).by_column, by_product.contiguous()
        values = x.values().index_select(0, by_feature.order)
        starts = torch.from_numpy(by_feature.starts)
        taken_out = None if coefficients is None else coefficients.T @ by_product
        by_weight = empty_gradient(ctx.weight, len(ctx.weight))
        for first in range(0, len(by_weight), _ROWS):  # written while in the cache, to where the gradient stays
            block = slice(first, min(first + _ROWS, len(by_weight)))
            stored = slice(int(starts[block.start]), int(starts[block.stop]))
            product = embedding_bag(
                by_feature.rows[stored],
                by_product,
                starts[block.start : block.stop + 1] - stored.start,
                mode="sum",
                per_sample_weights=values[stored],
                include_last_offset=True,
            )
            if taken_out is None:
                by_weight[block] = product
            else:
                torch.addmm(product, loadings[:, block].T, taken_out, alpha=-1, out=by_weight[block])
        return None, by_weight, None, None
