"""What moves when a latent dimension moves: exact directional derivatives of the decoder, averaged over cells."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor


def mean_derivatives(
    decode: Callable[[Tensor, Tensor | None], Tensor],
    batches: Iterable[tuple[Tensor, Tensor | None]],
    dimensions: range,
    n_features: int,
) -> Tensor:
    r"""Mean over cells of :math:`\partial f_j / \partial z_k`, by one forward-mode pass a dimension and minibatch.

    Parameters
    ----------
    decode
        From latents ``(n, n_latent)`` and covariates to predictions ``(n, n_features)``.
    batches
        Latents and covariates of cells, minibatch by minibatch.
    dimensions
        Positions :math:`k` of the latents.
    n_features
        Width of the predictions.

    Returns
    -------
    Tensor of shape ``(n_features, len(dimensions))``, float64; NaN if there are no cells.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    >>> mean_derivatives(lambda z, _: z[:, :1] ** 2 * torch.ones(3), [(z, None)], range(2), 3)
    tensor([[4., 0.],
            [4., 0.],
            [4., 0.]], dtype=torch.float64)
    """
    _acknowledge_jit()
    total = torch.zeros(n_features, len(dimensions), dtype=torch.float64)
    n_cells = 0
    for z, covariates in batches:

        def of_latents(latents: Tensor, c: Tensor | None = covariates) -> Tensor:
            return decode(latents, c)

        for column, k in enumerate(dimensions):
            direction = torch.zeros_like(z)
            direction[:, k] = 1.0
            derivative = torch.func.jvp(of_latents, (z,), (direction,))[1]
            total[:, column] += derivative.sum(0).cpu().double()
        n_cells += len(z)
    return total / n_cells if n_cells else total * torch.nan


@cache
def _acknowledge_jit() -> None:
    """Torch's forward mode warns once a process of its own use of ``torch.jit``; take that where nobody is looking."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.func.jvp(torch.neg, (torch.zeros(1),), (torch.ones(1),))
