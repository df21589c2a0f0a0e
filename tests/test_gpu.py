"""What a GPU computes is what the CPU computes; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scvi
import torch
from test_all_models import LIKELIHOODS, MODELS, assert_same_spaces, spaces
from torch.distributions import Normal
from toy import N_OBS, toy_mudata

import vennvi
from vennvi._keys import data_key

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = torch.device("cuda")


@pytest.fixture(params=MODELS, ids=lambda cls: cls.__name__)
def cls(request):
    return request.param


def build(cls, rna="nb", **kwargs):
    mdata = toy_mudata(4, absent=True, missing_entries=True, permuted=True)
    cls.setup_mudata(mdata, batch_key="batch", labels_key="label")
    return cls(mdata, n_shared=3, n_private=2, n_hidden=16, likelihoods={**LIKELIHOODS, "rna": rna}, **kwargs)


def train(model, max_epochs=3, **kwargs):
    model.train(max_epochs, accelerator="gpu", batch_size=32, enable_progress_bar=False, **kwargs)
    return model


def loss_and_gradients(module, tensors, device):
    module.to(device).train()
    module.zero_grad()
    on_device = {key: value.to(device) for key, value in tensors.items()}
    *_, output = module(on_device, loss_kwargs={"kl_weight": 0.3})
    output.loss.backward()
    gradients = {
        name: parameter.grad.to_dense().cpu() if parameter.grad.is_sparse else parameter.grad.cpu()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return output.loss.item(), gradients


@pytest.mark.parametrize("rna", ["nb", "zinb", "poisson"])
@pytest.mark.parametrize("fraction", [1.0, 0.4], ids=["all features", "some features"])
def test_loss_and_gradients_are_those_of_the_cpu(cls, rna, fraction, monkeypatch):
    monkeypatch.setattr(Normal, "rsample", lambda self, sample_shape=(): self.loc)
    monkeypatch.setattr("vennvi.module.random_runs", lambda n, k: [slice(1, 3), slice(n - k + 2, n)])
    model = build(cls, rna)
    model.is_trained = True
    tensors = next(iter(model._make_data_loader(adata=model.adata, batch_size=N_OBS)))
    model.module.feature_fraction = {} if fraction == 1 else dict.fromkeys(["atac", "protein"], fraction)
    (loss, gradients), (expected, wanted) = (
        loss_and_gradients(model.module, tensors, device) for device in (GPU, torch.device("cpu"))
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_train_read_and_take_home(cls, tmp_path):
    model = train(build(cls))
    assert model.device.type == "cuda"
    assert np.isfinite(model.history["train_loss"].to_numpy(float)).all()
    there = spaces(model)
    predicted = model.predict("atac", source="rna")
    model.save(tmp_path / "model")
    home = cls.load(tmp_path / "model", adata=model.adata, accelerator="cpu")
    assert home.device.type == "cpu"
    assert_same_spaces(there, spaces(home), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(predicted, home.predict("atac", source="rna"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kept", [True, False], ids=["data on the GPU", "data in memory"])
def test_sparse_minibatches_arrive_sparse(kept, monkeypatch):
    monkeypatch.setattr("vennvi.data._manager.fits", lambda dataset, device: kept)
    model, layouts = build(vennvi.VennVI), set()
    original = model.module._get_inference_input

    def watched(tensors, **kwargs):
        layouts.add((tensors[data_key("atac")].device.type, tensors[data_key("atac")].layout))
        return original(tensors, **kwargs)

    monkeypatch.setattr(model.module, "_get_inference_input", watched)
    train(model)
    assert ("cuda", torch.sparse_csr) in layouts
    assert {layout for device, layout in layouts if device == "cuda"} == {torch.sparse_csr}


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision(cls, precision):
    model = train(build(cls), precision=precision)
    assert np.isfinite(model.history["train_loss"].to_numpy(float)).all()
    assert np.isfinite(model.module.decoder("atac").output.weight.detach().cpu().numpy()).all()


def test_some_features_a_step():
    fraction, fast = {"atac": 0.4, "protein": 0.5}, {"lr": 1e-2}
    model = train(build(vennvi.MMVAEPlusPlus), max_epochs=20, feature_fraction=fraction, plan_kwargs=fast)
    curve = model.history["reconstruction_loss_train"].to_numpy(float).ravel()
    assert np.isfinite(curve).all()
    assert curve[-5:].mean() < 0.9 * curve[0]


def test_everything_that_reads_a_trained_model():
    scvi.settings.seed = 0
    model = train(build(vennvi.VennVI), max_epochs=5, train_size=0.5)
    report = model.diagnose(labels=["label"])
    assert len(report.table)
    assert 0 < model.shared_signal_test(n_permutations=50).p_value <= 1
    assert model.variance_explained()["alone"].notna().any()
    assert len(model.shared_features("rna", source="atac", n_permutations=20))
    assert np.isfinite(model.feature_scores("shared", "atac")).all().all()
    assert np.isfinite(model.get_normalized_expression("rna", n_samples=2).dropna()).all().all()
    assert len(model.differential_expression("batch", "a", "b", modality="rna"))
    intervals = model.predict("protein", source="rna", return_intervals=[0.5], n_samples=20)
    lower, upper = (bound.dropna().to_numpy() for bound in (intervals.lower[0.5], intervals.upper[0.5]))
    assert len(lower)
    assert (lower < upper).all()
    labels, probabilities = model.predict_labels()
    assert len(labels) == len(probabilities) == N_OBS
