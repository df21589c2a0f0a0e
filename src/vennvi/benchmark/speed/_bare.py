r"""MMVAE++ with Gaussian likelihoods in plain PyTorch: what the same model costs without a framework.

The architecture, the terms of the loss (:func:`vennvi.objectives.mmvae_plus_plus`) and the optimiser are those of
:class:`vennvi.MMVAEPlusPlus`, written out by hand: encoders and decoders of one hidden layer, one noise sd a feature,
each target decoded once for all terms, the KL weight rising from 0 to 1, fused Adam, the data as tensors on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vennvi.benchmark.speed._hooks import Hooks

_FLOOR = 1e-3
_NOISE_FLOOR = 1e-2


class BareMMVAEPlusPlus(nn.Module):
    """Encoders, decoders and noise of two or more Gaussian views."""

    def __init__(self, n_inputs: Sequence[int], n_shared: int, n_private: int, n_hidden: int = 128):
        super().__init__()
        self.n_private = n_private
        self.encode = nn.ModuleList(nn.Sequential(nn.Linear(d, n_hidden), nn.LeakyReLU()) for d in n_inputs)
        self.shared = nn.ModuleList(nn.Linear(n_hidden, 2 * n_shared) for _ in n_inputs)
        self.private = nn.ModuleList(nn.Linear(n_hidden, 2 * n_private) for _ in n_inputs)
        self.decode = nn.ModuleList(
            nn.Sequential(nn.Linear(n_shared + n_private, n_hidden), nn.LeakyReLU(), nn.Linear(n_hidden, d))
            for d in n_inputs
        )
        self.noise = nn.ParameterList(nn.Parameter(torch.full((d,), -1.0)) for d in n_inputs)

    def loss(self, views: Sequence[Tensor], beta: float) -> Tensor:
        """Loss of a minibatch, a mean over its cells."""
        total = torch.zeros((), device=views[0].device)
        drawn, own = [], []
        for x, encode, shared, private in zip(views, self.encode, self.shared, self.private, strict=True):
            h = encode(x)
            s, kl_s = _draw(shared(h))
            p, kl_p = _draw(private(h))
            drawn.append(s)
            own.append(p)
            total = total + beta * (kl_s + kl_p)
        for m, x in enumerate(views):
            absent = torch.zeros_like(own[m])
            latents = [torch.cat([s.detach(), own[m]] if e == m else [s, absent], dim=-1) for e, s in enumerate(drawn)]
            sd = softplus(self.noise[m]) + _NOISE_FLOOR
            squares = ((self.decode[m](torch.stack(latents)) - x) / sd).square()
            total = total + 0.5 * squares.sum() + len(drawn) * len(x) * (sd.log().sum() + 0.9189385332046727 * len(sd))
        return total / len(views[0])


def _draw(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Draw from the Gaussian, and its KL divergence to the prior summed over cells."""
    loc, raw = parameters.chunk(2, dim=-1)
    sd = softplus(raw) + _FLOOR
    kl = (0.5 * (loc.square() + sd.square() - 1) - sd.log()).sum()
    return loc + sd * torch.randn_like(sd), kl


def train_bare(
    views: Mapping[str, Tensor],
    *,
    n_shared: int,
    n_private: int,
    n_epochs: int,
    batch_size: int,
    device: str = "cpu",
    hooks: Hooks | None = None,
) -> tuple[BareMMVAEPlusPlus, list[float]]:
    """Standardise, train, and return the model with the mean loss of each epoch."""
    tensors = [x.to(device) for x in views.values()]
    tensors = [(x - x.mean(0)) / x.std(0).clamp_min(1e-6) for x in tensors]
    model = BareMMVAEPlusPlus([x.shape[1] for x in tensors], n_shared, n_private).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    n_obs, history = len(tensors[0]), []
    for epoch in range(n_epochs):
        if hooks is not None:
            hooks.epoch_starts()
        beta = epoch / max(1, n_epochs - 1)
        total = torch.zeros((), device=device)
        for rows in torch.randperm(n_obs, device=device).split(batch_size):
            if hooks is not None:
                hooks.batch_starts()
            loss = model.loss([x[rows] for x in tensors], beta)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
            if hooks is not None:
                hooks.batch_ends()
        history.append(float(total) / n_obs)
    return model, history
