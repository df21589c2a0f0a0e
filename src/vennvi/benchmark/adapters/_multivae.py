r"""MMVAE+ and DMVAE through their own package, ``multivae``.

Set up to differ from vennvi's models in the objective alone:

- encoders and decoders have one hidden layer of 128 units and LeakyReLU (the package's default decoder ends in a sigmoid,
  which cannot reach standardised values, and has a noise scale fixed at 1);
- the decoder is linear at the end, and one Gaussian noise sd a view is learned with it, from 1 down to a floor; it is a
  parameter of the decoder, so the package's own optimiser fits it. (Of fixed sds of .15, .5 and 1, an sd a feature and an
  sd a view, tried on ``gp`` at 20/100, the last two differ most: an sd a feature, as in vennvi's ``normal``, lets a view
  write its shared features off as noise, and DMVAE reads .0 instead of .4 at 2+2+2.);
- learning rate, batch size and epochs of the experiment; the model after the last epoch is read. For MMVAE+ the package's
  defaults otherwise (10 importance samples, DReG, Laplace posteriors); for DMVAE too.

Counts are read as the real-valued views of :mod:`vennvi.benchmark._views`.

References
----------
Palumbo, Daunhawer & Vogt (2023), MMVAE+. Lee & Pavlovic (2021), Private-shared disentangled multimodal VAE (DMVAE).
Senellart, Chadebec & Allassonnière (2023), MultiVae: a Python library for multimodal generative autoencoders.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import softplus

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._base import (
    Fit,
    Latents,
    Settings,
    private_space,
    refuse_labels,
    require,
    shared_space,
)

_N_HIDDEN = 128
_SD_FLOOR = 1e-2


@dataclass(frozen=True)
class MultivaeAdapter:
    """A model of the package ``multivae``; see the module for how it is set up.

    Parameters
    ----------
    class_name
        ``"MMVAEPlus"`` or ``"DMVAE"``.
    """

    class_name: Literal["MMVAEPlus", "DMVAE"]

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Train on the training samples, read on all; see :class:`~vennvi.benchmark.adapters.Adapter`."""
        name = f"multivae's {self.class_name}"
        refuse_labels(supervised, name)
        with _silence():
            require("multivae", package="multivae", model=name)
            views = {m: torch.as_tensor(scaled_view(data, m), dtype=torch.float32) for m in data.modalities}
            torch.manual_seed(seed)
            model = self._model(views, latents)
            self._train(model, {m: v[data.train] for m, v in views.items()}, settings, seed)
            return Fit(_read(model, views))

    def _model(self, views: dict[str, Tensor], latents: Latents) -> Any:
        from multivae.models import DMVAE, DMVAEConfig, MMVAEPlus, MMVAEPlusConfig

        common: dict[str, Any] = {
            "n_modalities": len(views),
            "latent_dim": latents.n_shared,
            "input_dims": {m: (v.shape[1],) for m, v in views.items()},
            "decoders_dist": dict.fromkeys(views, "normal"),
        }
        encoder, decoder = _architectures()
        encoders = {m: encoder(v.shape[1], latents.n_shared, latents.n_private) for m, v in views.items()}
        decoders = {m: decoder(latents.n_shared + latents.n_private, v.shape[1]) for m, v in views.items()}
        if self.class_name == "MMVAEPlus":
            model = MMVAEPlus(MMVAEPlusConfig(**common, modalities_specific_dim=latents.n_private), encoders, decoders)
        else:
            specific = dict.fromkeys(views, latents.n_private)
            model = DMVAE(DMVAEConfig(**common, modalities_specific_dim=specific), encoders, decoders)
        for m in views:
            model.recon_log_probs[m] = model.decoders[m].log_prob
        return model

    def _train(self, model: Any, views: dict[str, Tensor], settings: Settings, seed: int) -> None:
        from multivae.data.datasets.base import MultimodalBaseDataset
        from multivae.trainers import BaseTrainer, BaseTrainerConfig

        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=settings.batch_size,
                num_epochs=settings.max_epochs,
                learning_rate=settings.lr,
                seed=seed,
                no_cuda=settings.accelerator == "cpu",
            )
            BaseTrainer(model, train_dataset=MultimodalBaseDataset(views), training_config=config).train()


def _read(model: Any, views: dict[str, Tensor]) -> dict[str, NDArray[np.floating]]:
    """Posterior means of all samples."""
    from multivae.data.datasets.base import MultimodalBaseDataset

    model.eval()
    device = next(model.parameters()).device
    inputs = MultimodalBaseDataset({m: v.to(device) for m, v in views.items()})
    spaces: dict[str, NDArray[np.floating]] = {}
    with torch.no_grad():
        joint = model.encode(inputs, cond_mod="all", return_mean=True)
        spaces["shared"] = joint.z.cpu().numpy()
        for m in views:
            spaces[private_space(m)] = joint.modalities_z[m].cpu().numpy()
            spaces[shared_space(m)] = model.encode(inputs, cond_mod=[m], return_mean=True).z.cpu().numpy()
    return spaces


def _architectures() -> tuple[type, type]:
    """Encoder and decoder classes; made on call, since their bases come from an optional package."""
    from multivae.models.nn.base_architectures import BaseMultilatentEncoder
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn.base_architectures import BaseDecoder

    class Encoder(BaseMultilatentEncoder):
        def __init__(self, n_input: int, n_shared: int, n_private: int):
            super().__init__()
            self.latent_dim, self.style_dim = n_shared, n_private
            self.hidden = nn.Sequential(nn.Linear(n_input, _N_HIDDEN), nn.LeakyReLU())
            self.heads = nn.ModuleDict(
                {
                    "embedding": nn.Linear(_N_HIDDEN, n_shared),
                    "log_covariance": nn.Linear(_N_HIDDEN, n_shared),
                    "style_embedding": nn.Linear(_N_HIDDEN, n_private),
                    "style_log_covariance": nn.Linear(_N_HIDDEN, n_private),
                }
            )

        def forward(self, x: Tensor) -> Any:
            h = self.hidden(x)
            return ModelOutput(**{name: head(h) for name, head in self.heads.items()})

    class Decoder(BaseDecoder):
        def __init__(self, n_latent: int, n_output: int):
            super().__init__()
            self.latent_dim = n_latent
            self.layers = nn.Sequential(nn.Linear(n_latent, _N_HIDDEN), nn.LeakyReLU(), nn.Linear(_N_HIDDEN, n_output))
            self.raw_sd = nn.Parameter(torch.full((1,), float(np.log(np.expm1(1.0 - _SD_FLOOR)))))

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z))

        def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
            return Normal(reconstruction, _SD_FLOOR + softplus(self.raw_sd)).log_prob(target)

    return Encoder, Decoder


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the package's progress bars, log lines and warnings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
