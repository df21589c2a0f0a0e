"""Several processes that train together compute what one process computes."""

from __future__ import annotations

import os
import subprocess
import sys

import ddp_worker
import numpy as np
import pytest
import torch
from ddp_worker import CASES, SPLITS, compare_with_one_process
from scvi.dataloaders import _ann_dataloader
from torch.utils.data import DistributedSampler

import vennvi


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Losses and gradients of one process and of two, by case and by how the cells are split."""
    folder = tmp_path_factory.mktemp("ddp")
    other = torch.multiprocessing.get_context("spawn").Process(target=compare_with_one_process, args=(1, folder))
    other.start()
    yield compare_with_one_process(0, folder)
    other.join()
    assert other.exitcode == 0


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", ["info_nce", *CASES])
def test_two_processes_have_the_loss_and_the_gradients_of_one(found, case, split):
    one, both = found[case, split]["loss"]
    assert both == pytest.approx(one, rel=1e-5)
    for name, (expected, gradient) in found[case, split]["gradients"].items():
        error = (gradient - expected).norm() / expected.norm().clamp_min(1e-3)
        assert error < 1e-4, f"{name}: {error}"


class OrderOfDDP(DistributedSampler):
    """The order in which several processes together read the cells, for one process."""

    def __init__(self, dataset):
        super().__init__(dataset, num_replicas=1, rank=0)
        self.set_epoch(-1)

    def __iter__(self):
        self.set_epoch(self.epoch + 1)
        return super().__iter__()


@pytest.mark.slow
def test_training_on_two_processes_is_training_on_one_with_twice_the_batch(tmp_path, monkeypatch):
    command = [sys.executable, "-W", "ignore", ddp_worker.__file__, tmp_path / "model", tmp_path / "history.pt"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, timeout=300, cwd=tmp_path, env=environment, capture_output=True)
    history = torch.load(tmp_path / "history.pt")
    assert not (tmp_path / "lightning_logs").exists()

    monkeypatch.setattr(_ann_dataloader, "RandomSampler", OrderOfDDP)
    one = ddp_worker.fit(devices=1, batch_size=16)
    assert history.keys() == one.history.keys()
    for name, curve in one.history.items():
        if name not in ("foscttm_validation", "alignment_validation"):  # of a part of the cells in each process
            np.testing.assert_allclose(history[name], curve.iloc[:, 0].astype(float), rtol=1e-4, err_msg=name)
    two = vennvi.VennVI.load(tmp_path / "model", one.adata)
    np.testing.assert_allclose(two.get_latent_representation(), one.get_latent_representation(), rtol=1e-3, atol=1e-4)
