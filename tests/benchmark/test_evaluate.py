from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from vennvi.benchmark import Fit, Settings
from vennvi.benchmark._evaluate import evaluate


@pytest.fixture
def rows(tiny_data, truth):
    fit = truth().adapter.fit(tiny_data, None, Settings(1), seed=0, supervised=True)
    return evaluate(fit, tiny_data).set_index(["space", "target", "metric"])["value"]


def test_the_truth_is_recovered_and_leaks_nothing(rows):
    assert rows["shared", "y", "auc_test"] == 1.0
    assert rows["shared", "shared factor", "knn_r2"] > 0.9
    assert rows["shared", "shared factor", "knn_r2_test"] > 0.9
    assert rows["private", "own private factor", "knn_r2"] > 0.9
    assert rows["shared", "private factors", "knn_r2"] < 0.2
    assert rows["private", "shared factor", "knn_r2"] < 0.2
    assert rows["shared", "shared factor", "knn_r2_null"] < 0.1
    assert rows["shared", "other views", "foscttm_test"] == 0.0
    assert rows["shared", "other views", "foscttm_test_null"] == pytest.approx(0.5, abs=0.15)
    assert rows["predict:b", "data:a", "deviance_explained_test"] == 1.0
    assert rows["classifier", "y", "accuracy_test"] == rows["classifier", "y", "auc_test"] == 1.0
    assert rows["model", "", "n_found"] == 1.0
    assert rows.index.is_unique


def test_summaries_over_modalities(rows):
    modalities = ("a", "b")
    factors = [rows["shared", f"private factor:{m}", "knn_r2"] for m in modalities]
    assert rows["shared", "private factors", "knn_r2"] == max(factors)
    own = [rows[f"private:{m}", f"private factor:{m}", "knn_r2"] for m in modalities]
    assert rows["private", "own private factor", "knn_r2"] == pytest.approx(np.mean(own))
    leaks = [rows[f"private:{m}", "shared factor", "knn_r2"] for m in modalities]
    assert rows["private", "shared factor", "knn_r2"] == max(leaks)


def test_nuisances_and_missing_truth(tiny_data):
    depth = np.linspace(0, 1, tiny_data.mdata.n_obs)
    data = dataclasses.replace(tiny_data, shared_factor=None, private_factors={}, nuisances={"depth": depth})
    rows = evaluate(Fit({"shared": np.column_stack([depth, -depth])}), data)
    values = rows.set_index(["space", "target", "metric"])["value"]
    assert values["shared", "depth", "linear_r2_test"] > 0.99
    assert set(rows["target"]) == {"y", "depth"}


def test_a_diverged_model_is_an_error(tiny_data):
    latent = np.zeros((tiny_data.mdata.n_obs, 2))
    latent[3] = np.nan
    with pytest.raises(ValueError, match="'shared' holds values that are not finite"):
        evaluate(Fit({"shared": latent}), tiny_data)
    with pytest.raises(ValueError, match="5 rows for 80 samples"):
        evaluate(Fit({"shared": latent[:5]}), tiny_data)


def test_an_empty_space_reads_chance(tiny_data):
    rows = evaluate(Fit({"shared": np.zeros((tiny_data.mdata.n_obs, 1))}), tiny_data)
    values = rows.set_index(["space", "target", "metric"])["value"]
    assert values["shared", "y", "auc_test"] == 0.5
    assert values["shared", "shared factor", "knn_r2"] < 0.2


def test_samples_without_a_label_are_not_read(tiny_data, truth):
    labels = np.array(tiny_data.label("y"))
    labels[::4] = None
    tiny_data.mdata.obs["y"] = labels
    assert [label is None for label in tiny_data.label("y")] == [i % 4 == 0 for i in range(len(labels))]
    wrong = np.ones((tiny_data.mdata.n_obs, 1))
    known = np.array([label is not None for label in labels])
    wrong[known] = tiny_data.shared_factor[known]
    probabilities = pd.DataFrame({"high": labels == "high", "low": labels == "low"}).astype(float)
    fit = Fit({"shared": wrong}, label_probabilities=probabilities.iloc[tiny_data.test].replace(0.0, 0.1))
    values = evaluate(fit, tiny_data).set_index(["space", "target", "metric"])["value"]
    assert values["shared", "y", "accuracy_test"] == 1.0
    assert values["classifier", "y", "accuracy_test"] == values["classifier", "y", "auc_test"] == 1.0


def test_a_model_without_a_joint_space(tiny_data, truth):
    fit = truth().adapter.fit(tiny_data, None, Settings(1), seed=0, supervised=False)
    joint_less = Fit({space: latent for space, latent in fit.spaces.items() if space != "shared"})
    rows = evaluate(joint_less, tiny_data)
    assert set(rows["space"]) == {"shared:a", "shared:b", "private:a", "private:b", "private"}
    assert "other views" not in set(rows["target"])
