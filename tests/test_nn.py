"""The canonical head and what it spares the private encoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from mudata import MuData
from scipy import sparse

import vennvi
from vennvi.canonical import Projection, canonical_projections
from vennvi.data._dataset import csr_tensor
from vennvi.nn import CanonicalHead, Encoder, affine


def started_encoder(x, other, residual_private=True, n_canonical=4):
    rows = {"a": np.arange(len(x)), "b": np.arange(len(x))}
    projection = canonical_projections({"a": x, "b": other}, rows, len(x), n_canonical)["a"]
    encoder = Encoder(x.shape[1], 2, 2, 16, 1, n_canonical=n_canonical, residual_private=residual_private)
    encoder.canonical.start(projection)
    return encoder, projection


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(300, 2))
    return tuple(
        np.hstack([s @ rng.normal(size=(2, 6)), rng.normal(size=(300, 4))]) + 0.1 * rng.normal(size=(300, 10))
        for _ in "ab"
    )


def shrinkage(projection):
    """As the head documents it: by the agreement; not at all there if it is excluded; by the margin if it is in doubt."""
    margin = 2 * projection.error
    return np.array([r if r > margin else margin if r + margin >= 0.2 else 0.0 for r in projection.agreement])


def test_variates_are_shrunk_by_their_agreement(data):
    encoder, projection = started_encoder(*data)
    found = encoder.canonical.projection(torch.as_tensor(data[0], dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found.std(0), shrinkage(projection), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.mean(0), 0.0, atol=1e-4)
    assert found.std(0)[0] > 0.9


def test_variates_that_do_not_agree_are_dropped():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(2000, 1))
    a, b = (np.hstack([s + 0.2 * rng.normal(size=(2000, 2)), rng.normal(size=(2000, 8))]) for _ in "ab")
    encoder, _ = started_encoder(a, b)
    found = encoder.canonical.projection(torch.as_tensor(a, dtype=torch.float32)).detach().numpy()
    assert found.std(0)[0] > 0.9
    assert not found.std(0)[1:].any()
    few, _ = started_encoder(a[:60], b[:60])
    found = few.canonical.projection(torch.as_tensor(a[:60], dtype=torch.float32)).detach().numpy()
    assert found.std(0).min() > 0.2  # sixty samples cannot exclude it


def test_private_encoder_reads_the_residual(data):
    """As an encoder without the option does on data from which the agreeing variates were regressed out."""
    encoder, projection = started_encoder(*data)
    x = torch.as_tensor(data[0], dtype=torch.float32)
    fraction = np.clip((projection.agreement + 2 * projection.error) / 0.3, 0, 1) * (shrinkage(projection) > 0)
    variates = (data[0] - projection.mean) @ projection.weight
    residual = data[0] - (variates * fraction) @ projection.loadings
    _, private = encoder(x)
    encoder.residual_private = False
    _, expected = encoder(torch.as_tensor(residual, dtype=torch.float32))
    torch.testing.assert_close(private.loc, expected.loc, rtol=1e-3, atol=1e-4)
    agreeing = variates[:, projection.agreement > 0.3]
    assert agreeing.shape[1] == 2

    def agreement(x):
        return np.abs(np.corrcoef(np.hstack([agreeing, x]).T)[:2, 2:]).max()

    assert agreement(data[0]) > 0.9
    assert agreement(residual) < 0.1


def test_sparse_is_dense(data):
    counts = np.random.default_rng(0).poisson(np.exp(data[0] / 2)).astype(float)
    encoder, _ = started_encoder(counts, data[1])
    dense = torch.as_tensor(counts, dtype=torch.float32)
    stored = sparse.csr_array(dense.numpy())
    a, b = encoder(dense), encoder(csr_tensor(stored.indptr, stored.indices, stored.data, stored.shape[1]))
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.loc, y.loc, rtol=1e-4, atol=1e-4)


def test_sparse_fit_is_dense_fit():
    rng = np.random.default_rng(0)
    x = {m: rng.poisson(0.5, size=(80, 30)).astype(float) for m in "ab"}
    rows = dict.fromkeys("ab", np.arange(80))
    dense = canonical_projections(x, rows, 80, 3)
    thin = canonical_projections({m: sparse.csr_array(v) for m, v in x.items()}, rows, 80, 3)
    for m in "ab":
        np.testing.assert_allclose(np.abs(dense[m].weight), np.abs(thin[m].weight), atol=1e-6)
        np.testing.assert_allclose(np.abs(dense[m].loadings), np.abs(thin[m].loadings), atol=1e-6)


def test_projection_takes_no_gradient(data):
    encoder, _ = started_encoder(*data)
    shared, private = encoder(torch.as_tensor(data[0], dtype=torch.float32))
    (shared.loc.sum() + private.loc.sum()).backward()
    assert encoder.canonical.projection.weight.grad is None
    assert encoder.input.weight.grad.abs().sum() > 0


def test_the_variates_that_agree_are_explained_wherever_they_come():
    agreement = np.zeros(30)
    agreement[[2, 27]] = 0.9, 0.6
    rng = np.random.default_rng(0)
    projection = Projection(rng.normal(size=(6, 30)), np.zeros(6), agreement, 0.01, rng.normal(size=(30, 6)))
    head = CanonicalHead(6, 30, 2, 8)
    head.start(projection)
    x = torch.randn(5, 6)
    coefficients, loadings = head.explained(head.projection(x))
    variates = x.numpy() @ projection.weight[:, [2, 27]]
    np.testing.assert_allclose(coefficients @ loadings, variates @ projection.loadings[[2, 27]], rtol=1e-4, atol=1e-5)


def three_in_a_chain(n=300):
    """Each modality shares one factor with the next: the variates that a modality agrees by are not the first ones."""
    rng = np.random.default_rng(0)
    names = pd.Index([f"c{i}" for i in range(n)])
    factors = rng.normal(size=(n, 4))
    mods = {}
    for i, m in enumerate("abc"):
        x = factors[:, i : i + 2] @ rng.normal(size=(2, 30)) + 0.5 * rng.normal(size=(n, 30))
        mods[m] = AnnData(x.astype(np.float32), obs=pd.DataFrame(index=names))
        mods[m].var_names = [f"{m}{j}" for j in range(30)]
    return MuData(mods)


def test_a_loaded_model_that_was_read_first_trains_further(tmp_path):
    """What is looked up of the projections in inference mode is needed in training."""
    mdata, quiet = three_in_a_chain(), {"accelerator": "cpu", "enable_progress_bar": False}
    vennvi.VennVI.setup_mudata(mdata)
    model = vennvi.VennVI(mdata, n_shared=3, n_private=2, n_hidden=16)
    model.train(1, **quiet)
    model.save(tmp_path / "model")
    loaded = vennvi.VennVI.load(tmp_path / "model", adata=mdata, accelerator="cpu")
    loadings = loaded.module.encoders["c"].canonical.explained_loadings
    assert not loadings.any(1).all()
    loaded.get_latent_representation()
    loaded.train(1, **quiet)
    assert np.isfinite(loaded.history["train_loss"].to_numpy(float)).all()


def test_variates_are_in_single_precision_whatever_their_product_is_in(monkeypatch):
    """Autocast's products are not; a GPU copies within a type only, as a CPU does outside of autocast."""
    head, x = CanonicalHead(6, 30, 2, 8), torch.randn(5, 6)
    with torch.no_grad():
        head.projection.weight[:, 3:] = 0
    expected = head.variates(x)
    monkeypatch.setattr("vennvi.nn.affine", lambda *given: affine(*given).bfloat16())
    found = head.variates(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def as_csr(x):
    matrix = sparse.csr_matrix(x.numpy())
    return csr_tensor(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1])


