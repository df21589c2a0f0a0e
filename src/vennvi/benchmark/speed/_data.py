"""Matrices of a workload: drawn once, kept on disk, read by every contestant's process.

Cells are of a few groups, which all modalities know: what a step costs depends on sizes and stored entries, and for VennVI
on how much the modalities share. A generator's own memory must not be in a contestant's peak, so another process runs it.
"""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from numpy.typing import NDArray
from scipy import sparse

from vennvi.benchmark.speed._workload import Modality, Workload

#: Entries drawn at once, to bound memory.
_CHUNK = 20_000_000
#: Factors that real values share, and groups of cells that counts do.
_RANK, _GROUPS = 5, 15
#: A feature is so many times as dense in half of the groups as on average; in the others, as much less.
_CONTRAST = 1.6


def random_csr(
    groups: NDArray, n_features: int, density: float, rng: np.random.Generator, *, binary: bool
) -> sparse.csr_matrix:
    """Sparse float32 matrix, a row for each cell's group: ones, or counts from 1 on (geometric, mean 2).

    Examples
    --------
    >>> x = random_csr(np.repeat([0, 1], 100), 50, 0.1, np.random.default_rng(0), binary=True)
    >>> x.shape, bool(0.08 < x.nnz / (200 * 50) < 0.12), x.has_canonical_format
    ((200, 50), True, True)
    """
    dense = rng.random((int(groups.max()) + 1, n_features)) < 0.5
    n_rows = max(1, int(_CHUNK / max(1.0, _CONTRAST * density * n_features)))
    return sparse.vstack(
        [_chunk(groups[i : i + n_rows], dense, density, rng, binary) for i in range(0, len(groups), n_rows)],
        format="csr",
    )


def _chunk(
    groups: NDArray, dense: NDArray[np.bool_], density: float, rng: np.random.Generator, binary: bool
) -> sparse.csr_matrix:
    n_obs, n_features = len(groups), dense.shape[1]
    n_places, highest = n_obs * n_features, min(_CONTRAST * density, 1.0)
    # every place is taken with the highest probability: the gaps between taken ones are geometric
    expected = n_places * highest
    gaps = rng.geometric(highest, size=int(expected + 10 * np.sqrt(expected) + 100))
    places = np.cumsum(gaps) - 1
    places = places[: np.searchsorted(places, n_places)]
    rows, columns = np.divmod(places, n_features)
    kept = dense[groups[rows], columns]
    kept |= rng.random(len(places)) < max(2 * density / highest - 1, 0.0)
    rows, columns = rows[kept], columns[kept]
    starts = np.searchsorted(rows, np.arange(n_obs + 1)).astype(np.int64)
    values = np.ones(len(rows), np.float32) if binary else rng.geometric(0.5, len(rows)).astype(np.float32)
    x = sparse.csr_matrix((values, columns.astype(np.int32), starts.astype(np.int32)), shape=(n_obs, n_features))
    x.has_sorted_indices = x.has_canonical_format = True
    return x


def write_data(workload: Workload, folder: Path, *, seed: int = 0) -> dict[str, int]:
    """Draw the matrices of a workload into a folder, unless they are there; stored entries by modality."""
    meta = folder / "stored.json"
    if not meta.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        stored = {}
        groups = rng.integers(_GROUPS, size=workload.n_obs)
        of_groups = any(modality.is_sparse for modality in workload.modalities.values())
        shared = np.eye(_GROUPS)[groups] if of_groups else rng.normal(size=(workload.n_obs, _RANK)) / np.sqrt(_RANK)
        for name, modality in workload.modalities.items():
            if modality.is_sparse:
                x = random_csr(groups, modality.n_features, modality.density, rng, binary=modality.kind == "binary")
                for part in ("data", "indices", "indptr"):
                    np.save(folder / f"{name}.{part}.npy", getattr(x, part))
                stored[name] = int(x.nnz)
            else:
                values = _dense(modality, shared, rng)
                np.save(folder / f"{name}.npy", values)
                stored[name] = values.size
        meta.write_text(json.dumps(stored), encoding="utf-8")
    return json.loads(meta.read_text(encoding="utf-8"))


def _dense(modality: Modality, shared: NDArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """Half of the variance from factors that all modalities share; protein counts are Poisson around that."""
    signal = shared @ rng.normal(size=(shared.shape[1], modality.n_features))
    values = signal + rng.normal(size=signal.shape)
    if modality.kind == "protein":
        return rng.poisson(np.exp(1.5 + 0.5 * values)).astype(np.float32)
    return values.astype(np.float32)


def read_data(workload: Workload, folder: Path) -> MuData:
    """MuData of what :func:`write_data` wrote."""
    names = pd.Index([f"cell{i}" for i in range(workload.n_obs)])
    views = {}
    for name, modality in workload.modalities.items():
        if modality.is_sparse:
            parts = [np.load(folder / f"{name}.{part}.npy") for part in ("data", "indices", "indptr")]
            x = sparse.csr_matrix(tuple(parts), shape=(workload.n_obs, modality.n_features))
        else:
            x = np.load(folder / f"{name}.npy")
        var = pd.DataFrame(index=[f"{name}{j}" for j in range(modality.n_features)])
        views[name] = ad.AnnData(x, obs=pd.DataFrame(index=names), var=var)
    return MuData(views)
