"""Calibrated labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from toy import toy_mudata

import vennvi
from vennvi import MMVAEPlusPlus
from vennvi.data._device import DeviceMuDataset
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


@pytest.mark.parametrize(
    ("categories", "unknown"),
    [
        ([-1, 0, 1, 2], -1),
        (["A", "B", "C", "D"], "B"),
        (["pre", "post", "unknown"], "unknown"),
        (["unknown", "pre", "post"], "unknown"),
        (["pre", "unknown", "post", "a week later"], "unknown"),
        (["pre", "post"], None),
        (["pre", "post"], "unknown"),
    ],
    ids=str,
)
def test_labels_come_in_the_order_of_their_column_and_mean_the_same(categories, unknown):
    """scvi-tools puts the last where the unlabelled category was."""
    labels = [c for c in categories if c != unknown]
    mdata = toy_mudata()
    own = np.array(labels, dtype=object)[np.arange(mdata.n_obs) % len(labels)]
    if unknown in categories:
        own[::5] = unknown
    mdata.obs["own"] = pd.Categorical(own, categories=categories)
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="own", unlabeled_category=unknown)
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
    model.train(max_epochs=1, train_size=0.8, accelerator="cpu")
    predicted, probabilities = model.predict_labels(calibrated=False)
    assert list(probabilities) == list(predicted.cat.categories) == list(model.label_categories) == labels
    codes = model.adata_manager.get_from_registry("labels").ravel()
    known = own != unknown
    np.testing.assert_array_equal(np.array(labels, dtype=object)[codes[known]], own[known])
    assert set(codes[~known]) <= {len(labels)}
    np.testing.assert_array_equal(predicted.to_numpy(), probabilities.idxmax(axis=1).to_numpy())
    logits = model.module.classifier(torch.as_tensor(model.get_latent_representation()))
    for k, label in enumerate(model.label_categories):
        expected = logits.softmax(-1)[:, k].detach().numpy()
        np.testing.assert_allclose(probabilities[label], expected, rtol=1e-5)


def with_labels_in_a_modality(permuted=False):
    """Three modalities; the labels are in that of real values, which some cells lack."""
    mdata = toy_mudata(3, permuted=permuted)
    names = mdata["protein"].obs_names
    mdata["protein"].obs["lab"] = mdata.obs["label"].astype(str).loc[names].to_numpy()
    return mdata


def test_labels_in_a_modality_of_another_order_are_those_of_the_cells():
    for permuted in (False, True):
        mdata = with_labels_in_a_modality(permuted)
        MMVAEPlusPlus.setup_mudata(mdata, labels_key="lab", modalities={"labels_key": "protein"})
        model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
        order = toy_mudata().obs_names
        split = [mdata.obs_names.get_indexer(order[part]) for part in (slice(20), slice(20, 60), slice(0))]
        model.train(max_epochs=1, accelerator="cpu", datasplitter_kwargs={"external_indexing": split})
        cells, codes = model._held_out_labels(None)
        assert len(cells) == 40
        labels = mdata.obs["label"].to_numpy()[cells]
        np.testing.assert_array_equal(np.asarray(model.label_categories)[codes], labels)


def test_cells_that_lack_the_modality_of_the_labels_are_not_labelled(tmp_path):
    mdata = with_labels_in_a_modality()
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="lab", modalities={"labels_key": "protein"})
    MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8).save(tmp_path / "model")
    part = type(mdata)({"rna": mdata["rna"], "atac": mdata["atac"], "protein": mdata["protein"][:30].copy()})
    model = MMVAEPlusPlus.load(tmp_path / "model", adata=part, accelerator="cpu")
    batch = next(iter(model._make_data_loader(adata=part, batch_size=60)))
    has = batch["mask_protein"].numpy() > 0
    np.testing.assert_array_equal(batch["labels"].numpy() < len(model.label_categories), has)
    kept = DeviceMuDataset(model.get_anndata_manager(part), device=torch.device("cpu"))
    np.testing.assert_array_equal(kept[np.arange(60)]["labels"].numpy(), batch["labels"].numpy())


def test_cells_without_the_modality_do_not_count_for_its_temperature():
    mdata = toy_mudata(2)
    mdata = type(mdata)({"rna": mdata["rna"][:41].copy(), "atac": mdata["atac"]})
    mdata.obs["label"] = toy_mudata(2).obs["label"].astype(str).loc[mdata.obs_names].to_numpy()
    MMVAEPlusPlus.setup_mudata(mdata, labels_key="label")
    model = MMVAEPlusPlus(mdata, n_shared=2, n_private=1, n_hidden=8)
    places = mdata.obs_names.get_indexer([f"cell{i}" for i in range(60)])
    split = {"external_indexing": [places[:36], places[36:]]}  # five of the 24 held-out cells have RNA
    model.train(max_epochs=1, accelerator="cpu", datasplitter_kwargs=split)
    raw = model.predict_labels(modality="rna", calibrated=False)[1]
    pd.testing.assert_frame_equal(model.predict_labels(modality="rna")[1], raw)
    model.predict_labels(modality="atac")
    assert set(model.label_temperatures_["temperatures"]) == {"atac"}
