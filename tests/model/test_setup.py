"""Bad input is refused with a message that names the modality, the key and the remedy, before anything is changed."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from toy import N_OBS, toy_mudata

import vennvi

MODEL = vennvi.MMVAEPlusPlus


@pytest.fixture(autouse=True)
def caught(caplog):
    """scvi-tools' logger does not propagate to the root, where pytest listens."""
    logger = logging.getLogger("scvi.vennvi")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


def with_nan(column):
    mdata = toy_mudata(2)
    mdata.obs[column] = mdata.obs[column].astype("object" if column != "age" else float)
    mdata.obs.loc[mdata.obs_names[:3], column] = np.nan
    return mdata


def stale():
    mdata = toy_mudata(2)
    mdata.mod["rna"] = mdata["rna"][:50].copy()
    return mdata


def with_a_view():
    mdata = toy_mudata(2)
    return MuData({"rna": mdata["rna"][:, :5], "atac": mdata["atac"]})


def no_x():
    mdata = toy_mudata(2)
    del mdata["rna"].X
    return mdata


@pytest.mark.parametrize(
    ("mdata", "arguments", "error", "message"),
    [
        pytest.param(
            lambda: ad.AnnData(np.ones((3, 2))), {}, TypeError, "Expected a MuData, got AnnData", id="anndata"
        ),
        pytest.param(lambda: toy_mudata(2)[:30], {}, ValueError, "view.*copy", id="view"),
        pytest.param(with_a_view, {}, ValueError, "'rna' is a view.*copy", id="view of a modality"),
        pytest.param(lambda: toy_mudata(2), {"layers": {}}, ValueError, "no modality", id="no modality"),
        pytest.param(lambda: toy_mudata(2), {"layers": {"rma": None}}, KeyError, "'rma'.*rna, atac", id="modality"),
        pytest.param(
            lambda: toy_mudata(2), {"layers": {"rna": "counts"}}, KeyError, "'rna' has no layer 'counts'", id="layer"
        ),
        pytest.param(no_x, {}, ValueError, "'rna' has no `.X`", id="no X"),
        pytest.param(
            lambda: MuData({"a.b": toy_mudata(1)["rna"], "c": toy_mudata(2)["atac"]}),
            {},
            ValueError,
            "'a.b'.*rename",
            id="dot",
        ),
        pytest.param(
            lambda: MuData({"type": toy_mudata(1)["rna"], "c": toy_mudata(2)["atac"]}),
            {},
            ValueError,
            "'type' is taken",
            id="torch name",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"categorical_covariate_keys": "sex"},
            TypeError,
            "is the string 'sex'",
            id="not a list",
        ),
        pytest.param(stale, {}, ValueError, r"'rna', which changed.*mdata\.update\(\)", id="stale"),
        pytest.param(
            lambda: toy_mudata(2), {"batch_key": ["batch"]}, TypeError, "give the name of a column", id="list"
        ),
        pytest.param(lambda: toy_mudata(2), {"layers": "rna"}, TypeError, "`layers` is the string 'rna'", id="layers"),
        pytest.param(
            lambda: toy_mudata(2),
            {"categorical_covariate_keys": ["sex", "sex"]},
            ValueError,
            "names a column twice",
            id="twice",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"continuous_covariate_keys": ["sex"]},
            ValueError,
            r"mdata\.obs\['sex'\] is not numeric",
            id="text as number",
        ),
        pytest.param(
            lambda: with_values("age", pd.date_range("2026-01-01", periods=N_OBS)),
            {"continuous_covariate_keys": ["age"]},
            ValueError,
            r"mdata\.obs\['age'\] is not numeric",
            id="dates",
        ),
        pytest.param(
            lambda: with_values("age", [np.inf]),
            {"continuous_covariate_keys": ["age"]},
            ValueError,
            r"mdata\.obs\['age'\] has 1 infinite",
            id="infinite",
        ),
        pytest.param(
            lambda: with_values("batch", [1, "a"]),
            {"batch_key": "batch"},
            ValueError,
            r"mdata\.obs\['batch'\] has values of several types",
            id="mixed",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"size_factor_key": "sex"},
            ValueError,
            "Size factors 'sex' of modality 'rna'.*not numeric",
            id="size factors of text",
        ),
        pytest.param(
            lambda: with_values("label", range(N_OBS)),
            {"labels_key": "label", "unlabeled_category": "0"},
            ValueError,
            "`unlabeled_category` is '0', but the labels in 'label' are of another type",
            id="unlabeled of another type",
        ),
        pytest.param(
            lambda: toy_mudata(2), {"batch_key": "bach"}, KeyError, "`batch_key` names 'bach'.*mdata.obs", id="batch"
        ),
        pytest.param(
            lambda: with_nan("batch"), {"batch_key": "batch"}, ValueError, "'batch'.*3 missing.*fillna", id="NaN batch"
        ),
        pytest.param(
            lambda: with_nan("label"),
            {"labels_key": "label"},
            ValueError,
            "3 missing.*unlabeled_category='unknown'",
            id="NaN label",
        ),
        pytest.param(
            lambda: with_nan("age"),
            {"continuous_covariate_keys": ["age"]},
            ValueError,
            "3 missing.*impute",
            id="NaN age",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"unlabeled_category": "unknown"},
            ValueError,
            "needs `labels_key`",
            id="unlabeled alone",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"size_factor_key": {"rna": "sf"}},
            KeyError,
            "'sf' for modality 'rna'",
            id="size factor",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"size_factor_key": {"atac": "age"}},
            ValueError,
            "'atac': 9 cells.*not positive",
            id="zero size",
        ),
        pytest.param(
            lambda: toy_mudata(2),
            {"batch_key": "batch", "modalities": {"batch_key": "xyz"}},
            KeyError,
            "'xyz'",
            id="where",
        ),
    ],
)
def test_setup_refuses(mdata, arguments, error, message):
    mdata = mdata()
    before = (set(mdata.uns), set(mdata.obs))
    with pytest.raises(error, match=message):
        MODEL.setup_mudata(mdata, **arguments)
    assert (set(mdata.uns), set(mdata.obs)) == before


