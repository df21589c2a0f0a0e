"""Models."""

from vennvi.model._models import MMVAE, MVAE, MMVAEPlusPlus, MoPoEVAE, VennVI

__all__ = ["MMVAE", "MVAE", "MMVAEPlusPlus", "MoPoEVAE", "VennVI"]
