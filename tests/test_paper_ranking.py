"""The paper's claim, on one seed: MMVAE++ keeps the shared factor that the others lose."""

from __future__ import annotations

import pytest
import scvi
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import vennvi


def auc(cls, mdata):
    scvi.settings.seed = 1
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=2, n_private=2)
    model.train(max_epochs=100, train_size=0.8, accelerator="cpu", enable_progress_bar=False)
    latents, y = model.get_latent_representation(), (mdata.obs["y"] == "positive").to_numpy()
    probe = LogisticRegression().fit(latents[model.train_indices], y[model.train_indices])
    held_out = model.validation_indices
    return roc_auc_score(y[held_out], probe.decision_function(latents[held_out]))


@pytest.mark.slow
def test_ranking():
    mdata = vennvi.data.simulate_gp(n_private_features={"view1": 20, "view2": 100}, seed=1)
    found = {
        cls.__name__: auc(cls, mdata) for cls in (vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus)
    }
    assert found["MMVAEPlusPlus"] > 0.85, found
    assert found["MMVAE"] < found["MMVAEPlusPlus"] - 0.05, found
    assert max(found["MVAE"], found["MoPoEVAE"]) < 0.7, found
