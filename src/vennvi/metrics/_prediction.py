"""How much of each feature a prediction explains, on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.special import xlogy

from vennvi.metrics._arrays import Array

Family = Literal["poisson", "bernoulli", "nb", "normal"]

_BLOCK = 1024  # features held densely at once
_SMALLEST_MEAN = 1e-10
_SMALLEST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class DevianceExplained:
    """Fraction of the null model's deviance that a prediction removes; 1 is perfect, 0 no better than the null."""

    per_feature: NDArray[np.floating]
    """One value a feature; NaN where the null model leaves no deviance (a constant feature)."""
    total: float
    """The same for the deviances summed over all features, the constant ones too."""


def r2_per_feature(x: Any, prediction: ArrayLike) -> NDArray[np.floating]:
    r"""Fraction of each feature's variance that a prediction explains.

    .. math::

        R^2_j = 1 - \frac{\sum_i (x_{ij} - \hat x_{ij})^2}{\sum_i (x_{ij} - \bar x_j)^2}

    Parameters
    ----------
    x
        Observed values, samples x features, dense or sparse; entries with NaN in it or in the prediction are left out.
    prediction
        Predicted values in the same units, samples x features.

    Returns
    -------
    One value a feature, (features,); NaN for a feature that does not vary.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import r2_per_feature
    >>> x = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> r2_per_feature(x, [[1.0, 5.0], [2.0, 5.0], [2.0, 5.0]])
    array([0.5, nan])
    """
    return deviance_explained(x, prediction, family="normal").per_feature


def deviance_explained(
    x: Any,
    mean: ArrayLike,
    family: Family = "poisson",
    *,
    theta: ArrayLike | None = None,
    size_factor: ArrayLike | None = None,
) -> DevianceExplained:
    r"""Fraction of the deviance from the feature means that a prediction explains.

    .. math::

        D^2_j = 1 - \frac{\sum_i d(x_{ij}, \mu_{ij})}{\sum_i d(x_{ij}, \mu^0_{ij})}, \qquad
        \mu^0_{ij} = l_i \frac{\sum_k x_{kj}}{\sum_k l_k}

    with :math:`l_i = 1` unless size factors are given, and the unit deviances

    .. math::

        d_\text{poisson} &= 2 \left[x \log (x / \mu) - (x - \mu)\right] \\
        d_\text{nb} &= 2 \left[x \log (x / \mu) - (x + \theta) \log \frac{x + \theta}{\mu + \theta}\right] \\
        d_\text{bernoulli} &= -2 \left[x \log \mu + (1 - x) \log (1 - \mu)\right] \\
        d_\text{normal} &= (x - \mu)^2

    For counts give the library sizes as ``size_factor``: otherwise a prediction is rewarded for knowing the depth.

    Parameters
    ----------
    x
        Observed values, samples x features, dense or sparse; entries with NaN in it or in ``mean`` are left out.
        Zeros and ones for ``"bernoulli"``.
    mean
        Predicted means in the units of ``x`` (probabilities for ``"bernoulli"``), samples x features. Means of counts
        below 1e-10 and probabilities within 1e-7 of 0 or 1 are moved there, since a certain mistake would count
        infinitely.
    family
        ``"poisson"``, ``"nb"``, ``"bernoulli"`` or ``"normal"``; the last is R².
    theta
        Inverse dispersion of ``"nb"`` (variance :math:`\mu + \mu^2 / \theta`), a number or one a feature.
    size_factor
        Library size of each sample, for ``"poisson"`` and ``"nb"``.

    Returns
    -------
    :class:`DevianceExplained`.

    Raises
    ------
    ValueError
        If the shapes differ, data or means cannot be of the family, or an argument is missing or does not apply.

    References
    ----------
    Hastie, Tibshirani and Wainwright, "Statistical Learning with Sparsity", 2015, equation 3.11.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import deviance_explained
    >>> counts = np.array([[0.0, 2.0], [4.0, 2.0]])
    >>> explained = deviance_explained(counts, [[1.0, 2.0], [3.0, 2.0]])
    >>> explained.per_feature.round(3), round(explained.total, 3)
    (array([0.585,   nan]), 0.585)
    """
    observed, predicted = _as_table(x, "x"), _as_table(mean, "mean")
    if observed.shape != predicted.shape:
        raise ValueError(f"x has shape {observed.shape}, but the prediction {predicted.shape}.")
    if family not in get_args(Family):
        raise ValueError(f"family must be one of {', '.join(get_args(Family))}, not {family!r}.")
    n, n_features = observed.shape
    thetas = _as_theta(theta, family, n_features)
    size = _as_size(size_factor, family, n)

    deviance, null_deviance = np.empty(n_features), np.empty(n_features)
    for start in range(0, n_features, _BLOCK):
        features = slice(start, start + _BLOCK)
        values, means = _dense(observed, features), _dense(predicted, features)
        _check_support(values, means, family)
        values = np.where(np.isnan(means), np.nan, values)
        deviance[features] = np.nansum(_unit_deviance(values, means, family, thetas[features]), axis=0)
        unit_deviance = _unit_deviance(values, _null_means(values, size), family, thetas[features])
        null_deviance[features] = np.where(_varies(values, size), np.nansum(unit_deviance, axis=0), 0.0)

    informative = null_deviance > 0
    per_feature = np.full(n_features, np.nan)
    per_feature[informative] = 1.0 - deviance[informative] / null_deviance[informative]
    total = 1.0 - deviance.sum() / null_deviance.sum() if informative.any() else np.nan
    return DevianceExplained(per_feature, float(total))


