"""Figures of what a model found (matplotlib)."""

from vennvi.pl._alignment_null import alignment_null
from vennvi.pl._benchmark_sweep import benchmark_sweep
from vennvi.pl._coverage import coverage
from vennvi.pl._feature_scores import feature_scores
from vennvi.pl._probe_matrix import probe_matrix
from vennvi.pl._reliability import reliability
from vennvi.pl._shared_private import shared_private
from vennvi.pl._spaces import spaces
from vennvi.pl._training_curves import training_curves
from vennvi.pl._variance_blocks import variance_blocks
from vennvi.pl._variance_explained import variance_explained

__all__ = [
    "alignment_null",
    "benchmark_sweep",
    "coverage",
    "feature_scores",
    "probe_matrix",
    "reliability",
    "shared_private",
    "spaces",
    "training_curves",
    "variance_blocks",
    "variance_explained",
]
