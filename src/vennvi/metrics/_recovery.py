"""Recovery of known continuous factors from a latent space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vennvi.metrics._arrays import as_matrix, check_same_rows, complete_rows, r2_of_columns


@dataclass(frozen=True)
class FactorRecovery:
    """How well nearest neighbours in a latent space predict a known factor."""

    r2: float
    """R², the mean over the factor's dimensions and the folds; 1 is perfect."""
    no_information: float
    """The same with the rows of the factor permuted, the mean of the permutations; NaN without permutations."""
    per_dimension: tuple[float, ...]
    """R² of each dimension of the factor."""
    n_obs: int
    """Rows used."""
    n_left_out: int
    """Rows with NaN in the latents or the factor."""


def factor_recovery(
    latent: ArrayLike,
    factor: ArrayLike,
    *,
    n_neighbors: int = 10,
    n_splits: int = 5,
    n_permutations: int = 10,
    seed: int = 0,
) -> FactorRecovery:
    r"""Cross-validated R² of a known factor predicted by its nearest neighbours in a latent space.

    .. math::

        \hat f_i = \frac{\sum_{k \in N(i)} f_k / d_{ik}}{\sum_{k \in N(i)} 1 / d_{ik}}, \qquad
        R^2 = 1 - \frac{\sum_i (f_i - \hat f_i)^2}{\sum_i (f_i - \bar f)^2}

    where :math:`N(i)` are the nearest training rows of the other folds and :math:`d` distances between standardised
    latents. R² is averaged over the dimensions of the factor, then over the folds. It does not ask for a linear or
    one-to-one relation, only that rows near in the latents are near in the factor. A neighbour average of noise is
    worse than the mean, so no information reads below zero (about -0.15 with 10 neighbours); that level is measured
    by permuting the rows of the factor.

    Parameters
    ----------
    latent
        Rows x dimensions. Rows with NaN are left out.
    factor
        Rows, or rows x dimensions. Rows with NaN are left out.
    n_neighbors
        Number of neighbours, weighted by the inverse of their distance.
    n_splits
        Number of folds.
    n_permutations
        Number of permutations for the level of no information.
    seed
        Seed of the folds and permutations.

    Returns
    -------
    :class:`FactorRecovery`.

    Raises
    ------
    ValueError
        If the arrays do not have the same rows, too few are left, or the factor is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from vennvi.metrics import factor_recovery
    >>> factor = np.random.default_rng(0).uniform(-2, 2, size=(500, 2))
    >>> rotated_and_bent = np.stack([factor.sum(axis=1), np.tanh(factor[:, 0] - factor[:, 1])], axis=1)
    >>> recovery = factor_recovery(rotated_and_bent, factor)
    >>> round(recovery.r2, 2), recovery.no_information < 0
    (0.98, True)
    """
    latents, factors = as_matrix(latent, "latent"), as_matrix(factor, "factor")
    n_rows = check_same_rows(latent=latents, factor=factors)
    complete = complete_rows(latents, factors)
    latents, factors = latents[complete], factors[complete]
    n_obs, n_dimensions = factors.shape
    if n_obs - -(-n_obs // n_splits) < n_neighbors:
        raise ValueError(f"{n_obs} complete rows are too few for {n_splits} folds and {n_neighbors} neighbours.")
    if (factors.min(axis=0) == factors.max(axis=0)).any():
        raise ValueError("A dimension of the factor is constant: there is nothing to recover.")

    rng = np.random.default_rng(seed)
    permuted = [factors[rng.permutation(n_obs)] for _ in range(n_permutations)]
    targets = np.concatenate([factors, *permuted], axis=1)  # the neighbours are the same for all
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(n_neighbors, weights="distance"))
    folds = KFold(n_splits, shuffle=True, random_state=seed).split(latents)
    r2 = np.mean(
        [
            r2_of_columns(targets[test], model.fit(latents[train], targets[train]).predict(latents[test]))
            for train, test in folds
        ],
        axis=0,
    )
    return FactorRecovery(
        r2=float(r2[:n_dimensions].mean()),
        no_information=float(r2[n_dimensions:].mean()) if n_permutations else np.nan,
        per_dimension=tuple(float(value) for value in r2[:n_dimensions]),
        n_obs=n_obs,
        n_left_out=n_rows - n_obs,
    )
