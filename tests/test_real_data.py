"""Every model trains on every real data set: missing views and entries, three and four modalities, counts.

mudata warns of CITE-seq, where genes and proteins share names.
"""

from __future__ import annotations

import mudata
import numpy as np
import pytest

import vennvi

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]


def subset(mdata, n_obs, n_vars):
    """First features and a random choice of cells, to keep the test short."""
    rng = np.random.default_rng(0)
    mdata = mdata[np.sort(rng.permutation(mdata.n_obs)[:n_obs])].copy()
    parts = {m: mdata[m][:, : n_vars.get(m, mdata[m].n_vars)].copy() for m in mdata.mod}
    small = mudata.MuData(parts)
    for column in mdata.obs:
        small.obs[column] = mdata.obs[column].reindex(small.obs_names)
    return small


@pytest.mark.filterwarnings("ignore:var_names are not unique", "ignore:Cannot join columns with the same name")
@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("name", "n_obs", "n_vars", "expected"),
    [
        pytest.param("cll", 200, {"mrna": 500, "methylation": 400},
                     {"drugs": "normal", "methylation": "normal", "mrna": "normal", "mutations": "bernoulli"}, id="cll"),
        pytest.param("tcga_brca", 200, {"rna": 500, "methylation": 500, "mirna": 200},
                     {"rna": "normal", "methylation": "normal", "mirna": "normal"}, id="brca"),
        pytest.param("snareseq_cortex", 400, {"rna": 500, "atac": 3000}, {"rna": "nb", "atac": "nb"}, id="snareseq"),
        pytest.param("pbmc10k_citeseq", 400, {"rna": 500}, {"rna": "nb", "protein": "nb"}, id="citeseq"),
        pytest.param("bmmc_multiome_tiny", 300, {}, {"rna": "nb", "atac": "nb"}, id="bmmc"),
    ],
)  # fmt: skip
def test_trains(cls, name, n_obs, n_vars, expected, real_data):
    mdata = subset(mudata.read_h5mu(real_data(name)), n_obs, n_vars)
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=4, n_private=3, n_hidden=32)
    found = {m: type(model.module.likelihood(m)).__name__ for m in model.modalities}
    classes = {"normal": "NormalLikelihood", "bernoulli": "BernoulliLikelihood", "nb": "NegativeBinomialLikelihood"}
    assert found == {m: classes[v] for m, v in expected.items()}
    model.train(max_epochs=4, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 2e-3})
    loss = model.history["reconstruction_loss_train"].to_numpy(float).ravel()
    assert np.isfinite(loss).all()
    assert loss[-1] < loss[0]
    for m in model.modalities:
        has = mdata.obs_names.isin(mdata[m].obs_names)
        private = model.get_latent_representation(space="private", modality=m)
        np.testing.assert_array_equal(np.isfinite(private).all(1), has)
    prediction = model.predict(model.modalities[0], model.modalities[1], return_numpy=True)
    source = mdata.obs_names.isin(mdata[model.modalities[1]].obs_names)
    assert np.isfinite(prediction[source]).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_accessibility_by_both_likelihoods(likelihood, real_data):
    mdata = mudata.read_h5mu(real_data("bmmc_multiome_tiny"))
    mdata["atac"].layers["binary"] = (mdata["atac"].X > 0).astype(np.float32)
    layer = "binary" if likelihood == "bernoulli" else None
    vennvi.MMVAEPlusPlus.setup_mudata(mdata, layers={"rna": None, "atac": layer})
    model = vennvi.MMVAEPlusPlus(mdata, likelihoods={"atac": likelihood}, n_shared=4, n_private=3)
    model.train(max_epochs=10, accelerator="cpu", enable_progress_bar=False)
    predicted = model.predict("atac", return_numpy=True)
    observed = mdata["atac"].layers["binary"] if layer else mdata["atac"].X
    # depth is an offset: predicted totals follow the observed ones although no latent holds them
    assert np.corrcoef(np.log(predicted.sum(1)), np.log(np.asarray(observed.sum(1)).ravel() + 1))[0, 1] > 0.9
