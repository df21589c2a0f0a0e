"""What each of two processes does in the tests of training on several processes (a module, so that they can import it)."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import numpy as np
import scvi
import torch
import torch.distributed as dist
from scvi.data import AnnTorchDataset
from torch.distributions import Normal
from torch.nn.parallel import DistributedDataParallel
from toy import N_OBS, toy_mudata

import vennvi
from vennvi.distributed import gather_rows
from vennvi.penalties import info_nce

SMALL = {"n_shared": 2, "n_private": 2, "n_hidden": 8}
#: Class, modalities, arguments of the model and of the setup, by name of the case.
CASES = {
    "mvae": (vennvi.MVAE, 2, {}, {}),
    "mopoe": (vennvi.MoPoEVAE, 3, {}, {"batch_key": "batch"}),
    "mmvae": (vennvi.MMVAE, 3, {"alignment_weight": 3.0, "private_kl_weight": 2.0}, {}),
    "mmvae++ labelled": (vennvi.MMVAEPlusPlus, 3, {}, {"labels_key": "partial_label", "unlabeled_category": "unknown"}),
    "vennvi": (vennvi.VennVI, 3, {"n_canonical": 4}, {}),
}
#: Cells of the second process: one that is no different, and those that lack the first modality.
SPLITS = {"random": np.random.default_rng(3).permutation(N_OBS)[:23], "without rna": np.arange(0, N_OBS, 5)}


def join(rank: int, folder: Path) -> None:
    """Meet the other process."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(minutes=3)
    )


def compare_with_one_process(rank: int, folder: Path) -> dict:
    """Losses and gradients of all cells in one process, and of this process' part averaged over both, by case."""
    join(rank, folder)
    try:
        found = {("info_nce", split): _info_nce(rank, split) for split in SPLITS}
        return found | {(case, split): _whole_loss(rank, case, split) for case in CASES for split in SPLITS}
    finally:
        dist.destroy_process_group()


def _cells(rank: int, split: str) -> torch.Tensor:
    second = torch.as_tensor(np.sort(SPLITS[split]))
    is_second = torch.zeros(N_OBS, dtype=torch.bool).index_fill_(0, second, True)
    return torch.nonzero(is_second if rank else ~is_second).squeeze(-1)


def _info_nce(rank: int, split: str) -> dict:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, N_OBS, 4, generator=generator, dtype=torch.float64)
    present = (torch.arange(N_OBS) % 5 > 0).double()
    cells = _cells(rank, split)
    theta = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    one = info_nce(x @ theta, y @ theta**2, present, 1.5)
    expected = torch.autograd.grad(one, theta)[0]
    rows = gather_rows(torch.cat([x[cells] @ theta, y[cells] @ theta**2, present[cells, None]], dim=-1))
    both = info_nce(rows[:, :3], rows[:, 3:6], rows[:, 6], 1.5)
    gradient = torch.autograd.grad(both, theta)[0]
    dist.all_reduce(gradient)
    return {"loss": (one.item(), both.item()), "gradients": {"theta": (expected, gradient / 2)}}


def _whole_loss(rank: int, case: str, split: str) -> dict:
    cls, n_modalities, arguments, setup = CASES[case]
    mdata = toy_mudata(n_modalities, absent=True)
    cls.setup_mudata(mdata, **setup)
    torch.manual_seed(0)
    model = cls(mdata, **SMALL | arguments)
    if model.module.n_canonical:
        model._start_canonical(np.arange(N_OBS))
    dataset = model.adata_manager.create_torch_dataset()
    module = model.module.train()

    def backward(call, cells, across_ranks: bool):
        module.zero_grad(set_to_none=True)
        with noise_by_cell(cells):
            kwargs = {"kl_weight": 0.7, "across_ranks": across_ranks}
            loss = call(minibatch(dataset, cells), loss_kwargs=kwargs)[2].loss
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.requires_grad}

    one, expected = backward(module, torch.arange(N_OBS), False)
    parallel = DistributedDataParallel(module)
    for _ in range(2):  # the second pass fails if a parameter had no part in the first
        part, gradients = backward(parallel, _cells(rank, split), True)
    dist.all_reduce(part)
    return {"loss": (one.item(), part.item() / 2), "gradients": {n: (expected[n], gradients[n]) for n in expected}}


def minibatch(dataset: AnnTorchDataset, cells: torch.Tensor) -> dict[str, torch.Tensor]:
    return {key: torch.as_tensor(value) for key, value in dataset[cells.numpy()].items()}


def fit(devices: int, batch_size: int) -> vennvi.VennVI:
    """Train without noise, so that only what the processes compute can make a difference."""
    scvi.settings.seed = 0
    mdata = toy_mudata(3, absent=True)
    vennvi.VennVI.setup_mudata(mdata, batch_key="batch")
    model = vennvi.VennVI(mdata, **SMALL, n_canonical=4)
    with patch.object(Normal, "rsample", lambda self, shape=(): self.loc):
        model.train(
            max_epochs=5,
            train_size=0.8,
            batch_size=batch_size,
            devices=devices,
            early_stopping=True,
            accelerator="cpu",
            enable_progress_bar=False,
        )
    return model


@contextmanager
def noise_by_cell(cells: torch.Tensor):
    """Draws that belong to the cell, not to its place in a minibatch: the same whatever the others."""
    calls = iter(range(10_000))

    def rsample(self: Normal) -> torch.Tensor:
        noise = torch.randn(N_OBS, self.loc.shape[-1], generator=torch.Generator().manual_seed(next(calls)))
        return self.loc + self.scale * noise[cells]

    with patch.object(Normal, "rsample", rsample):
        yield


if __name__ == "__main__":
    model = fit(devices=2, batch_size=8)
    model.save(sys.argv[1])
    if model.trainer.is_global_zero:
        torch.save(
            {name: curve.iloc[:, 0].astype(float).tolist() for name, curve in model.history.items()}, sys.argv[2]
        )
