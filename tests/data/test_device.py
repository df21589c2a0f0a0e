"""Data kept on a device give the minibatches, and the training, of data in memory (here the device is the CPU)."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch
from toy import N_OBS, toy_mudata

import vennvi
from vennvi.data import _manager
from vennvi.data._device import DeviceMuDataset, fits

CPU = torch.device("cpu")
COVARIATES = {"batch_key": "batch", "continuous_covariate_keys": ["age"], "labels_key": "label"}


def empty_a_row(mdata):
    if "protein" in mdata.mod:
        mdata["protein"].X[3] = np.nan  # a cell with a row and nothing in it
    return mdata


@pytest.mark.parametrize("absent", [False, True], ids=["paired", "absent"])
def test_minibatches_are_those_of_memory(absent):
    mdata = empty_a_row(toy_mudata(4, absent=absent, permuted=True, missing_entries=True))
    vennvi.MMVAE.setup_mudata(mdata, **COVARIATES)
    manager = vennvi.MMVAE._get_most_recent_anndata_manager(mdata)
    cells = np.random.default_rng(0).permutation(N_OBS)[:40]
    kept = DeviceMuDataset(manager, cells, device=CPU)
    others = np.arange(N_OBS)[::-2]
    for indices, dataset in ((cells, kept), (others, kept.with_cells(others)), (cells, kept)):
        memory = manager.create_torch_dataset(indices)
        assert len(dataset) == len(memory) == len(indices)
        for chosen in ([5, 0, 17, 0], slice(3, 20), [2]):
            found, wanted = dataset[chosen], memory[chosen]
            assert set(found) == set(wanted)
            for key, value in wanted.items():
                value = torch.as_tensor(value)
                assert found[key].layout == value.layout, key
                assert found[key].dtype == value.dtype, key
                dense = [v.to_dense() if v.layout == torch.sparse_csr else v for v in (found[key], value)]
                torch.testing.assert_close(*dense, rtol=0, atol=0, equal_nan=True)


def test_training_is_that_from_memory(monkeypatch):
    histories, made = [], []
    original = DeviceMuDataset.__init__
    monkeypatch.setattr(DeviceMuDataset, "__init__", lambda self, *a, **k: (made.append(1), original(self, *a, **k))[1])
    for on_device in (False, True):
        monkeypatch.setattr(_manager, "fits", lambda dataset, device, on_device=on_device: on_device)
        scvi.settings.seed = 0
        mdata = toy_mudata(3, absent=True)
        vennvi.VennVI.setup_mudata(mdata)
        model = vennvi.VennVI(mdata, n_shared=2, n_private=2, n_canonical=3)
        model.train(3, accelerator="cpu", check_val_every_n_epoch=1, enable_progress_bar=False, batch_size=16)
        histories.append({key: curve.to_numpy(float).ravel() for key, curve in model.history.items()})
        assert model.adata_manager._on_device is None, "given back after the training"
    assert made == [1], "one copy for training and validation"
    assert set(histories[0]) == set(histories[1])
    for key, curve in histories[0].items():
        np.testing.assert_allclose(histories[1][key], curve, rtol=1e-5, err_msg=key)


def test_nothing_stays_on_the_device_after_the_training(monkeypatch):
    monkeypatch.setattr(_manager, "fits", lambda dataset, device: True)
    mdata = toy_mudata(2)
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    model.train(1, accelerator="cpu", check_val_every_n_epoch=1, enable_progress_bar=False)
    for loader in (model.trainer.train_dataloader, model.trainer.val_dataloaders):  # which outlive it
        assert not loader.dataset._kept
    again = model.get_latent_representation()
    assert np.isfinite(again).all()


@pytest.mark.filterwarnings("ignore:Sparse invariant checks", "ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("given", ["settings", "argument"])
def test_data_stay_in_memory_for_workers(monkeypatch, given):
    """Forked processes cannot read what is on a GPU."""
    monkeypatch.setattr(_manager, "fits", lambda dataset, device: True)
    made = []
    monkeypatch.setattr(_manager, "DeviceMuDataset", lambda *args, **kwargs: made.append(1))
    monkeypatch.setattr(scvi.settings, "dl_num_workers", 1 if given == "settings" else 0)
    mdata = toy_mudata(2)
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    loading = {} if given == "settings" else {"datasplitter_kwargs": {"num_workers": 1}}
    model.train(1, accelerator="cpu", enable_progress_bar=False, **loading)
    assert not made
    assert model.is_trained


def test_what_is_on_a_device_is_not_pinned(monkeypatch):
    """Torch refuses to; here, without a GPU, it would warn."""
    monkeypatch.setattr(_manager, "fits", lambda dataset, device: True)
    mdata = toy_mudata(2)
    vennvi.MMVAE.setup_mudata(mdata)
    model = vennvi.MMVAE(mdata, n_shared=2, n_private=2)
    pinned = {"datasplitter_kwargs": {"pin_memory": True}}
    model.train(1, accelerator="cpu", check_val_every_n_epoch=1, enable_progress_bar=False, **pinned)
    loaders = [model.trainer.train_dataloader, model.trainer.val_dataloaders]
    assert all(isinstance(loader.dataset, DeviceMuDataset) and not loader.pin_memory for loader in loaders)


def test_a_cpu_keeps_nothing():
    mdata = toy_mudata(2)
    vennvi.MMVAE.setup_mudata(mdata)
    dataset = vennvi.MMVAE._get_most_recent_anndata_manager(mdata).create_torch_dataset()
    assert not fits(dataset, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_keeps_what_fits():
    mdata = toy_mudata(3)
    vennvi.MMVAE.setup_mudata(mdata)
    dataset = vennvi.MMVAE._get_most_recent_anndata_manager(mdata).create_torch_dataset()
    assert fits(dataset, torch.device("cuda"))