def with_values(column, values):
    """Some values of a column are these."""
    mdata = toy_mudata(2)
    changed = mdata.obs[column].astype(object)
    changed.iloc[: len(values)] = values
    mdata.obs[column] = changed.infer_objects()
    return mdata


def test_a_model_of_data_that_are_not_set_up():
    with pytest.raises(ValueError, match=r"MODEL\.setup_mudata\(mdata\)".replace("MODEL", MODEL.__name__)):
        MODEL(toy_mudata(2))


@pytest.mark.parametrize("use", [True, False])
def test_depth_is_used_of_all_or_none(use):
    mdata = toy_mudata(2)
    MODEL.setup_mudata(mdata)
    module = MODEL(mdata, n_shared=2, n_private=2, use_observed_lib_size=use).module
    assert [module.likelihood(m).use_size for m in mdata.mod] == [use, use]


def test_a_column_of_a_modality():
    mdata = toy_mudata(2)
    mdata["rna"].obs["donor"] = mdata.obs["batch"]
    with pytest.raises(KeyError, match=r"modalities=\{'batch_key': 'rna'\}"):
        MODEL.setup_mudata(mdata, batch_key="donor")
    MODEL.setup_mudata(mdata, batch_key="donor", modalities={"batch_key": "rna"})
    assert MODEL(mdata, n_shared=2, n_private=2).module.n_batch == 3


def test_a_column_of_a_modality_that_lacks_cells():
    mdata = toy_mudata(2, absent=True)
    mdata["rna"].obs["donor"] = "a"
    with pytest.raises(ValueError, match="12 cells are absent from modality 'rna'"):
        MODEL.setup_mudata(mdata, batch_key="donor", modalities={"batch_key": "rna"})


def test_setup_anndata_points_to_setup_mudata():
    with pytest.raises(TypeError, match="setup_mudata"):
        MODEL.setup_anndata(ad.AnnData(np.ones((3, 2))))
    with pytest.raises(TypeError, match="write_collection"):
        MODEL.setup_annbatch("folder")


