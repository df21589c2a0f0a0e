"""The held-out alignment that early stopping and hyperparameter searches read."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from toy import toy_mudata

import vennvi
from vennvi._minibatch_alignment import foscttm_of_minibatch
from vennvi.metrics import foscttm

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "check_val_every_n_epoch": 1}


def fit(mdata, cls=vennvi.MMVAEPlusPlus, **kwargs):
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(**{"max_epochs": 2, "train_size": 0.5} | QUIET | kwargs)
    return model


def curve(model):
    return model.history["foscttm_validation"].to_numpy(float).ravel()


@pytest.mark.parametrize("cls", [vennvi.MoPoEVAE, vennvi.MMVAEPlusPlus])
@pytest.mark.parametrize("absent", [pytest.param(False, id="paired"), pytest.param(True, id="absent cells")])
def test_the_curve_is_the_metric_on_the_validation_cells(cls, absent):
    model = fit(toy_mudata(3, absent=absent), cls, max_epochs=3)
    shared = {m: model.get_latent_representation(modality=m)[model.validation_indices] for m in model.modalities}
    pairs = [(shared[a], shared[b]) for a, b in combinations(shared, 2)]
    cells = [(~np.isnan(a + b).any(axis=1)).sum() for a, b in pairs]
    expected = np.average([foscttm(a, b) for a, b in pairs], weights=cells)
    np.testing.assert_allclose(curve(model)[-1], expected, rtol=1e-5)


@pytest.mark.parametrize("size", [20, 60])
def test_minibatches_of_any_size_estimate_the_same(size):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1200, 3, generator=generator)
    b, ones = a + torch.randn(1200, 3, generator=generator), torch.ones(1200, 1)
    parts = [
        foscttm_of_minibatch({"a": Normal(x, 1.0), "b": Normal(y, 1.0)}, {"a": mask, "b": mask})
        for x, y, mask in zip(a.split(size), b.split(size), ones.split(size), strict=True)
    ]
    assert all(n == size for _, n in parts)
    assert float(torch.stack([value for value, _ in parts]).mean()) == pytest.approx(foscttm(a, b), abs=0.01)


def test_nothing_is_said_where_no_cell_has_two_modalities():
    mdata = toy_mudata(2)
    rna, atac = np.arange(0, 50), np.r_[0:40, 50:60]  # the last 20 cells have one modality each
    mdata = type(mdata)({"rna": mdata["rna"][rna].copy(), "atac": mdata["atac"][atac].copy()})
    both = np.isin(mdata.obs_names, mdata["rna"].obs_names) & np.isin(mdata.obs_names, mdata["atac"].obs_names)
    split = {"external_indexing": [np.flatnonzero(both), np.flatnonzero(~both)]}
    assert np.isnan(curve(fit(mdata, train_size=None, datasplitter_kwargs=split))).all()
    assert "foscttm_validation" not in fit(toy_mudata(1)).history


def test_training_stops_early_by_it():
    stop = {"early_stopping": True, "early_stopping_monitor": "foscttm_validation", "early_stopping_patience": 3}
    stop["early_stopping_warmup_epochs"] = 0
    model = fit(toy_mudata(2), max_epochs=40, plan_kwargs={"lr": 0.0}, **stop)
    assert len(curve(model)) == 4  # no better than at first, three times


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # ray's own
def test_a_search_finds_the_settings_that_align(tmp_path):
    """Before any training to speak of, modalities that are read off canonical variates find each other."""
    ray = pytest.importorskip("ray")
    for name in ("hyperopt", "scib_metrics", "muon"):
        pytest.importorskip(name)
    from scvi.autotune import run_autotune

    mdata = toy_mudata(3)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        search = run_autotune(
            vennvi.MMVAEPlusPlus,
            mdata,
            metrics="foscttm_validation",
            mode="min",
            search_space={
                "model_params": {"n_shared": 3, "n_hidden": 8, "n_canonical": ray.tune.grid_search([0, 10])},
                "train_params": {"max_epochs": 1, "train_size": 0.7},
            },
            num_samples=1,
            scheduler="fifo",
            searcher="random",
            seed=0,
            resources={"cpu": 1},
            logging_dir=str(tmp_path),
            ignore_reinit_error=True,
        )
    finally:
        ray.shutdown()
    best = search.result_grid.get_best_result(metric="foscttm_validation", mode="min")
    assert len(search.result_grid) == 2
    assert best.config["model_params"]["n_canonical"] == 10
