"""Row-wise arithmetic on CSR tensors, without ever making them dense."""

from __future__ import annotations

import torch
from torch import Tensor


def is_sparse(x: Tensor) -> bool:
    """Whether a minibatch is a CSR tensor."""
    return x.layout == torch.sparse_csr


def row_of_entry(x: Tensor) -> Tensor:
    """Row index of every stored entry of a CSR tensor, shape ``(nnz,)``."""
    starts = x.crow_indices()
    return torch.repeat_interleave(starts.diff(), output_size=x.values().shape[0])


def row_sums(x: Tensor) -> Tensor:
    """Sum of each row, NaN entries left out, shape ``(n, 1)``; dense or CSR."""
    if is_sparse(x):
        return x.values().new_zeros(x.shape[0]).index_add_(0, row_of_entry(x), x.values()).unsqueeze(-1)
    return x.nansum(-1, keepdim=True)


def with_values(x: Tensor, values: Tensor) -> Tensor:
    """A CSR tensor with the same pattern and other values."""
    return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, size=x.shape, check_invariants=False)