def _as_table(values: Any, name: str) -> Any:
    """Matrix whose columns can be sliced, left sparse and in its own type."""
    if issparse(values):
        return values.tocsc()
    table = values.to_numpy() if isinstance(values, pd.DataFrame) else np.asarray(values)
    if table.ndim != 2:
        raise ValueError(f"{name} must be samples x features, not of shape {table.shape}.")
    return table


def _dense(table: Any, features: slice) -> Array:
    """Take some columns, dense and in float64."""
    columns = table[:, features]
    return np.asarray(columns.toarray() if issparse(columns) else columns, dtype=np.float64)


def _as_theta(theta: ArrayLike | None, family: Family, n_features: int) -> Array:
    """Inverse dispersion of each feature (ones where the family has none)."""
    if (theta is None) == (family == "nb"):
        raise ValueError('theta, the inverse dispersion, is needed by family="nb" and by no other.')
    thetas = np.broadcast_to(np.asarray(1.0 if theta is None else theta, dtype=np.float64), (n_features,))
    if not (thetas > 0).all():
        raise ValueError("theta must be positive.")
    return thetas


def _as_size(size_factor: ArrayLike | None, family: Family, n: int) -> Array:
    """Library size of each sample (ones where none are given)."""
    if size_factor is None:
        return np.ones(n)
    if family not in ("poisson", "nb"):
        raise ValueError(f'size_factor applies to counts ("poisson" and "nb"), not to {family!r}.')
    size = np.asarray(size_factor, dtype=np.float64).reshape(-1)
    if len(size) != n or not (size > 0).all():
        raise ValueError(f"size_factor must have one positive number for each of the {n} samples.")
    return size


def _check_support(values: Array, means: Array, family: Family) -> None:
    """Raise if data or means cannot be of the family; comparisons with NaN are false, so these pass."""
    if family in ("poisson", "nb") and ((values < 0).any() or (means < 0).any()):
        raise ValueError(f'x and mean must not be negative for family={family!r}: use "normal".')
    if family == "bernoulli":
        if ((values != 0) & (values != 1) & ~np.isnan(values)).any():
            raise ValueError('x must be zeros and ones for family="bernoulli": binarise it, or use "poisson".')
        if ((means < 0) | (means > 1)).any():
            raise ValueError('mean must be probabilities for family="bernoulli".')


def _null_means(values: Array, size: Array) -> Array:
    """Means of the null model: each feature's rate times the library size."""
    missing = np.isnan(values)
    sizes = np.where(missing, 0.0, size[:, None]).sum(axis=0)
    totals = np.where(missing, 0.0, values).sum(axis=0)
    rates = np.divide(totals, sizes, out=np.zeros_like(totals), where=sizes > 0)
    return size[:, None] * rates


def _varies(values: Array, size: Array) -> NDArray[np.bool_]:
    """Whether a feature differs anywhere from its null mean, told without rounding."""
    lowest = np.fmin.reduce(values, axis=0, initial=np.inf)
    highest = np.fmax.reduce(values, axis=0, initial=-np.inf)
    return (lowest < highest) | ((highest > 0) & (size.min(initial=np.inf) < size.max(initial=-np.inf)))


def _unit_deviance(x: Array, mu: Array, family: Family, theta: Array) -> Array:
    """Deviance of each entry, NaN where x or mu is."""
    if family == "normal":
        return (x - mu) ** 2
    if family == "bernoulli":
        mu = np.clip(mu, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
        return -2.0 * (x * np.log(mu) + (1.0 - x) * np.log1p(-mu))
    mu = np.maximum(mu, _SMALLEST_MEAN)
    if family == "poisson":
        return 2.0 * (xlogy(x, x / mu) - (x - mu))
    return 2.0 * (xlogy(x, x / mu) - (x + theta) * np.log((x + theta) / (mu + theta)))
