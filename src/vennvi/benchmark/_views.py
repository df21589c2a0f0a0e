r"""Real-valued views of any modality, for baselines that know no counts.

============ =====================================================================================================
kind         view, for counts :math:`x_{ij}` with depth :math:`\ell_i` and training median depth :math:`\tilde\ell`
============ =====================================================================================================
``real``     :math:`x_{ij}`
``rna``      :math:`\log(1 + \tilde\ell\, x_{ij} / \ell_i)`
``atac``     :math:`\log(1 + 10^4 \cdot [x_{ij} > 0] / \ell_i \cdot \mathrm{idf}_j)`,
             :math:`\mathrm{idf}_j = \log(1 + n / (1 + n_j))` over the training cells
``protein``  :math:`\log(1 + x_{ij})` less its mean over the proteins of the cell (centred log-ratio)
============ =====================================================================================================
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vennvi.benchmark._data import BenchmarkData

_TFIDF_SCALE = 1e4


def real_view(data: BenchmarkData, modality: str) -> NDArray[np.float64]:
    """Dense real-valued view of one modality, all samples, with statistics of the training rows; see the module."""
    values = data.mdata[modality].X
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    dense = dense.astype(np.float64)
    match data.kinds[modality]:
        case "real":
            return dense
        case "rna":
            depth = _depth(dense)
            return np.log1p(dense * (np.median(depth[data.train]) / depth))
        case "atac":
            present = (dense > 0).astype(np.float64)
            n_with = present[data.train].sum(axis=0)
            idf = np.log1p(len(data.train) / (1 + n_with))
            return np.log1p(_TFIDF_SCALE * present / _depth(present) * idf)
        case "protein":
            logs = np.log1p(dense)
            return logs - logs.mean(axis=1, keepdims=True)


def scaled_view(data: BenchmarkData, modality: str) -> NDArray[np.float64]:
    """:func:`real_view`, centred and scaled by the training rows: what the baselines read.

    Real values: every feature has variance 1 (constant ones stay 0). Counts keep the variances that the transformation
    gave them, as is usual (a peak open in three cells must not weigh as much as one open in a thousand), divided by one
    number so that the mean variance is 1.
    """
    view = real_view(data, modality)
    variance = view[data.train].var(axis=0)
    if data.kinds[modality] != "real":
        variance = np.full_like(variance, variance.mean())
    constant = variance < 1e-16
    view = (view - view[data.train].mean(axis=0)) / np.sqrt(np.where(constant, 1.0, variance))
    view[:, constant] = 0.0
    return view


def _depth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total of each row, at least 1, shape ``(n, 1)``."""
    return np.maximum(values.sum(axis=1, keepdims=True), 1.0)
