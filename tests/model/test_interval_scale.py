"""Predictive distributions scaled on held-out cells: coverage, honesty, what is left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from toy import toy_mudata

import vennvi
from vennvi.model._interval_scale import MIN_CELLS, shrunken_scale

LEVELS = (0.5, 0.9)


def test_scale_against_a_loop():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, 5)) * [0.5, 1, 2, 1, 1]
    z[rng.random(z.shape) < 0.2] = np.nan
    z[:, 4] = np.nan
    everything = z[~np.isnan(z)]
    expected = []
    for column in z.T:
        own = column[~np.isnan(column)]
        expected.append(np.sqrt((sum(v**2 for v in own) + 10 * np.mean(everything**2)) / (len(own) + 10)))
    found = shrunken_scale(np.nansum(z**2, axis=0), (~np.isnan(z)).sum(0))
    np.testing.assert_allclose(found, expected)
    assert found[0] < found[1] < found[2]
    np.testing.assert_array_equal(shrunken_scale(np.zeros(3), np.zeros(3, dtype=int)), np.ones(3))


def simulated():
    return vennvi.data.simulate_gp(n_obs=1000, n_private_features={"view1": 15, "view2": 15})


def train(cls, n_obs=600, max_epochs=60, train_size=0.6):
    scvi.settings.seed = 0
    mdata = simulated()[:n_obs].copy()
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=2, n_private=2, n_hidden=32)
    model.train(
        max_epochs=max_epochs,
        train_size=train_size,
        batch_size=64,
        accelerator="cpu",
        plan_kwargs={"lr": 5e-3},
        enable_progress_bar=False,
    )
    return model


@pytest.fixture(scope="module", params=[vennvi.MMVAEPlusPlus, vennvi.VennVI])
def model(request):
    return train(request.param)


def coverages(model, mdata):
    return {
        (target, source): model.predictive_coverage(target, source, LEVELS, mdata=mdata, n_samples=99)[
            "coverage"
        ].to_numpy()
        for target in ("view1", "view2")
        for source in (target, {"view1": "view2", "view2": "view1"}[target], ("view1", "view2"))
    }


def test_coverage_is_within_five_points_of_nominal_from_itself_and_from_the_other(model):
    for mdata in (
        None,
        simulated()[600:].copy(),
    ):  # held-out cells, each scaled by the other half; and cells nobody has seen
        for pair, found in coverages(model, mdata).items():
            np.testing.assert_allclose(found, LEVELS, atol=0.05, err_msg=str(pair))


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_wrong_noise_is_set_right(model, factor):
    likelihood = model.module.likelihood("view1")
    before = likelihood.raw_noise_sd.detach().clone()
    with torch.no_grad():
        likelihood.raw_noise_sd.copy_(torch.expm1(factor * likelihood.noise_sd).log())
    try:
        for source in ("view1", "view2"):
            found = {
                calibrated: model.predictive_coverage("view1", source, LEVELS, calibrated=calibrated)[
                    "coverage"
                ].to_numpy()
                for calibrated in (True, False)
            }
            np.testing.assert_allclose(found[True], LEVELS, atol=0.06)
            assert np.abs(found[False] - LEVELS).max() > np.abs(found[True] - LEVELS).max()
    finally:
        with torch.no_grad():
            likelihood.raw_noise_sd.copy_(before)


def test_deviations_are_scaled_and_the_mean_is_not(model):
    tables = {}
    for calibrated in (False, True):
        model.predict(
            "view1", "view2", n_samples=40, return_intervals=LEVELS, calibrated=calibrated
        )  # fits the scale, if so
        torch.manual_seed(0)
        tables[calibrated] = model.predict(
            "view1", "view2", n_samples=40, return_intervals=LEVELS, calibrated=calibrated
        )
    pd.testing.assert_frame_equal(tables[True].mean, tables[False].mean)
    ratio = tables[True].sd / tables[False].sd
    training = ratio.iloc[model.train_indices]
    np.testing.assert_allclose(training, np.broadcast_to(training.iloc[0], training.shape), rtol=1e-4)
    for level in LEVELS:
        for end in ("lower", "upper"):
            distance = {k: getattr(t, end)[level] - t.mean for k, t in tables.items()}
            np.testing.assert_allclose(distance[True], ratio * distance[False], rtol=1e-3, atol=1e-3)
    one = model.predict(
        "view1", "view2", indices=model.train_indices[:1], return_intervals=0.5, var_names=["view1_feature3"]
    )
    torch.manual_seed(0)
    assert one.sd.columns.tolist() == ["view1_feature3"]


def test_a_held_out_cells_own_values_do_not_set_its_scale(model):
    cells = model._calibration_cells()
    scales = model._interval_scales("view1", ("view2",)).copy()
    x, cell = model.adata["view1"].X, cells[7]
    kept = x[cell].copy()
    x[cell] += 50.0
    try:
        del model.interval_scales_
        changed = model._interval_scales("view1", ("view2",))
    finally:
        x[cell] = kept
        del model.interval_scales_
    which = [(changed[k] > 1.5 * scales[k]).all() for k in range(3)]
    assert sorted(which) == [False, True, True]
    np.testing.assert_allclose(changed[which.index(False)], scales[which.index(False)], rtol=0.1)
    half = model_half(model, cell)
    assert which.index(False) == half


def model_half(model, cell) -> int:
    """Row of the scales that a cell's predictions are scaled by."""
    scales = np.arange(1.0, 4.0)[:, None] * np.ones((3, 20 + 5))
    original = model._interval_scales
    model._interval_scales = lambda *_: scales
    try:
        outcomes = []
        for calibrated in (True, False):
            torch.manual_seed(0)
            table = model.predict("view1", "view2", indices=[cell], return_intervals=0.5, calibrated=calibrated)
            outcomes.append(table.sd.to_numpy())
        return round(float((outcomes[0] / outcomes[1]).mean())) - 1
    finally:
        model._interval_scales = original


