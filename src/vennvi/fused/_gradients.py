"""Gradients that a fused pass makes by itself: where they are held, and the chain rule's last step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def empty_gradient(like: Tensor, n_rows: int) -> Tensor:
    """Room for the gradient of some rows of a parameter.

    numpy asks the system for huge pages, torch on a CPU does not: for 100,000 peaks, fetching the room anew each step
    took longer than filling it.
    """
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty((n_rows, *like.shape[1:]), np.float32))
    return like.new_empty(n_rows, *like.shape[1:])


def scaled(gradients: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Gradients times a scalar, in place; as they are where looking at the scalar is free and it is one."""
    if factor.device.type == "cpu" and factor.item() == 1:
        return list(gradients)
    return [gradient.mul_(factor) for gradient in gradients]
