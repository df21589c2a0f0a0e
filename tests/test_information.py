"""Information of the decoders against its closed form where everything is linear and Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy import toy_mudata

import vennvi
from vennvi.information import decoder_information, information_weighted


class LinearModule:
    """Stands for a module whose decoders are ``z @ loadings`` and whose likelihood is Gaussian of known sd."""

    def __init__(self, loadings, sd, n_shared):
        self.loadings, self.sd, self.n_shared = loadings, sd, n_shared
        self.n_private = {"a": len(loadings) - n_shared}

    def likelihood(self, modality):
        return self

    def decode(self, modality, latents, covariates):
        return latents @ self.loadings

    def distribution(self, outputs, size):
        return torch.distributions.Normal(outputs, self.sd)


@pytest.mark.parametrize("n_private", [0, 2])
def test_linear_gaussian_closed_form(n_private):
    """Precision of s given x, less the prior's, with the private latent integrated out."""
    torch.manual_seed(0)
    loadings, sd = torch.randn(3 + n_private, 12, dtype=torch.float64), torch.rand(12, dtype=torch.float64) + 0.5
    module = LinearModule(loadings, sd, 3)
    s = torch.randn(40, 3, dtype=torch.float64)
    found = decoder_information(module, "a", s, torch.ones(40, 1), None)
    a, b = loadings[:3], loadings[3:]
    marginal = torch.diag(sd**2) + b.T @ b
    torch.testing.assert_close(found, a @ torch.linalg.inv(marginal) @ a.T, rtol=1e-4, atol=1e-4)


def test_weighting_is_least_squares():
    """With information as precision, the joint is the generalised least squares estimate."""
    torch.manual_seed(0)
    roots = torch.randn(3, 2, 2, dtype=torch.float64)
    information = roots @ roots.mT
    loc = torch.randn(3, 5, 2, dtype=torch.float64)
    found = information_weighted(loc, torch.ones(3, 5, 1, dtype=torch.float64), information)
    total = information.sum(0)
    expected = torch.stack(
        [torch.linalg.solve(total, sum(information[m] @ loc[m, i] for m in range(3))) for i in range(5)]
    )
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_absent_modalities_have_no_say():
    loc = torch.tensor([[[1.0, 2], [torch.nan, torch.nan], [0, 0]], [[5.0, 6], [3, 4], [7, 7]]])
    mask = torch.tensor([[[1.0], [0], [0]], [[0.0], [1], [0]]])
    found = information_weighted(loc, mask, torch.stack([torch.eye(2), 3 * torch.eye(2)]))
    torch.testing.assert_close(found[:2], torch.tensor([[1.0, 2], [3, 4]]))
    assert found[2].isnan().all()


@pytest.mark.parametrize("cls", [vennvi.VennVI, vennvi.MMVAEPlusPlus])
def test_joint_of_a_model(cls):
    mdata = toy_mudata(2, absent=True)
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(max_epochs=1, batch_size=32, accelerator="cpu", enable_progress_bar=False)
    read = model.get_latent_representation
    joint = read(joint="information")
    alone = {m: read(modality=m) for m in model.modalities}
    weights = model.module.information + 1e-3 * model.module.information.sum(0).abs().max() * torch.eye(3)
    both = np.isfinite(np.hstack(list(alone.values()))).all(1)
    summed = sum(z[both] @ w.numpy().T for z, w in zip(alone.values(), weights, strict=True))
    np.testing.assert_allclose(joint[both], np.linalg.solve(weights.sum(0).numpy(), summed.T).T, atol=1e-4)
    default = read()
    expected = joint if cls is vennvi.VennVI else read(joint="mean")
    np.testing.assert_array_equal(default, expected)


def test_without_data_there_must_be_information(tmp_path):
    mdata = toy_mudata(2)
    vennvi.MMVAEPlusPlus.setup_mudata(mdata)
    model = vennvi.MMVAEPlusPlus(mdata, n_shared=2, n_private=2, n_hidden=8)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    with pytest.raises(ValueError, match="`joint` is 'median'"):
        model.get_latent_representation(joint="median")
    model.save(tmp_path / "m")
    alone = vennvi.MMVAEPlusPlus.load(tmp_path / "m", adata=False)
    with pytest.raises(ValueError, match="loaded without data"):
        alone.get_latent_representation(mdata, joint="information")
