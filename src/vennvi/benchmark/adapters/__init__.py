"""Every model that the experiments compare, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass

from vennvi.benchmark.adapters._base import Adapter, Fit, Latents, Settings, private_space, shared_space
from vennvi.benchmark.adapters._mofa import MOFAAdapter
from vennvi.benchmark.adapters._multivae import MultivaeAdapter
from vennvi.benchmark.adapters._pca import PCAAdapter
from vennvi.benchmark.adapters._pca_cca import PCACCAAdapter
from vennvi.benchmark.adapters._scvi import MultiVIAdapter, TotalVIAdapter
from vennvi.benchmark.adapters._vennvi import VennviAdapter

__all__ = [
    "MODELS",
    "Adapter",
    "Fit",
    "Latents",
    "Model",
    "Settings",
    "get_model",
    "private_space",
    "shared_space",
]


@dataclass(frozen=True)
class Model:
    """A model of the comparison: how to train it, and how it is drawn and named in figures and tables."""

    name: str
    """On the command line and in the results."""
    label: str
    """In figures and tables."""
    adapter: Adapter
    color: str
    has_supervised: bool = False
    learns_by_epochs: bool = True


# Okabe & Ito's colour-blind-safe palette, and colours of Tol's for VennVI and for what comes on count data only.
_ALL = (
    Model("VennVI", "VennVI", VennviAdapter("VennVI"), "#661100", has_supervised=True),
    Model("MMVAEPlusPlus", "MMVAE++", VennviAdapter("MMVAEPlusPlus"), "#D55E00", has_supervised=True),
    Model("MMVAE", "MMVAE", VennviAdapter("MMVAE"), "#0072B2", has_supervised=True),
    Model("MoPoEVAE", "MoPoE", VennviAdapter("MoPoEVAE"), "#009E73", has_supervised=True),
    Model("MVAE", "MVAE", VennviAdapter("MVAE"), "#CC79A7", has_supervised=True),
    Model("PCA+CCA", "PCA + CCA", PCACCAAdapter(), "#999933", learns_by_epochs=False),
    Model("PCA", "PCA of each alone", PCAAdapter(), "#AA4499", learns_by_epochs=False),
    Model("MOFA", "MOFA", MOFAAdapter(), "#888888", learns_by_epochs=False),
    Model("multivae-MMVAEPlus", "MMVAE+ (multivae)", MultivaeAdapter("MMVAEPlus"), "#56B4E9"),
    Model("multivae-DMVAE", "DMVAE (multivae)", MultivaeAdapter("DMVAE"), "#E69F00"),
    Model("MULTIVI", "MULTIVI", MultiVIAdapter(), "#882255"),
    Model("TOTALVI", "TOTALVI", TotalVIAdapter(), "#332288"),
)

# VennVI with one addition removed; no experiment runs them unless they are asked for.
_ABLATIONS = (
    Model(
        "VennVI-unaligned",
        "VennVI without alignment",
        VennviAdapter("VennVI", model_kwargs={"alignment_weight": 0.0}),
        "#117733",
        has_supervised=True,
    ),
    Model(
        "VennVI-whole-private",
        "VennVI, private encoders read everything",
        VennviAdapter("VennVI", model_kwargs={"residual_private": False}),
        "#44AA99",
        has_supervised=True,
    ),
    Model(
        "VennVI-light-private",
        "VennVI, private KL weight 1",
        VennviAdapter("VennVI", model_kwargs={"private_kl_weight": 1.0}),
        "#88CCEE",
        has_supervised=True,
    ),
    Model(
        "VennVI-not-canonical",
        "VennVI without canonical variates",
        VennviAdapter("VennVI", model_kwargs={"n_canonical": 0}),
        "#DDCC77",
        has_supervised=True,
    ),
)

#: The models by name.
MODELS: dict[str, Model] = {model.name: model for model in (*_ALL, *_ABLATIONS)}


def get_model(name: str) -> Model:
    """Model by name, whatever the case.

    Raises
    ------
    ValueError
        If there is none; the message lists the names.

    Examples
    --------
    >>> get_model("pca+cca").label
    'PCA + CCA'
    """
    by_folded = {known.casefold(): model for known, model in MODELS.items()}
    try:
        return by_folded[name.strip().casefold()]
    except KeyError:
        raise ValueError(f"There is no model {name!r}; the models are {', '.join(MODELS)}.") from None
