"""Shared and private latent spaces of multi-omic data."""

from importlib.metadata import version

from vennvi import data, metrics, pl
from vennvi.model import MMVAE, MVAE, MMVAEPlusPlus, MoPoEVAE, VennVI

__all__ = ["MMVAE", "MVAE", "MMVAEPlusPlus", "MoPoEVAE", "VennVI", "data", "metrics", "pl"]
__version__ = version("vennvi")
