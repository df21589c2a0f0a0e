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
            view = scaled_view(data, m)
            n_varying = int((view[data.train].std(axis=0) > 0).sum())
            n_components = max(1, min(self.max_components, len(data.train) // 5, n_varying))
            pca = PCA(n_components, whiten=True, svd_solver="auto", random_state=seed).fit(view[data.train])
            scores[m] = pca.transform(view)
            blocks.append(scores[m][data.train])
        _, _, directions = np.linalg.svd(np.concatenate(blocks, axis=1), full_matrices=False)
        n_variates = max(latents.n_shared, self.min_variates)
        rotations = np.split(directions.T, np.cumsum([b.shape[1] for b in blocks])[:-1], axis=0)
        variates = {}
        for m, rotation in zip(data.modalities, rotations, strict=True):
            projected = scores[m] @ rotation[:, :n_variates]
            sd = projected[data.train].std(axis=0)
            variates[m] = projected / np.where(sd > 1e-8, sd, 1.0)
        spaces = {"shared": np.mean(list(variates.values()), axis=0)}
        spaces |= {shared_space(m): v for m, v in variates.items()}
        return Fit(spaces)
