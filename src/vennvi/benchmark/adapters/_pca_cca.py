r"""PCA, then canonical correlation: the linear answer to what views share.

Every view (:func:`~vennvi.benchmark._views.scaled_view`; counts are log-normalised, TF-IDF or centred
log-ratios) is reduced to its leading principal components, whitened: :math:`U_m = X_m R_m` with
:math:`U_m^\top U_m = n I` on the training rows. With the singular value decomposition
:math:`[U_1, \dots, U_M] = L D V^\top`, the leading columns of the blocks :math:`V_m` give the canonical variates
:math:`X_m R_m V_m`. For two views these are the directions of classical CCA (the blocks of :math:`V` are the singular
vectors of :math:`U_1^\top U_2`); for more it is the MAXVAR generalisation. No iteration, no ridge.

References
----------
Hotelling (1936), Relations between two sets of variates. Kettenring (1971), Canonical analysis of several sets of
variables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._base import Fit, Latents, Settings, refuse_labels, shared_space


@dataclass(frozen=True)
class PCACCAAdapter:
    """PCA + CCA: the joint space is the mean of the canonical variates over the views.

    It has no private spaces, no decoder and no labels.

    Parameters
    ----------
    min_variates
        Canonical variates, at least: as many as shared latents, but no fewer than this. A linear method spends several
        variates on a factor that a decoder bends into features; held to two it would lose for want of room.
    max_components
        Principal components of each view, at most; a fifth of the training samples and the width of the view also limit
        them: whitened noise components correlate by chance in small samples.
    """

    min_variates: int = 5
    max_components: int = 50

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Fit on the training samples, project all; ``settings`` are for models that are trained by epochs."""
        refuse_labels(supervised, "PCA+CCA")
        scores, blocks = {}, []
        for m in data.modalities:
            scores[m] = self._whitened_scores(scaled_view(data, m), data.train, seed)
            blocks.append(scores[m][data.train])
        _, _, directions = np.linalg.svd(np.concatenate(blocks, axis=1), full_matrices=False)
        n_variates = min(max(latents.n_shared, self.min_variates), *(block.shape[1] for block in blocks))
        rotations = np.split(directions.T, np.cumsum([b.shape[1] for b in blocks])[:-1], axis=0)
        variates = {}
        for m, rotation in zip(data.modalities, rotations, strict=True):
            projected = scores[m] @ rotation[:, :n_variates]
            sd = projected[data.train].std(axis=0)
            variates[m] = projected / np.where(sd > 1e-8, sd, 1.0)  # a view that others share nothing with stays 0
        spaces = {"shared": np.mean(list(variates.values()), axis=0)}
        spaces |= {shared_space(m): v for m, v in variates.items()}
        return Fit(spaces)

    def _whitened_scores(self, view: NDArray[np.float64], train: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
        """Leading principal components of all rows, of variance 1 in the training rows; none that is rounding error.

        Centred log-ratios of a cell sum to 0, so there is a component less than there are proteins.
        """
        n_components = min(self.max_components, max(len(train) // 5, 1), view.shape[1])
        pca = PCA(n_components, whiten=True, svd_solver="auto", random_state=seed).fit(view[train])
        rank = int((pca.explained_variance_ > 1e-10 * pca.explained_variance_[0]).sum())
        return pca.transform(view)[:, : max(rank, 1)]
