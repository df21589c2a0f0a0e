"""A model whose encoders and decoders are linear maps, set by hand: everything about it has a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
import torch
from mudata import MuData

import vennvi

N_SHARED, N_PRIVATE = 3, 2
#: LeakyReLU(z) - LeakyReLU(-z) = 1.01 z: two hidden units make a linear one.
SLOPE = 1.01


@dataclass
class Linear:
    """The model and what it was made of."""

    model: vennvi.MMVAE
    x: dict[str, np.ndarray]
    loadings: dict[str, np.ndarray]
    """Rows: shared dimensions, then private ones; columns: features."""
    noise: float
    encode: dict[str, np.ndarray]
    """From standardised features to latents."""

    def latents(self, cells) -> dict[str, np.ndarray]:
        """Unimodal latents of cells, shared then private, by modality."""
        return {m: ((x - x.mean(0)) / x.std(0))[cells] @ self.encode[m] for m, x in self.x.items()}


def linear_model(
    n_obs: int = 600, n_features: int = 40, noise: float = 0.5, private_only: int = 0, seed: int = 0
) -> Linear:
    """Draw data from the linear model and put its loadings, and their pseudo-inverses, into an MMVAE.

    Of the last ``private_only`` features, the shared loadings are zero.
    """
    rng = np.random.default_rng(seed)
    n_latent = N_SHARED + N_PRIVATE
    s = rng.normal(size=(n_obs, N_SHARED))
    x, loadings = {}, {}
    for m in ("rna", "protein"):
        z = np.hstack([s, rng.normal(size=(n_obs, N_PRIVATE))])
        loadings[m] = rng.normal(size=(n_latent, n_features)) * rng.uniform(0.2, 3, n_features)
        loadings[m][:N_SHARED, n_features - private_only :] = 0
        x[m] = (z @ loadings[m] + noise * rng.normal(size=(n_obs, n_features)) + rng.normal(size=n_features)).astype(
            "f4"
        )
    names = pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    variables = {m: pd.DataFrame(index=[f"{m}{j}" for j in range(n_features)]) for m in x}
    mdata = MuData({m: ad.AnnData(v, obs=names, var=variables[m]) for m, v in x.items()})
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=N_SHARED, n_private=N_PRIVATE, n_hidden=2 * n_latent)
    both = np.vstack([np.eye(n_latent), -np.eye(n_latent)])
    encode = {}
    with torch.no_grad():
        for m in x:
            standardised = loadings[m] / x[m].std(0)
            encode[m] = np.linalg.pinv(standardised)
            encoder, decoder = model.module.encoders[m], model.module.decoders[m]
            for parameter in [*encoder.parameters(), *decoder.parameters()]:
                parameter.zero_()
            encoder.input.weight.copy_(torch.as_tensor(encode[m] @ both.T))
            read = torch.as_tensor(both.T / SLOPE)
            encoder.shared.weight[:N_SHARED].copy_(read[:N_SHARED])
            encoder.private.weight[:N_PRIVATE].copy_(read[N_SHARED:])
            decoder.input.weight.copy_(torch.as_tensor(both))
            decoder.output.weight.copy_(torch.as_tensor(standardised.T @ both.T / SLOPE))
    model.is_trained_ = True
    model.train_indices = np.arange(0, n_obs // 2)
    model.validation_indices = np.arange(n_obs // 2, n_obs)
    return Linear(model, x, loadings, noise, encode)
