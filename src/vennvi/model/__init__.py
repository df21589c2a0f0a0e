"""Models."""

from vennvi.model._models import MMVAE, MVAE, MMVAEPlusPlus, MoPoEVAE

__all__ = ["MMVAE", "MVAE", "MMVAEPlusPlus", "MoPoEVAE"]
