"""Models."""

from vennvi.model._models import MMVAE, MVAE, MMVAEPlusPlus, MoPoEVAE, VennVI
from vennvi.model._predictive import Prediction

__all__ = ["MMVAE", "MVAE", "MMVAEPlusPlus", "MoPoEVAE", "Prediction", "VennVI"]