@pytest.mark.parametrize("collection", [tuple, np.array, pd.Index], ids=lambda kind: kind.__name__)
def test_keys_come_in_any_collection(collection):
    keys = {"categorical_covariate_keys": ["sex", "batch"], "continuous_covariate_keys": ["age"]}
    registries = []
    for kind in (list, collection):
        mdata = toy_mudata(2)
        MODEL.setup_mudata(mdata, **{argument: kind(names) for argument, names in keys.items()})
        model = MODEL(mdata, n_shared=2, n_private=2)
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
        registries.append(model.registry["setup_args"])
    assert registries[0] == registries[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_shared": 0}, "`n_shared` is 0"),
        ({"n_shared": True}, "`n_shared` is True"),
        ({"n_hidden": 0}, "`n_hidden` is 0"),
        ({"n_layers": 1.5}, "`n_layers` is 1.5"),
        ({"alignment_scale": 0.0}, "`alignment_scale` is 0.0"),
        ({"alignment_weight": -1}, "`alignment_weight` is -1"),
        ({"modality_weights": {"rna": float("nan")}}, r"`modality_weights\['rna'\]` is nan"),
        ({"n_canonical": -1}, "`n_canonical` is -1"),
        ({"n_private": {"rna": 2}}, "`n_private` names no size for 'atac'"),
        ({"n_private": {"rna": 2, "xyz": 3}}, "`n_private` names 'xyz'"),
        ({"likelihoods": {"rna": "bernoulli"}}, "'bernoulli' does not fit modality 'rna', which holds counts from 0"),
        ({"likelihoods": {"xyz": "nb"}}, "`likelihoods` names 'xyz'"),
        ({"likelihoods": "nb"}, "`likelihoods` is 'nb'"),
        ({"modality_weights": {"rna": float("inf")}}, r"`modality_weights\['rna'\]` is inf"),
        ({"modality_weights": 2.0}, "`modality_weights` is 2.0"),
        ({"cross_private": "mean"}, "'zeros' or 'prior'"),
    ],
)
def test_init_refuses(arguments, message):
    mdata = toy_mudata(2)
    MODEL.setup_mudata(mdata)
    with pytest.raises((TypeError, ValueError), match=message):
        MODEL(mdata, **{"n_shared": 2, "n_private": 2} | arguments)


def test_likelihoods_are_read_off_the_data_and_logged(caplog):
    mdata = toy_mudata(3)
    MODEL.setup_mudata(mdata)
    with caplog.at_level(logging.INFO, logger="scvi.vennvi"):
        model = MODEL(mdata, n_shared=2, n_private=2, likelihoods={"rna": "poisson"})
    messages = (record.getMessage() for record in caplog.records if record.name == "scvi.vennvi")
    lines = list(dict.fromkeys(messages))  # scvi-tools' logger may reach the root as well
    assert len(lines) == 3
    assert "rna: counts" in lines[0]
    assert lines[0].endswith("likelihood poisson")
    assert lines[1].endswith("likelihood bernoulli (default)")
    assert lines[2].endswith("likelihood normal (default)")
    assert type(model.module.likelihood("rna")).__name__ == "PoissonLikelihood"


def test_dense_binary_data_have_no_depth():
    mdata = toy_mudata(2)
    mdata.mod["atac"].X = mdata["atac"].X.toarray()
    MODEL.setup_mudata(mdata)
    assert not MODEL(mdata, n_shared=2, n_private=2).module.likelihood("atac").use_size
    assert (
        MODEL(mdata, n_shared=2, n_private=2, use_observed_lib_size={"atac": True}).module.likelihood("atac").use_size
    )


def test_cells_without_any_modality_in_use(caplog):
    mdata = toy_mudata(3, absent=True)
    with caplog.at_level(logging.WARNING, logger="scvi.vennvi"):
        MODEL.setup_mudata(mdata, layers={"rna": None})
    assert "12 of 60 cells have none of the modalities rna" in caplog.text
    model = MODEL(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert np.isnan(model.get_latent_representation()).any(1).sum() == 12


def test_the_users_data_are_left_alone():
    mdata = toy_mudata(3, absent=True, missing_entries=True)
    copy = mdata.copy()
    MODEL.setup_mudata(mdata, batch_key="batch")
    model = MODEL(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    model.predict("rna", "atac")
    for m in mdata.mod:
        a, b = mdata[m].X, copy[m].X
        dense = (a, b) if isinstance(a, np.ndarray) else (a.toarray(), b.toarray())
        np.testing.assert_array_equal(*dense)
        assert list(mdata[m].obs) == list(copy[m].obs)
    assert {c for c in mdata.obs if not c.startswith("_scvi")} == set(copy.obs)
    assert list(mdata.obsm) == list(copy.obsm)


def test_latent_space_names_are_checked():
    mdata = toy_mudata(2)
    MODEL.setup_mudata(mdata)
    model = MODEL(mdata, n_shared=2, n_private=2)
    model.is_trained = True
    for arguments, message in (
        ({"space": "private"}, "needs `modality`"),
        ({"space": "both"}, "'shared' or 'private'"),
        ({"modality": "xyz"}, "`modality` is 'xyz'.*'rna', 'atac'"),
        ({"joint": "sum"}, "'mean' or 'precision'"),
        ({"n_samples": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            model.get_latent_representation(**arguments)
