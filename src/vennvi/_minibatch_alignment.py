"""How well the modalities of a minibatch find each other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.distributions import Normal

from vennvi.metrics import foscttm


@torch.no_grad()
def foscttm_of_minibatch(q_shared: Mapping[str, Normal], mask: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """:func:`~vennvi.metrics.foscttm` between the shared latents that modalities infer alone, over every two of them.

    It is a fraction of the other cells, so that minibatches of any size estimate the same; their mean, weighted by the
    cells, is that of all.

    Parameters
    ----------
    q_shared
        Posteriors of the shared latent, by modality, ``(n, n_shared)``.
    mask
        1 where the cell has the modality, by modality, ``(n, 1)``.

    Returns
    -------
    The mean over cells and pairs of modalities, and the number of cells behind it, a cell once for each pair; 0 cells if no
    two cells have two modalities.
    """
    total, cells = 0.0, 0
    for a, b in combinations(q_shared, 2):
        both = ((mask[a] > 0) & (mask[b] > 0)).squeeze(-1)
        if (n := int(both.sum())) > 1:
            total += n * foscttm(*(q_shared[m].loc[both].float().cpu().numpy() for m in (a, b)))
            cells += n
    device = next(iter(mask.values())).device
    return torch.tensor(total / max(cells, 1), device=device), torch.tensor(float(cells), device=device)
