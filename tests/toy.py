"""Small MuData for tests: every storage format, row order and kind of absence at once."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

N_OBS = 60


def toy_mudata(
    n_modalities: int = 3, *, absent: bool = False, missing_entries: bool = False, permuted: bool = False, seed: int = 0
) -> MuData:
    """Up to four modalities: rna (counts, CSR), atac (0/1, CSC array), protein (real, dense), methylation (real, dense)."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(N_OBS, 2))
    names = [f"cell{i}" for i in range(N_OBS)]

    def linear(width: int) -> np.ndarray:
        return factor @ rng.normal(size=(2, width)) + 0.3 * rng.normal(size=(N_OBS, width))

    depth = rng.lognormal(0, 0.4, size=(N_OBS, 1))
    matrices = {
        "rna": sparse.csr_matrix(rng.poisson(depth * np.exp(0.7 * linear(12))).astype(np.float32)),
        "atac": sparse.csc_array((linear(15) > 0.8).astype(np.float32)),
        "protein": 5 + 3 * linear(7).astype(np.float32),
        "methylation": linear(9).astype(np.float32),
    }
    if missing_entries:
        matrices["protein"][rng.random(matrices["protein"].shape) < 0.1] = np.nan
    mods = {}
    for m in list(matrices)[:n_modalities]:
        adata = ad.AnnData(
            matrices[m],
            obs=pd.DataFrame(index=names),
            var=pd.DataFrame(index=[f"{m}{j}" for j in range(matrices[m].shape[1])]),
        )
        mods[m] = adata
    if absent:  # a different third of the cells lacks each modality; every cell keeps one at least
        for k, m in enumerate(mods):
            mods[m] = mods[m][[i for i in range(N_OBS) if i % 5 != k]].copy()
    if permuted:
        for m in mods:
            mods[m] = mods[m][rng.permutation(mods[m].n_obs)].copy()
    mdata = MuData(mods)
    rank = pd.Series(range(N_OBS), index=names)[mdata.obs_names].to_numpy()
    mdata.obs["batch"] = pd.Categorical(np.array(["a", "b", "c"])[rank % 3])
    mdata.obs["sex"] = pd.Categorical(np.array(["f", "m"])[rank % 2])
    mdata.obs["age"] = (rank % 7).astype(np.float64)
    mdata.obs["label"] = pd.Categorical(np.where(factor[rank, 0] > 0, "high", "low"))
    partial = np.where(rank % 4 == 0, "unknown", mdata.obs["label"].astype(str))
    mdata.obs["partial_label"] = pd.Categorical(partial)
    return mdata
