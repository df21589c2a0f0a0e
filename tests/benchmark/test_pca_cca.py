from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from vennvi.benchmark import CannotRun, Latents, Settings, get_experiment
from vennvi.benchmark._evaluate import evaluate
from vennvi.benchmark._views import scaled_view
from vennvi.benchmark.adapters._pca_cca import PCACCAAdapter

SETTINGS = Settings(max_epochs=1)


def fit(data, **kwargs):
    return PCACCAAdapter(**kwargs).fit(data, Latents(2, 2), SETTINGS, seed=0, supervised=False)


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        pytest.param("gp", "20/100", id="narrow"),
        pytest.param("gp", "1000/100", id="wide"),
        pytest.param("gp-3views", "100/100/100", id="three-views"),
    ],
)
def test_recovers_the_shared_factor_of_gp(name, condition):
    experiment = get_experiment(name)
    data = experiment.build(seed=1, **experiment.condition(condition).params)
    rows = evaluate(fit(data), data).set_index(["space", "target", "metric"])["value"]
    assert rows["shared", "shared factor", "knn_r2"] > 0.95
    assert rows["shared", "shared factor", "knn_r2_test"] > 0.95
    assert rows["shared", "private factors", "knn_r2"] < 0.05
    assert rows["shared", "y", "auc_test"] > 0.85
    assert rows["shared", "other views", "foscttm_test"] < 0.1
    assert ("private", "own private factor", "knn_r2") not in rows.index


def test_is_classical_cca_for_two_views(tiny_data):
    ours = fit(tiny_data, min_variates=2)
    views = [scaled_view(tiny_data, m) for m in tiny_data.modalities]
    cca = CCA(2, scale=False, max_iter=2000, tol=1e-10).fit(*(v[tiny_data.train] for v in views))
    theirs = cca.transform(*views)
    for m, variates in zip(tiny_data.modalities, theirs, strict=True):
        for k in range(2):
            assert abs(np.corrcoef(ours.spaces[f"shared:{m}"][:, k], variates[:, k])[0, 1]) > 0.999
    joint = (ours.spaces["shared:a"] + ours.spaces["shared:b"]) / 2
    np.testing.assert_allclose(ours.spaces["shared"], joint)
    np.testing.assert_allclose(ours.spaces["shared:a"][tiny_data.train].std(axis=0), 1)


def test_held_out_samples_do_not_matter(tiny_data):
    before = fit(tiny_data).spaces["shared"]
    tiny_data.mdata["a"].X[tiny_data.test] += 10
    after = fit(tiny_data).spaces["shared"]
    np.testing.assert_allclose(before[tiny_data.train], after[tiny_data.train], atol=1e-6)


def test_has_no_supervised_variant(tiny_data):
    with pytest.raises(CannotRun, match="no supervised variant"):
        PCACCAAdapter().fit(tiny_data, Latents(2, 2), SETTINGS, seed=0, supervised=True)
