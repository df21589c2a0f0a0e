r"""Training on several processes: what a process must learn of the minibatches of the others.

Lightning's DDP gives each of :math:`W` processes (ranks) a part of the minibatch and averages their gradients. So that
the average is the gradient of the loss :math:`\mathcal L` of the whole minibatch, as one process would compute it:

- A sum over cells divided by a number of cells, :math:`\frac{1}{N} \sum_i \ell_i` with :math:`N = \sum_r N_r`, is
  computed on rank :math:`r` as :math:`\frac{W}{N} \sum_{i \in r} \ell_i`: its own cells over the *mean* number of cells
  of a rank (:func:`cells_per_rank`), however many of its own have the modality in question,

  .. math:: \frac{1}{W} \sum_r \nabla_\theta \frac{W}{N} \sum_{i \in r} \ell_i = \nabla_\theta \frac{1}{N} \sum_i \ell_i

- A term :math:`A(z)` that compares cells with each other reads the latents :math:`z = (z_1, \dots, z_W)` of all ranks
  (:func:`gather_rows`), and every rank computes the same number. Only :math:`z_r` depends on :math:`\theta` through what
  rank :math:`r` has at hand, so its gradient is multiplied by :math:`W`,

  .. math:: \frac{1}{W} \sum_r W \frac{\partial A}{\partial z_r} \frac{\partial z_r}{\partial \theta} = \nabla_\theta A
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def cells_per_rank(counts: Tensor) -> Tensor:
    r"""Mean over the processes of numbers of cells, :math:`\frac{1}{W} \max(\sum_r N_r, 1)`.

    Parameters
    ----------
    counts
        Numbers of this process, the same shape on every process.

    Returns
    -------
    The same on every process; never 0.
    """
    total = counts.detach().clone()
    distributed.all_reduce(total)
    return total.clamp_min(1) / distributed.get_world_size()


def gather_rows(x: Tensor) -> Tensor:
    r"""Rows of all processes, in the order of the ranks, :math:`(z_1, \dots, z_W)`; gradients flow into one's own.

    The gradient of this process' rows is multiplied by the number of processes, because DDP divides by it. That is
    right for what every process computes alike from the result: the loss itself, not a part of it.

    Parameters
    ----------
    x
        Rows of this process, shape ``(n, d)``; ``n`` may differ between processes and be 0.

    Returns
    -------
    Shape ``(n_1 + ... + n_W, d)``, the same on every process.
    """
    return _GatherRows.apply(x)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rank, n_ranks = distributed.get_rank(), distributed.get_world_size()
        counts = torch.zeros(n_ranks, dtype=torch.int64, device=x.device)
        counts[rank] = len(x)
        distributed.all_reduce(counts)
        n_rows = counts.tolist()
        padded = x.new_zeros(max(n_rows), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in range(n_ranks)]
        distributed.all_gather(parts, padded)
        ctx.first, ctx.n_rows, ctx.n_ranks = sum(n_rows[:rank]), len(x), n_ranks
        return torch.cat([part[:n] for part, n in zip(parts, n_rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[ctx.first : ctx.first + ctx.n_rows] * ctx.n_ranks
