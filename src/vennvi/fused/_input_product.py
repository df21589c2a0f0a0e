"""Product of a minibatch and an encoder's first weight; a CSR minibatch is read by columns in the backward pass."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from vennvi._runs import shares
from vennvi._sparse import is_sparse, pattern_of
from vennvi.fused._late import LateGradient, LateRows, may_be_late
from vennvi.fused._multiply import multiplication
from vennvi.fused._threads import PRODUCT_NS, SPARSE_PRODUCT_NS, in_threads, n_shares

#: Numbers of a weight whose gradient is worth being late.
_WIDE = 2**16


@torch.compiler.disable  # is one fused step already: nothing to trace
def input_product(
    x: Tensor, weight: Tensor, coefficients: Tensor | None = None, loadings: Tensor | None = None
) -> Tensor:
    r"""Product :math:`x W` of a dense or CSR minibatch and a weight, or :math:`(x - c L) W`, which never makes :math:`x - c L`.

    On a CPU, threads share out the cells, and backward the rows of the weight. The gradient of the weight,
    :math:`x^\top g` (less :math:`L^\top c^\top g`), is written row by row there, each row once, for a CSR minibatch from the
    transposed one: several times as fast as the scattered sum of the cells. While :func:`~vennvi.fused.late_gradients`
    are allowed, that of a wide weight is one.

    Parameters
    ----------
    x
        Dense or CSR minibatch, shape ``(n, n_input)``.
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
    >>> input_product(x, weight)
    tensor([[0., 0., 1.],
            [2., 3., 0.]], ...)
    """
    others = (x.values() if is_sparse(x) else x, coefficients, loadings)
    reached = torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in others)
    if x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not reached:
        return _InputProduct.apply(x, weight, coefficients, loadings)
    product = (
        sums_of_rows(pattern_of(x).columns, weight, pattern_of(x).starts, x.values()) if is_sparse(x) else x @ weight
    )
    return product if coefficients is None or loadings is None else product - coefficients @ (loadings @ weight)


def worth_sharing(x: Tensor, weight: Tensor) -> bool:
    """Whether threads had better share out the product of a dense minibatch too; not one in bfloat16."""
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return n_shares(x.device, PRODUCT_NS * x.shape[0] * weight.numel()) > 1


def sums_of_rows(columns: Tensor, rows: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    """Sums of chosen rows times values, one from each start to the next, ``(n_starts - 1, n_output)``: a CSR product."""
    return embedding_bag(columns, rows, starts, mode="sum", per_sample_weights=values, include_last_offset=True)


class _InputProduct(torch.autograd.Function):
    """The product on a CPU, in single precision; only the weight gets a gradient."""

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx: Any, x: Tensor, weight: Tensor, coefficients: Tensor | None, loadings: Tensor | None) -> Tensor:
        coefficients = None if coefficients is None else coefficients.float()
        multiply = multiplication(weight.device.type)
        ctx.given, ctx.weight, ctx.multiply = (x, coefficients, loadings), weight.detach(), multiply
        ctx.late = may_be_late() and weight.numel() >= _WIDE
        starts, n_input = pattern_of(x).starts if is_sparse(x) else None, len(weight)
        product = weight.new_empty(x.shape[0], weight.shape[1])

        def map_cells(share: list[slice]) -> None:
            for cells in share:
                if starts is None:
                    multiply(x[cells], weight, out=product[cells])
                    continue
                of_cells = starts[cells.start : cells.stop + 1]
                stored = slice(int(of_cells[0]), int(of_cells[-1]))
                columns, values = pattern_of(x).columns[stored], x.values()[stored]
                product[cells] = sums_of_rows(columns, weight, of_cells - stored.start, values)

        def map_loadings(share: list[slice]) -> Tensor:
            mapped = weight.new_zeros(len(loadings), weight.shape[1])  # type: ignore[arg-type]
            for rows in share:
                multiply.add(loadings[:, rows], weight[rows], to=mapped)  # type: ignore[index]
            return mapped

        in_threads(map_cells, shares([slice(0, x.shape[0])], n_shares(x.device, _nanoseconds(x, weight.shape[1]))))
        if coefficients is not None and loadings is not None:
            dealt = shares([slice(0, n_input)], n_shares(x.device, PRODUCT_NS * len(loadings) * weight.numel()))
            mapped = functools.reduce(torch.add, in_threads(map_loadings, dealt))
            multiply.add(coefficients, mapped, to=product, alpha=-1)
        return product

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx: Any, by_product: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, coefficients, loadings = ctx.given
        weight, by_product, multiply = ctx.weight, by_product.contiguous(), ctx.multiply
        taken_out = None if coefficients is None else coefficients.T @ by_product
        if is_sparse(x):
            by_feature = pattern_of(x).by_column
            values, starts = x.values().index_select(0, by_feature.order), torch.from_numpy(by_feature.starts)

        @torch.autocast("cpu", enabled=False)  # wherever they are read
        def by_rows(rows: slice) -> Tensor:
            if is_sparse(x):
                stored = slice(int(starts[rows.start]), int(starts[rows.stop]))
                of_rows = starts[rows.start : rows.stop + 1] - stored.start
                product = sums_of_rows(by_feature.rows[stored], by_product, of_rows, values[stored])
            else:
                product = weight.new_empty(rows.stop - rows.start, by_product.shape[1])
                multiply(x[:, rows].T, by_product, out=product)
            if taken_out is not None:
                multiply.add(loadings[:, rows].T, taken_out, to=product, alpha=-1)
            return product

        gradient = LateRows(weight, by_rows, _nanoseconds(x, by_product.shape[1]))
        return None, LateGradient(gradient) if ctx.late else gradient.whole(), None, None


def _nanoseconds(x: Tensor, n_output: int) -> float:
    """About how long a product takes."""
    return n_output * (SPARSE_PRODUCT_NS * x.values().numel() if is_sparse(x) else PRODUCT_NS * x.numel())
