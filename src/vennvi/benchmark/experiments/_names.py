"""Names of models that experiments list together."""

from __future__ import annotations

#: vennvi's models: the recommended one, then the paper's, best first there.
OURS = ("VennVI", "MMVAEPlusPlus", "MMVAE", "MoPoEVAE", "MVAE")
#: Peers that read real values, or counts as real values.
REAL_VALUED = ("PCA+CCA", "MOFA", "multivae-MMVAEPlus", "multivae-DMVAE")
