"""One pass over a modality's matrix: what kind of numbers it holds, and the statistics a model standardises by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vennvi.data._dataset import by_rows

#: Rows read at a time: bounds the memory that a backed or sparse matrix costs.
_CHUNK = 1024


@dataclass(frozen=True)
class FeatureSummary:
    """What one pass over a matrix of shape ``(n_obs, n_features)`` finds; missing (NaN) entries are left out."""

    mean: NDArray[np.float64]
    """Mean of each feature, shape ``(n_features,)``."""
    sd: NDArray[np.float64]
    """Standard deviation (``ddof=0``) of each feature, shape ``(n_features,)``; 0 for a constant one."""
    minimum: float
    maximum: float
    integral: bool
    """Whether every entry is an integer."""
    n_missing: int
    """Number of NaN entries."""
    is_sparse: bool
    median_total: float
    """Median over observations of the sum over features: the typical library size; positive."""

    @property
    def kind(self) -> Literal["binary", "counts", "real"]:
        """What the numbers are: 0 and 1 only, non-negative integers, or anything else."""
        if self.integral and self.minimum >= 0:
            return "binary" if self.maximum <= 1 else "counts"
        return "real"

    def describe(self) -> str:
        """Say in words what was found."""
        noun = {"binary": "0/1 values", "counts": "counts"}.get(self.kind, "real values")
        missing = f", {self.n_missing} of them missing" if self.n_missing else ""
        return f"{noun} from {self.minimum:g} to {self.maximum:g}{missing}"


def summarise(matrix, modality: str) -> FeatureSummary:
    """Read a dense, sparse or backed matrix once, in chunks of rows.

    Raises
    ------
    ValueError
        If the matrix holds infinite values, or a sparse matrix holds NaN (a missing entry cannot be told from the
        zeros around it there) or an entry in several parts; ``modality`` is named in the message.
    """
    n_features = matrix.shape[1]
    total, squares, n_seen = np.zeros(n_features), np.zeros(n_features), np.zeros(n_features)
    shift: NDArray[np.float64] | None = None
    minimum, maximum, integral, n_missing = np.inf, -np.inf, True, 0
    totals = []
    is_sparse = False
    for chunk in _chunks(matrix):
        is_sparse = sparse.issparse(chunk)
        stored = chunk.data if is_sparse else chunk
        if stored.size and np.isinf(stored).any():
            raise ValueError(
                f"Modality {modality!r} holds infinite values: replace them, or set them to NaN if missing."
            )
        missing = int(np.isnan(stored).sum()) if stored.dtype.kind == "f" else 0
        if missing and is_sparse:
            raise ValueError(
                f"Modality {modality!r} is sparse and holds {missing} NaN: missing entries are supported in dense matrices "
                f"only. Densify it (`mdata[{modality!r}].X.toarray()`) or remove them."
            )
        n_missing += missing
        if stored.size > missing:
            minimum, maximum = min(minimum, float(np.nanmin(stored))), max(maximum, float(np.nanmax(stored)))
        if is_sparse and stored.size < chunk.shape[0] * n_features:
            minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
        if integral and stored.dtype.kind == "f":
            integral = bool(np.all((stored == np.rint(stored)) | np.isnan(stored)))
        if is_sparse:
            if _has_duplicates(chunk):
                raise ValueError(
                    f"Modality {modality!r} is sparse and stores some entries more than once: call "
                    f"`mdata[{modality!r}].X.sum_duplicates()` first."
                )
            chunk = chunk.astype(np.float64)
            total += np.asarray(chunk.sum(axis=0)).ravel()
            squares += np.asarray(chunk.multiply(chunk).sum(axis=0)).ravel()
            n_seen += chunk.shape[0]
            totals.append(np.asarray(chunk.sum(axis=1)).ravel())
        else:
            values = chunk.astype(np.float64)
            observed = ~np.isnan(values)
            if shift is None:  # sums of squares of shifted values keep their digits when the mean is large
                shift = np.where(observed.any(axis=0), np.where(observed, values, 0).sum(0), 0) / observed.sum(0).clip(
                    1
                )
            totals.append(np.nansum(values, axis=1))
            values = np.where(observed, values - shift, 0.0)
            total += values.sum(axis=0)
            squares += (values**2).sum(axis=0)
            n_seen += observed.sum(axis=0)
    n_seen = n_seen.clip(1)
    mean = total / n_seen
    if n_missing:
        totals = [_expected_totals(chunk, mean if shift is None else mean + shift) for chunk in _chunks(matrix)]
    variance = np.maximum(squares / n_seen - mean**2, 0.0)
    level = np.abs(mean if shift is None else shift)
    usual = np.median(level + np.sqrt(variance))  # of the data's unit, which may be small
    scale = np.maximum(level, min(1.0, float(usual)))
    sd = np.where(variance > (1e-7 * scale) ** 2, np.sqrt(variance), 0.0)  # rounding noise is not variance
    return FeatureSummary(
        mean=mean if shift is None else mean + shift,
        sd=sd,
        minimum=minimum if np.isfinite(minimum) else 0.0,
        maximum=maximum if np.isfinite(maximum) else 0.0,
        integral=integral,
        n_missing=n_missing,
        is_sparse=is_sparse,
        median_total=_typical(np.concatenate(totals)) if totals else 1.0,
    )


def _typical(totals: NDArray[np.float64]) -> float:
    """Median of the measured totals: where most observations hold nothing, that of the others, and 1 if there are none."""
    measured = totals[~np.isnan(totals)]
    if len(measured) and (median := float(np.median(measured))) > 0:
        return median
    counted = measured[measured > 0]
    return float(np.median(counted)) if len(counted) else 1.0


def _has_duplicates(chunk: sparse.csr_matrix) -> bool:
    if chunk.has_canonical_format:
        return False
    merged = chunk.copy()
    merged.sum_duplicates()
    return merged.nnz < chunk.nnz


def _expected_totals(chunk: NDArray, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row sums over the share of the mean row that was observed: what they would be, were nothing missing; NaN if all is."""
    share = (~np.isnan(chunk)).astype(np.float64) @ mean / (mean.sum() or 1.0)
    return np.divide(np.nansum(chunk, axis=1), share, out=np.full(len(chunk), np.nan), where=share > 0)


def _chunks(matrix) -> Iterator:
    matrix = by_rows(matrix)
    for start in range(0, matrix.shape[0], _CHUNK):
        chunk = matrix[start : start + _CHUNK]
        yield chunk.tocsr() if sparse.issparse(chunk) else np.asarray(chunk)
