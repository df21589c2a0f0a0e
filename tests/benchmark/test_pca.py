from __future__ import annotations

import numpy as np
import pytest

from vennvi.benchmark import CannotRun, Latents, Settings
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._pca import PCAAdapter


def fit(data, *, supervised=False, **kwargs):
    return PCAAdapter(**kwargs).fit(data, Latents(1, 1), Settings(1), seed=0, supervised=supervised)


def test_is_the_singular_vectors_of_each_modality(tiny_data):
    spaces = fit(tiny_data, n_components=2).spaces
    assert set(spaces) == {"shared:a", "shared:b"}
    for m in tiny_data.modalities:
        view = scaled_view(tiny_data, m)
        _, _, directions = np.linalg.svd(view[tiny_data.train], full_matrices=False)
        np.testing.assert_allclose(np.abs(spaces[f"shared:{m}"]), np.abs(view @ directions[:2].T), atol=1e-4)


def test_has_no_more_components_than_features_and_no_labels(tiny_data):
    assert fit(tiny_data).spaces["shared:a"].shape == (tiny_data.mdata.n_obs, 3)
    with pytest.raises(CannotRun, match="no supervised variant"):
        fit(tiny_data, supervised=True)
