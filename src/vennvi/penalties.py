"""Terms beyond the evidence lower bound: pure functions of latents, off in the paper's models."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(a: Tensor, b: Tensor, present: Tensor, scale: float) -> Tensor:
    r"""Symmetric InfoNCE between two modalities' draws of the shared latent (van den Oord et al. 2018).

    .. math:: -\frac{1}{2n} \sum_i \Big[ \log \frac{e^{-\|a_i - b_i\|^2 / 2\tau^2}}{\sum_j e^{-\|a_i - b_j\|^2 / 2\tau^2}}
              + \log \frac{e^{-\|a_i - b_i\|^2 / 2\tau^2}}{\sum_j e^{-\|a_j - b_i\|^2 / 2\tau^2}} \Big]

    over the :math:`n` cells of the minibatch that have both modalities: each cell must find its own partner among the
    others'. Where several processes train, the minibatch is that of all of them
    (:func:`vennvi.distributed.gather_rows`).

    Parameters
    ----------
    a, b
        Draws of shape ``(n, d)``.
    present
        1 where the cell has both modalities, shape ``(n,)``.
    scale
        Distance :math:`\tau` at which two draws count as apart.

    Returns
    -------
    Mean over cells in nats, between 0 and about :math:`\log n` (no alignment); 0 with fewer than two such cells.

    Examples
    --------
    >>> import torch
    >>> a = torch.eye(4)
    >>> float(info_nce(a, a, torch.ones(4), scale=0.1)) < 1e-6
    True
    """
    rows = torch.nonzero(present > 0).squeeze(-1)
    if len(rows) < 2:
        return (a.sum() + b.sum()) * 0.0
    with torch.autocast(a.device.type, enabled=False):  # squares that nearly cancel
        a, b = a[rows].float(), b[rows].float()
        squared = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2 * a @ b.T
        logits = squared.clamp_min(0) / (-2 * scale**2)
        own = torch.arange(len(rows), device=a.device)
        return 0.5 * (cross_entropy(logits, own) + cross_entropy(logits.T, own))
