"""Data for and from vennvi: simulators, and the path from a MuData to minibatches."""

from vennvi.data._simulate_gp import simulate_gp
from vennvi.data._simulate_multiome import simulate_multiome

__all__ = ["simulate_gp", "simulate_multiome"]
