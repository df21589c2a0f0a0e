r"""What each modality can tell about the shared latent, by its decoder: the weights of a joint latent.

The Fisher information of a modality about its latents, at one cell, is that of its likelihood seen through the decoder,

.. math:: F_m = J_m^\top V_m^{-1} J_m, \qquad J_m = \frac{\partial\, E[x_m]}{\partial (s, p_m)}, \qquad V_m = \operatorname{diag} \operatorname{Var}[x_m]

and what is left of it for :math:`s` when :math:`p_m`, with its standard normal prior, is unknown is the Schur complement

.. math:: I_m = F_{ss} - F_{sp} (F_{pp} + 1)^{-1} F_{ps}

averaged over cells. A modality with few counts, or whose features move little with a shared dimension, has little to say about
it, however sure its encoder is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

#: Step of the central differences, in units of the prior's sd.
_STEP = 1e-2
#: Cells whose decodings are held at once.
_CHUNK = 16
#: Added to every information, relative to the largest entry of the sum: decides dimensions that nobody tells anything about.
_FLOOR = 1e-3


@torch.no_grad()
def decoder_information(
    module: SharedPrivateVAE, modality: str, z_shared: Tensor, size: Tensor, covariates: Tensor | None
) -> Tensor:
    """Information of one modality about the shared latent, mean over cells, its private latent at its prior mean.

    Parameters
    ----------
    module
        The model's module.
    modality
        Name of the modality.
    z_shared
        Where to look: shared latents of some cells that have the modality, shape ``(n, n_shared)``.
    size
        Their relative depths, shape ``(n, 1)``.
    covariates
        Their covariates, shape ``(n, n_covariates)``, or ``None``.

    Returns
    -------
    Positive semi-definite matrix of shape ``(n_shared, n_shared)``, in nats per squared prior sd.
    """
    likelihood, n_shared = module.likelihood(modality), module.n_shared
    n_latent = n_shared + module.n_private[modality]
    steps = _STEP * torch.eye(n_latent, device=z_shared.device).unsqueeze(1)  # (n_latent, 1, n_latent)
    total = z_shared.new_zeros(n_shared, n_shared)
    for start in range(0, len(z_shared), _CHUNK):
        cells = slice(start, start + _CHUNK)
        s = z_shared[cells]
        c = None if covariates is None else covariates[cells]
        latents = torch.cat([s, s.new_zeros(len(s), n_latent - n_shared)], dim=-1)

        def decoded(latents: Tensor, c=c, cells=cells):
            return likelihood.distribution(module.decode(modality, latents, c), size[cells])

        slopes = (decoded(latents + steps).mean - decoded(latents - steps).mean) / (2 * _STEP)  # (n_latent, n, d)
        variance = decoded(latents).variance.clamp_min(1e-8).expand(slopes.shape[1:])
        fisher = torch.einsum("ind,jnd->nij", slopes / variance, slopes)
        shared, cross = fisher[:, :n_shared, :n_shared], fisher[:, :n_shared, n_shared:]
        private = fisher[:, n_shared:, n_shared:] + torch.eye(n_latent - n_shared, device=s.device)
        total += (shared - cross @ torch.linalg.solve(private, cross.mT)).sum(0)
    total = total / max(len(z_shared), 1)
    return (total + total.T) / 2


def information_weighted(loc: Tensor, mask: Tensor, information: Tensor) -> Tensor:
    r"""Mean of the present modalities' locations, each weighted by its information.

    .. math:: \Big(\sum_m I_m\Big)^{-1} \sum_m I_m \mu_m

    Parameters
    ----------
    loc, mask
        Shapes ``(n_modalities, n, d)`` and ``(n_modalities, n, 1)``, 1 where the cell has the modality.
    information
        Shape ``(n_modalities, d, d)``.

    Returns
    -------
    Shape ``(n, d)``; a row in which no modality is present is NaN.

    Examples
    --------
    >>> import torch
    >>> loc = torch.tensor([[[0.0]], [[1.0]]])
    >>> information_weighted(loc, torch.ones(2, 1, 1), torch.tensor([[[1.0]], [[3.0]]])).item().__round__(3)
    0.75
    """
    floor = _FLOOR * information.sum(0).abs().max().clamp_min(1e-12)
    information = information + floor * torch.eye(information.shape[-1], device=information.device)
    weights = mask.unsqueeze(-1) * information.unsqueeze(1)  # (M, n, d, d)
    nobody = mask.sum(0) == 0
    total = weights.sum(0) + nobody.unsqueeze(-1) * torch.eye(information.shape[-1], device=loc.device)
    known = torch.where(mask > 0, loc, 0.0)
    summed = torch.einsum("mij,mnj->ni", information, known)
    return torch.linalg.solve(total, summed).masked_fill(nobody, torch.nan)