@pytest.mark.parametrize("in_use", [[], [1], [0, 3], [0, 1, 2, 3]])
def test_variates_of_zeros_are_left_out_and_change_nothing(data, in_use):
    """Also when they change later, as those of a saved model do."""
    encoder, _ = started_encoder(*data)
    head, x = encoder.canonical, torch.as_tensor(data[0], dtype=torch.float32)
    encoder(x)  # looks up which are in use
    kept = torch.zeros(4)
    kept[in_use] = 1
    weight, loadings = torch.randn(10, 4) * kept, torch.randn(4, 10) * kept.unsqueeze(-1)
    changed = {"projection.weight": weight, "projection.bias": torch.zeros(4), "explained_loadings": loadings}
    head.load_state_dict(head.state_dict() | changed)
    for given in (x, as_csr(x)):
        torch.testing.assert_close(head.variates(given), x @ weight)
    found = head.explained(x @ weight)
    assert [part.shape for part in found] == ([(300, len(in_use)), (len(in_use), 10)] if in_use else [])
    explained = (x @ weight)[:, head.explained_variates] @ loadings
    expected = encoder.private(encoder.hidden(encoder.input(x - explained)))
    torch.testing.assert_close(encoder(x)[1].loc, expected.chunk(2, dim=-1)[0], rtol=1e-4, atol=1e-5)


def test_a_new_start_is_seen(data):
    """The head may have been read before it is set, under inference mode."""
    encoder, projection = started_encoder(*data)
    head, x = encoder.canonical, torch.as_tensor(data[0], dtype=torch.float32)
    with torch.inference_mode():
        before = head.variates(x)
        head.start(dataclasses.replace(projection, agreement=projection.agreement * [1, 0, 1, 0]))
        found = head.variates(x)
    torch.testing.assert_close(found[:, [0, 2]], before[:, [0, 2]])
    assert not found[:, [1, 3]].any()
    torch.testing.assert_close(head.projection(x), found)
