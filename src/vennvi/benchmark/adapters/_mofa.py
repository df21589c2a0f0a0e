r"""MOFA through its own package, ``mofapy2``.

Trained on the training rows (:func:`~vennvi.benchmark._views.scaled_view`) with Gaussian likelihoods and the package's
default priors (spike-and-slab and ARD on the weights), ``n_shared + sum of n_private`` factors, until its ``fast``
convergence. A factor is **active** in a view if it explains more than 1 % of its variance or, where all factors together
explain little (sparse counts), more than 5 % of what they explain, but 0.1 % at least. It is **shared** if it is active
in more than one view, and **private** to a view if it is active in that view alone.

mofapy2 has no method for new samples, so all of them, training ones included, are projected in the same way: least
squares on the loadings of the views at hand, weighted by the noise precision :math:`\tau_{mj}` of each feature, with
the factors' :math:`N(0, I)` prior as the ridge,

.. math:: \hat z_i = \Big(I + \sum_m W_m^\top T_m W_m\Big)^{-1} \sum_m W_m^\top T_m (x_{im} - \bar x_m),

over all views for the joint space and over one view alone for its own.

References
----------
Argelaguet et al. (2018), Multi-Omics Factor Analysis. Argelaguet et al. (2020), MOFA+.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vennvi.benchmark._data import BenchmarkData, CannotRun
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._base import (
    Fit,
    Latents,
    Settings,
    private_space,
    refuse_labels,
    require,
    shared_space,
)

_ENOUGH, _ENOUGH_OF_EXPLAINED, _LEAST = 0.01, 0.05, 0.001


@dataclass(frozen=True)
class MOFAAdapter:
    """MOFA; see the module for what is set and how held-out samples are projected.

    Parameters
    ----------
    max_iterations
        Iterations of the variational updates, at most.
    """

    max_iterations: int = 1000

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Fit on the training samples, project all; ``settings`` are for models that are trained by epochs."""
        refuse_labels(supervised, "MOFA")
        entry_point = require("mofapy2.run.entry_point", package="mofapy2", model="MOFA").entry_point
        views = {m: scaled_view(data, m) for m in data.modalities}
        n_factors = latents.n_shared + latents.n_private * len(views)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                trained = self._train(entry_point, [[v[data.train]] for v in views.values()], n_factors, seed)
            except SystemExit as error:  # mofapy2 leaves the interpreter where it finds no factors
                raise CannotRun(f"MOFA stopped: {said.getvalue().strip().splitlines()[-1]}") from error
        nodes = trained.model.getNodes()
        weights = dict(zip(views, nodes["W"].getExpectation(), strict=True))
        precision = {m: _per_feature(tau) for m, tau in zip(views, nodes["Tau"].getExpectation(), strict=True)}
        explained = np.asarray(trained.model.calculate_variance_explained()[0])  # (n_views, n_factors)
        active = _active(explained)
        shared = active.sum(axis=0) > 1

        def project(modalities: tuple[str, ...], keep: NDArray[np.bool_]) -> NDArray[np.float64]:
            factors = _project({m: views[m] for m in modalities}, weights, precision)[:, keep]
            # no factor of the kind: a constant, from which nothing can be read
            return factors if factors.shape[1] else np.zeros((data.mdata.n_obs, 1))

        spaces = {"shared": project(data.modalities, shared)}
        for i, m in enumerate(data.modalities):
            spaces[shared_space(m)] = project((m,), shared)
            spaces[private_space(m)] = project(data.modalities, active[i] & ~shared)
        numbers = {"n_shared_factors": float(shared.sum()), "n_active_factors": float(active.any(axis=0).sum())}
        return Fit(spaces, numbers=numbers)

    def _train(self, entry_point: Any, matrices: list[list[NDArray]], n_factors: int, seed: int) -> Any:
        mofa = entry_point()
        mofa.set_data_options(scale_views=False, use_float32=True)
        mofa.set_data_matrix(matrices, likelihoods=["gaussian"] * len(matrices))
        mofa.set_model_options(factors=n_factors, spikeslab_weights=True, ard_weights=True)
        mofa.set_train_options(iter=self.max_iterations, convergence_mode="fast", seed=seed, quiet=True)
        mofa.build()
        mofa.run()
        return mofa


def _active(explained: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which factor counts in which view, from the variances explained, both views x factors."""
    enough = np.minimum(_ENOUGH, _ENOUGH_OF_EXPLAINED * explained.sum(axis=1, keepdims=True))
    return explained > np.maximum(enough, _LEAST)


def _per_feature(tau: NDArray) -> NDArray[np.float64]:
    """Noise precision by feature; mofapy2 repeats it for every sample."""
    return np.asarray(tau[0] if np.ndim(tau) == 2 else tau, dtype=np.float64)


def _project(
    views: dict[str, NDArray[np.float64]], weights: dict[str, NDArray], precision: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Posterior means of the factors given views that are centred on the training rows, samples x factors."""
    n_factors = next(iter(weights.values())).shape[1]
    gram: NDArray = np.eye(n_factors)
    moment: NDArray = np.zeros((1, n_factors))
    for m, view in views.items():
        weighted = weights[m] * precision[m][:, None]  # (n_features, n_factors)
        gram = gram + weights[m].T @ weighted
        moment = moment + view @ weighted
    return np.linalg.solve(gram, moment.T).T
