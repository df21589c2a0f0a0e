"""How good are the latent spaces and the predictions: pure functions, arrays in, numbers out.

Every score is for data that the model has not been trained on: in the sample, an encoder memorises which
observations belong together. Rows with NaN (cells absent from a modality) are left out, and the counts say how many.
"""

from vennvi.metrics._alignment import Alignment, alignment, foscttm, recall_at_k
from vennvi.metrics._leakage import Predictability, leakage, predictability
from vennvi.metrics._prediction import DevianceExplained, deviance_explained, r2_per_feature
from vennvi.metrics._probe import ProbeScore, linear_probe, probe_matrix
from vennvi.metrics._recovery import FactorRecovery, factor_recovery

__all__ = [
    "Alignment",
    "DevianceExplained",
    "FactorRecovery",
    "Predictability",
    "ProbeScore",
    "alignment",
    "deviance_explained",
    "factor_recovery",
    "foscttm",
    "leakage",
    "linear_probe",
    "predictability",
    "probe_matrix",
    "r2_per_feature",
    "recall_at_k",
]
