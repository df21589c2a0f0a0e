"""How good are the latent spaces and the predictions: pure functions, arrays in, numbers out.

Every score is for data that the model has not been trained on: in the sample, an encoder memorises which
observations belong together. Rows with NaN (cells absent from a modality) are left out, and the counts say how many.
"""

from vennvi.metrics._alignment import Alignment, alignment, foscttm, recall_at_k
from vennvi.metrics._coverage import IntervalCoverage, interval_coverage, predictive_ranks, rank_coverage
from vennvi.metrics._diagnosis import Diagnosis, diagnose
from vennvi.metrics._leakage import Predictability, leakage, predictability
from vennvi.metrics._prediction import DevianceExplained, deviance_explained, r2_per_feature
from vennvi.metrics._probe import ProbeScore, linear_probe, probe_matrix
from vennvi.metrics._purity import NeighbourPurity, neighbour_purity
from vennvi.metrics._recovery import FactorRecovery, factor_recovery
from vennvi.metrics._reliability import Reliability, reliability, temperature
from vennvi.metrics._shared_signal import SharedSignal, shared_signal

__all__ = [
    "Alignment",
    "DevianceExplained",
    "Diagnosis",
    "FactorRecovery",
    "IntervalCoverage",
    "NeighbourPurity",
    "Predictability",
    "ProbeScore",
    "Reliability",
    "SharedSignal",
    "alignment",
    "deviance_explained",
    "diagnose",
    "factor_recovery",
    "foscttm",
    "interval_coverage",
    "leakage",
    "linear_probe",
    "neighbour_purity",
    "predictability",
    "predictive_ranks",
    "probe_matrix",
    "r2_per_feature",
    "rank_coverage",
    "recall_at_k",
    "reliability",
    "shared_signal",
    "temperature",
]
