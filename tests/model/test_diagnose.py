"""The leakage report of trained models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from toy import toy_mudata

import vennvi
from vennvi import MMVAEPlusPlus, MoPoEVAE
from vennvi.metrics import linear_probe


def _model(mdata, cls=MMVAEPlusPlus, train_size=0.6, max_epochs=2, n_private=2, **setup):
    cls.setup_mudata(mdata, **setup)
    model = cls(mdata, n_shared=3, n_private=n_private, n_hidden=16)
    model.train(max_epochs=max_epochs, train_size=train_size, accelerator="cpu")
    return model


def _data(seed=0, n_obs=300):
    return vennvi.data.simulate_multiome(n_obs=n_obs, n_genes=30, n_peaks=60, seed=seed)


@pytest.fixture(scope="module")
def model():
    return _model(_data(), batch_key="batch")


def test_every_topic_and_space(model):
    report = model.diagnose(labels=["cell_type"], models=[_model(model.adata, batch_key="batch")])
    table = report.table
    assert table["topic"].unique().tolist() == ["alignment", "leakage", "probe", "covariate", "activity", "stability"]
    spaces = {"shared", "shared rna", "shared atac", "private rna", "private atac"}
    assert set(table.loc[table["topic"] == "probe", "space"]) == spaces
    covariates = set(table.loc[table["topic"] == "covariate", "target"])
    assert covariates == {"batch", "log depth of rna", "log depth of atac"}
    assert all(verdict.startswith(("ok: ", "check: ")) for verdict in report.verdicts)


def test_probes_are_fitted_on_training_cells_and_read_on_held_out_ones(model):
    train, test = np.sort(model.train_indices), np.sort(model.validation_indices)
    expected = linear_probe(model.get_latent_representation(), model.adata.obs["cell_type"], train, test)
    table = model.diagnose(labels="cell_type").table
    row = table[(table["topic"] == "probe") & (table["space"] == "shared") & (table["metric"] == "auc")]
    assert row["value"].item() == pytest.approx(expected.auc, abs=0.01)
    assert (row["n_train"].item(), row["n_test"].item()) == (len(train), len(test))


def test_kl_of_a_dimension(model):
    test = np.sort(model.validation_indices)
    mean = model.get_latent_representation(space="private", modality="rna", indices=test)
    draws = model.get_latent_representation(
        space="private", modality="rna", indices=test, give_mean=False, n_samples=4000
    )
    variance = draws.var(axis=0)
    expected = (0.5 * (mean**2 + variance - 1 - np.log(variance))).mean(axis=0)
    table = model.diagnose().table
    found = table[(table["space"] == "private rna") & (table["metric"] == "kl")]["value"]
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_cells_are_limited(model):
    table = model.diagnose(max_cells=50).table
    assert table.loc[table["topic"] == "leakage", "n_test"].max() == 50


def test_new_data_are_split(model):
    new = _data(seed=1, n_obs=100)
    table = model.diagnose(new, labels=["cell_type"]).table
    probe = table[table["topic"] == "probe"]
    assert set(probe["n_train"]) == set(probe["n_test"]) == {50}


def test_trained_on_all_cells():
    everything = _model(_data(), train_size=1.0, max_epochs=1)
    with pytest.raises(ValueError, match="train_size"):
        everything.diagnose()


def test_no_cell_at_all(model):
    with pytest.raises(ValueError, match="`max_cells` is 0"):
        model.diagnose(max_cells=0)


def test_label_that_is_not_there(model):
    with pytest.raises(KeyError, match="labels"):
        model.diagnose(labels=["nowhere"])


def test_models_of_other_modalities(model):
    with pytest.raises(ValueError, match="modalities"):
        model.diagnose(models=[_model(toy_mudata())])


@pytest.mark.filterwarnings("ignore:Initializing zero-element")  # torch, of a space without dimensions
@pytest.mark.parametrize(
    "n_private", [pytest.param(1, id="private"), pytest.param({"rna": 0, "atac": 1, "protein": 2}, id="none")]
)
def test_three_modalities_absent_cells_missing_entries(n_private):
    mdata = toy_mudata(absent=True, missing_entries=True, permuted=True)
    mdata.obs.loc[mdata.obs_names[:5], "label"] = np.nan
    model = _model(mdata, cls=MoPoEVAE, n_private=n_private, batch_key="batch")
    report = model.diagnose(labels=["label", "age"])
    assert np.isfinite(report.table.loc[report.table["metric"] == "kl", "value"]).all()
    assert ("private rna" in set(report.table["space"])) == (n_private == 1)
    assert len(report.verdicts) > 5


def test_unlabelled_cells_are_no_class():
    mdata = _data()
    known = mdata.obs["cell_type"].astype(str)
    mdata.obs["partial"] = known.where(np.arange(mdata.n_obs) % 2 == 0, "unknown")
    model = _model(mdata, labels_key="partial", unlabeled_category="unknown")
    found = model.diagnose(labels="partial").table
    mdata.obs["partial_missing"] = mdata.obs["partial"].replace("unknown", np.nan)
    expected = model.diagnose(labels="partial_missing").table.replace("partial_missing", "partial")
    pd.testing.assert_frame_equal(found, expected)
    assert (mdata.obs["partial"] == "unknown").sum() == 150
    new = _data(seed=1)
    labels = new.obs["cell_type"].astype("string").where(np.arange(new.n_obs) % 3 > 0)
    for values in (labels, labels == "type0"):
        new.obs["partial"] = values
        assert "partial" in set(model.diagnose(new, labels="partial").table["target"])