def test_counts_and_models_trained_on_all_cells_are_left_alone():
    mdata = toy_mudata(3)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    for train_size, target in ((0.5, "rna"), (0.5, "atac"), (1.0, "protein"), (0.8, "protein")):
        model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=8)
        model.train(max_epochs=1, train_size=train_size, accelerator="cpu", enable_progress_bar=False)
        assert (model.validation_indices is None or len(model.validation_indices) < MIN_CELLS) == (train_size > 0.5)
        tables = []
        for calibrated in (True, False):
            torch.manual_seed(0)
            tables.append(model.predict(target, return_intervals=0.5, n_samples=20, calibrated=calibrated).sd)
        pd.testing.assert_frame_equal(*tables)


def test_absent_cells_are_scaled_as_what_they_are_predicted_from():
    mdata = toy_mudata(3, absent=True, missing_entries=True, permuted=True)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, train_size=0.4, accelerator="cpu", enable_progress_bar=False)
    absent = np.asarray(mdata.obsmap["protein"]).ravel() == 0
    trained = np.isin(np.arange(mdata.n_obs), model.train_indices)
    model.predict("protein", return_intervals=0.5, n_samples=20)
    sd = {}
    for calibrated in (True, False):
        torch.manual_seed(0)
        sd[calibrated] = model.predict(
            "protein", return_intervals=0.5, n_samples=20, calibrated=calibrated
        ).sd.to_numpy()
    ratio = sd[True] / sd[False]
    for cells, sources in ((~absent, ("rna", "atac", "protein")), (absent, ("rna", "atac"))):
        expected = model._interval_scales("protein", sources)[0]
        own = ratio[cells & trained]
        np.testing.assert_allclose(own, np.broadcast_to(expected, own.shape), rtol=1e-4)
    assert set(model.interval_scales_["scales"]) == {"protein from rna, atac, protein", "protein from rna, atac"}


def test_kept_with_the_model_until_trained_further(tmp_path):
    model = train(vennvi.MMVAEPlusPlus, n_obs=150, max_epochs=2)
    model.predict("view1", "view2", return_intervals=0.5)
    before = model.interval_scales_["scales"]["view1 from view2"]
    model.save(tmp_path / "model")
    loaded = vennvi.MMVAEPlusPlus.load(tmp_path / "model", model.adata, accelerator="cpu")
    np.testing.assert_array_equal(loaded.interval_scales_["scales"]["view1 from view2"], before)
    assert loaded._interval_scales("view1", ("view2",)) is loaded.interval_scales_["scales"]["view1 from view2"]
    loaded.train(max_epochs=2, train_size=0.6, accelerator="cpu", enable_progress_bar=False)
    assert not np.allclose(loaded._interval_scales("view1", ("view2",)), before)


def test_halves_go_by_name(model, tmp_path):
    """So that a cell's own error is not in its scale after its model is loaded with the cells in another order."""
    cells = model._calibration_cells()
    before = dict(zip(model.adata.obs_names[cells], model._half_of(cells), strict=True))
    assert min(np.bincount(list(before.values()), minlength=3)[1:]) > len(before) / 4
    model.save(tmp_path / "model")
    order = np.random.default_rng(0).permutation(model.adata.n_obs)
    loaded = type(model).load(tmp_path / "model", adata=model.adata[order].copy(), accelerator="cpu")
    cells = loaded._calibration_cells()
    assert dict(zip(loaded.adata.obs_names[cells], loaded._half_of(cells), strict=True)) == before


def test_cells_without_a_source_are_not_counted():
    """Scales of a prediction are fitted to cells that have what it is made from, and only if there are enough."""
    mdata = toy_mudata(3)
    few = mdata.obs_names[:34]
    mdata = type(mdata)({"rna": mdata["rna"][:34].copy(), "protein": mdata["protein"]})
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=8)
    places = mdata.obs_names.get_indexer([*few[:30], *mdata.obs_names.difference(few), *few[30:]])
    split = {"external_indexing": [places[:30], places[30:]]}  # four of the thirty held-out cells have RNA
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, datasplitter_kwargs=split)
    assert (model._interval_scales("protein", ("rna",)) == 1).all()
    assert (model._interval_scales("protein", ("rna", "protein")) != 1).any()
