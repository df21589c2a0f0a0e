r"""PCA of one modality: what that modality alone says about a label, without any model of what is shared.

.. math:: z_m = X_m R_m

with :math:`R_m` the leading principal directions of the training rows of the view
(:func:`~vennvi.benchmark._views.scaled_view`: counts log-normalised, 0/1 as TF-IDF, proteins as centred log-ratios).
"""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.decomposition import PCA

from vennvi.benchmark._data import BenchmarkData
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._base import Fit, Latents, Settings, refuse_labels, shared_space


@dataclass(frozen=True)
class PCAAdapter:
    """PCA of each modality by itself, in the place of its shared latents; there is no joint space, so no alignment.

    Parameters
    ----------
    n_components
        Principal components, at most; whatever the latent sizes of the experiment. The training samples and the width of
        the modality also limit them.
    """

    n_components: int = 30

    def fit(self, data: BenchmarkData, latents: Latents, settings: Settings, *, seed: int, supervised: bool) -> Fit:
        """Fit on the training samples, project all; ``settings`` are for models that are trained by epochs."""
        refuse_labels(supervised, "PCA")
        spaces = {}
        for m in data.modalities:
            view = scaled_view(data, m)
            n_components = min(self.n_components, len(data.train) - 1, view.shape[1])
            spaces[shared_space(m)] = PCA(n_components, random_state=seed).fit(view[data.train]).transform(view)
        return Fit(spaces)
