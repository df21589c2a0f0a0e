"""Calibrated labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy import toy_mudata

import vennvi
from vennvi import MMVAEPlusPlus
from vennvi.metrics import reliability


@pytest.fixture(scope="module")
def model():
    mdata = vennvi.data.simulate_multiome(n_obs=600, n_genes=100, n_peaks=200, type_spread=0.5)
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="cell_type")
    model = MMVAEPlusPlus(mdata, n_shared=5, n_private=3, n_hidden=32)
    train, validation, test = np.split(np.random.default_rng(0).permutation(600), [300, 450])
    split = {"external_indexing": [train, validation, test]}
    model.train(max_epochs=40, accelerator="cpu", batch_size=64, plan_kwargs={"lr": 5e-3}, datasplitter_kwargs=split)
    return model


@pytest.mark.parametrize("modality", [None, "rna", "atac"])
def test_calibration_lowers_the_error_and_changes_no_label(model, modality):
    cells = np.sort(np.r_[model.validation_indices, model.test_indices])
    truth = model.adata.obs["cell_type"].to_numpy()[cells]
    raw_labels, raw = model.predict_labels(indices=cells, modality=modality, calibrated=False)
    labels, mended = model.predict_labels(indices=cells, modality=modality)
    pd.testing.assert_series_equal(labels, raw_labels)
    np.testing.assert_allclose(mended.sum(axis=1), 1, rtol=1e-5)
    before, after = reliability(raw, truth), reliability(mended, truth)
    assert after.ece < before.ece
    assert model.label_temperatures_["temperatures"][modality or ""] > 1


def test_temperatures_are_saved_and_forgotten_when_trained_further(model, tmp_path):
    expected = model.predict_labels()[1]
    model.save(tmp_path / "model", save_anndata=False)
    loaded = MMVAEPlusPlus.load(tmp_path / "model", adata=model.adata)
    assert loaded.label_temperatures_ == model.label_temperatures_
    pd.testing.assert_frame_equal(loaded.predict_labels()[1], expected)
    before = loaded.label_temperatures_["temperatures"].copy()
    loaded.module.train()  # predictions have put it into evaluation mode
    loaded.train(max_epochs=1, train_size=0.5, accelerator="cpu")
    loaded.predict_labels()
    assert set(loaded.label_temperatures_["temperatures"]) == {""}
    assert loaded.label_temperatures_["temperatures"][""] != before[""]


def test_too_few_labelled_cells_leave_the_probabilities_as_they_are():
    mdata = toy_mudata()
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="partial_label", unlabeled_category="unknown")
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
    model.train(max_epochs=1, train_size=0.8, accelerator="cpu")
    pd.testing.assert_frame_equal(model.predict_labels()[1], model.predict_labels(calibrated=False)[1])
