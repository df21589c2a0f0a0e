"""What an experiment hands to a model, and where the published data lie."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import mudata
import numpy as np
from mudata import MuData
from numpy.typing import NDArray

#: What a modality holds: decides how a baseline that needs real values normalises it.
Kind = Literal["real", "rna", "atac", "protein"]

#: Environment variable that names the folder of the published data.
DATA_VARIABLE = "VENNVI_DATA"
_DEFAULT_DATA = Path("..") / "shared" / "data"


class CannotRun(Exception):
    """A model cannot run on these data or in this environment; the message is the reason shown in the tables."""


@dataclass(frozen=True)
class BenchmarkData:
    """A complete data set, split, with all that is known about it.

    Every modality holds every sample, in the order of ``mdata.obs_names``.

    Parameters
    ----------
    mdata
        The data; ``X`` of each modality is what the models read.
    train, test
        Row numbers of the training and the held-out samples.
    kinds
        What each modality holds, by name.
    likelihoods
        Likelihood of each modality, by name.
    labels
        Columns of ``mdata.obs`` to predict; the first is the one that supervised models see (training rows only). Samples
        without a label (NaN) are trained on, and left out where labels are read.
    shared_factor
        True shared factor, samples x dimensions, if known.
    private_factors
        True private factors by modality, samples x dimensions.
    nuisances
        Continuous numbers that a latent should *not* carry, such as the log-depth of a modality, by name.
    """

    mdata: MuData
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    kinds: Mapping[str, Kind]
    likelihoods: Mapping[str, str]
    labels: tuple[str, ...] = ()
    shared_factor: NDArray[np.floating] | None = None
    private_factors: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    nuisances: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for modality in self.modalities:
            if not self.mdata[modality].obs_names.equals(self.mdata.obs_names):
                raise ValueError(
                    f"Modality {modality!r} does not hold the samples of the MuData in its order. Benchmark data are "
                    "complete: subset the samples to those that every modality has."
                )
        for name, keyed in (("kinds", self.kinds), ("likelihoods", self.likelihoods)):
            if set(keyed) != set(self.modalities):
                raise ValueError(f"{name} is keyed by {list(keyed)}, but the modalities are {list(self.modalities)}.")
        if np.intersect1d(self.train, self.test).size:
            raise ValueError("Training and held-out samples overlap.")
        absent = [label for label in self.labels if label not in self.mdata.obs]
        if absent:
            raise ValueError(f"Labels {absent} are not columns of mdata.obs: {list(self.mdata.obs.columns)}.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in their order in the MuData."""
        return tuple(self.mdata.mod)

    def label(self, name: str) -> NDArray[np.object_]:
        """Values of a label as strings, ``None`` where a sample has none, shape ``(n,)``."""
        column = self.mdata.obs[name]
        values = np.array(column.astype(str), dtype=object)
        values[column.isna().to_numpy()] = None
        return values


def data_directory() -> Path:
    """Folder of the published data: ``$VENNVI_DATA``, or ``../shared/data`` where that is not set.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named) if named else _DEFAULT_DATA
    if not folder.is_dir():
        source = f"{DATA_VARIABLE}={named}" if named else f"the default {_DEFAULT_DATA} ({DATA_VARIABLE} is not set)"
        raise FileNotFoundError(
            f"No folder of published data: {source} does not exist. Set the environment variable {DATA_VARIABLE} to the "
            "folder that holds cll.h5mu, tcga_brca.h5mu, snareseq_cortex.h5mu and pbmc10k_citeseq.h5mu."
        )
    return folder


def read_published(file: str) -> MuData:
    """Read a MuData from :func:`data_directory`; a fresh copy at each call.

    Raises
    ------
    FileNotFoundError
        If the folder or the file is not there; the message names ``VENNVI_DATA``.
    """
    path = data_directory() / file
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Point {DATA_VARIABLE} to a folder that holds {file}.")
    with warnings.catch_warnings():
        # genes and proteins of one name
        warnings.filterwarnings("ignore", message="Cannot join columns|var_names are not unique", category=UserWarning)
        return _read(path.resolve()).copy()


@lru_cache(maxsize=1)
def _read(path: Path) -> MuData:
    return mudata.read_h5mu(path)
