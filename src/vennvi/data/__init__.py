"""Data for and from vennvi: simulators, and the paths from a MuData or from disk to minibatches."""

from vennvi.data._data_module import AnnbatchMuDataModule
from vennvi.data._simulate_gp import simulate_gp
from vennvi.data._simulate_multiome import simulate_multiome
from vennvi.data._write_collection import write_collection

__all__ = ["AnnbatchMuDataModule", "simulate_gp", "simulate_multiome", "write_collection"]
