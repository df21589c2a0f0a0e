"""Whatever data a model is loaded with: a cell that it was trained on is never read as held out."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from mudata import MuData
from scvi.train._callbacks import SaveCheckpoint
from toy import N_OBS, toy_mudata

import vennvi

MODELS = [vennvi.MVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]
SPLITS = ("train", "validation", "test")


@pytest.fixture(params=MODELS, ids=lambda cls: cls.__name__)
def model(request):
    mdata = toy_mudata(3)
    request.param.setup_mudata(mdata)
    trained = request.param(mdata, n_shared=3, n_private=2, n_hidden=16)
    trained.train(
        max_epochs=1, train_size=0.5, validation_size=0.3, accelerator="cpu", enable_progress_bar=False, batch_size=16
    )
    return trained


def names(model, split):
    return set(model.adata.obs_names[getattr(model, f"{split}_indices")])


def renamed(mdata, suffix="x"):
    mods = {m: mdata[m].copy() for m in mdata.mod}
    for adata in mods.values():
        adata.obs_names = [name + suffix for name in adata.obs_names]
    return MuData(mods)


def with_more_cells(mdata):
    new = renamed(mdata)
    return MuData({m: ad.concat([mdata[m], new[m]]) for m in mdata.mod})


ORDER = np.random.default_rng(0).permutation(N_OBS)
OTHER_DATA = {
    "the same": toy_mudata,
    "another order": lambda n: toy_mudata(n)[ORDER].copy(),
    "some of them": lambda n: toy_mudata(n)[ORDER[:40]].copy(),
    "more cells": lambda n: with_more_cells(toy_mudata(n)),
    "other cells": lambda n: renamed(toy_mudata(n)),
}


@pytest.mark.parametrize("how", ["load", "set"])
@pytest.mark.parametrize("which", OTHER_DATA)
def test_the_split_goes_by_name(model, tmp_path, which, how):
    before = {split: names(model, split) for split in SPLITS}
    other = OTHER_DATA[which](3)
    if how == "load":
        model.save(tmp_path / "model")
        model = type(model).load(tmp_path / "model", adata=other, accelerator="cpu")
    else:
        model.adata = other
    there = set(other.obs_names)
    new = there - set.union(*before.values())
    assert names(model, "train") == before["train"] & there
    assert names(model, "validation") == before["validation"] & there
    assert names(model, "test") == (before["test"] & there) | new
    held_out = other.obs_names.isin(before["validation"] | before["test"] | new)
    pd.testing.assert_frame_equal(
        model.variance_explained(), model.variance_explained(indices=np.flatnonzero(held_out)), rtol=1e-4
    )
    assert len(model.shared_signal_test(n_permutations=9).null) == 9


def test_the_same_data_keep_their_positions(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", adata=toy_mudata(3), accelerator="cpu")
    for split in SPLITS:
        expected = getattr(model, f"{split}_indices")
        np.testing.assert_array_equal(getattr(loaded, f"{split}_indices"), expected)


def test_the_split_survives_what_it_was_loaded_with(model, tmp_path):
    before = {split: names(model, split) for split in SPLITS}
    for k, which in enumerate(["some of them", "other cells", "the same"]):
        model.save(tmp_path / str(k))
        model = type(model).load(tmp_path / str(k), adata=OTHER_DATA[which](3), accelerator="cpu")
    assert {split: names(model, split) for split in SPLITS} == before


def test_cells_left_out_of_the_split_stay_out(tmp_path):
    mdata = toy_mudata(2)
    vennvi.MVAE.setup_mudata(mdata)
    model = vennvi.MVAE(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False)
    model.validation_indices = model.validation_indices[:10]
    model._name_split(mdata)
    model.save(tmp_path / "model")
    loaded = vennvi.MVAE.load(tmp_path / "model", adata=toy_mudata(2), accelerator="cpu")
    np.testing.assert_array_equal(loaded.validation_indices, model.validation_indices)
    assert not len(loaded.test_indices)


def test_data_without_a_training_cell_are_new_data(model, tmp_path):
    """They are read as data are that a method is given."""
    model.save(tmp_path / "model")
    query = renamed(toy_mudata(3))
    loaded = type(model).load(tmp_path / "model", adata=query, accelerator="cpu")
    found = loaded.diagnose().table
    pd.testing.assert_frame_equal(found, model.diagnose(renamed(toy_mudata(3))).table, rtol=1e-3)
    assert np.isfinite(loaded.get_latent_representation()).all()
    text = loaded.report(path=tmp_path / "report.html", umap=False).read_text()
    assert "the model was trained on 30 cells" in text


def test_eight_bytes_a_cell(model):
    assert sum(hashes.nbytes for hashes in model.split_names_.values()) == 8 * N_OBS


@pytest.mark.parametrize("which", ["the same", "some of them"])
def test_models_saved_without_names(model, tmp_path, caplog, which):
    """Positions hold in as many cells; otherwise nothing is known of any of them."""
    model.save(tmp_path / "model")
    saved = torch.load(tmp_path / "model" / "model.pt", weights_only=False)
    del saved["attr_dict"]["split_names_"]
    torch.save(saved, tmp_path / "model" / "model.pt")
    logger = logging.getLogger("scvi.vennvi")
    logger.addHandler(caplog.handler)
    try:
        loaded = type(model).load(tmp_path / "model", adata=OTHER_DATA[which](3), accelerator="cpu")
    finally:
        logger.removeHandler(caplog.handler)
    if which == "the same":
        np.testing.assert_array_equal(loaded.train_indices, model.train_indices)
        assert "without the names" not in caplog.text
    else:
        assert [len(getattr(loaded, f"{split}_indices")) for split in SPLITS] == [0, 0, 40]
        assert "without the names of its 60 cells" in caplog.text


def test_own_data_have_all_modalities(model):
    with pytest.raises(KeyError, match="modality 'protein', which is not in the MuData"):
        model.adata = toy_mudata(2)


@pytest.mark.parametrize("same", [True, False], ids=["copy", "others"])
def test_a_copy_of_the_training_data_is_spoken_of(same, caplog):
    mdata = toy_mudata(2)
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(1, train_size=0.7, accelerator="cpu", enable_progress_bar=False)
    other = mdata.copy()
    if not same:
        for m in other.mod:
            other[m].obs_names = [f"{name}-2" for name in other[m].obs_names]
        other = type(other)(dict(other.mod))
    logger = logging.getLogger("scvi")
    logger.addHandler(caplog.handler)
    try:
        model.shared_signal_test(n_permutations=9, mdata=other)
        model.shared_signal_test(n_permutations=9, mdata=other, indices=model.validation_indices)
    finally:
        logger.removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records if "By their names" in record.getMessage()]
    assert len(said) == int(same)
    assert not same or "trained on 42 of these 60 cells" in said[0]


def test_the_split_follows_cells_that_are_removed_or_reordered(model):
    before = {split: names(model, split) for split in SPLITS}
    mdata = model.adata
    kept = np.random.default_rng(1).permutation(N_OBS)[:45]
    chosen = mdata.obs_names[kept]
    for m in mdata.mod:
        mdata.mod[m] = mdata[m][chosen].copy()
    mdata.update()
    assert len(model.diagnose().table)
    for split in SPLITS:
        assert names(model, split) == before[split] & set(chosen)


def test_cells_trained_on_before_are_spoken_of(model, caplog):
    options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
    split = [getattr(model, f"{name}_indices") for name in SPLITS]
    with caplog.at_level(logging.WARNING, "scvi.vennvi"):
        model.train(datasplitter_kwargs={"external_indexing": split}, **options)
    assert "trained on before" not in caplog.text
    with caplog.at_level(logging.WARNING, "scvi.vennvi"):
        model.train(datasplitter_kwargs={"external_indexing": split[::-1]}, **options)
    assert f"{len(split[0])} of the {N_OBS - len(split[2])} held-out cells were trained on before" in caplog.text


class Fails(Callback):
    def on_train_start(self, *_):
        raise RuntimeError("before any step")


def test_a_training_without_a_step_leaves_the_split(model):
    before, hashes = {split: names(model, split) for split in SPLITS}, model.split_names_
    scvi.settings.seed = 5
    with pytest.raises(RuntimeError, match="before any step"):
        model.train(max_epochs=1, train_size=0.5, accelerator="cpu", enable_progress_bar=False, callbacks=[Fails()])
    assert {split: names(model, split) for split in SPLITS} == before
    assert model.split_names_ is hashes


@pytest.mark.parametrize("before", [False, True], ids=["first training", "second training"])
def test_a_checkpoint_knows_the_split_that_it_is_trained_with(before, tmp_path):
    mdata = toy_mudata(2)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=3, n_private=2, n_hidden=16)
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "check_val_every_n_epoch": 1, "train_size": 0.5}
    if before:
        model.train(max_epochs=1, shuffle_set_split=False, **quiet)
    stop = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation", load_best_on_end=False)
    model.train(max_epochs=1, callbacks=[stop], enable_checkpointing=True, **quiet)
    [saved] = [folder for folder in tmp_path.iterdir() if (folder / "model.pt").exists()]
    loaded = vennvi.MMVAEPlusPlus.load(saved, adata=mdata, accelerator="cpu")
    for split in SPLITS:
        assert names(loaded, split) == names(model, split)
    assert len(names(loaded, "validation")) == 30
