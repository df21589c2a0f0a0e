"""Training: the KL schedule, the optimiser, floors, and what happens when it goes wrong."""

from __future__ import annotations

import tracemalloc
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, LambdaCallback
from lightning.pytorch.plugins import MixedPrecision
from mudata import MuData
from scipy import sparse
from scvi.train import SaveCheckpoint, TrainerConfig, TrainingPlan, TrainingPlanConfig
from toy import toy_mudata

import vennvi
from vennvi import _runner, optim
from vennvi.fused import LateGradient, Multiply, NumpyMultiply, _input_product, _threads
from vennvi.train import SharedPrivateTrainingPlan


def model_of(mdata, cls=vennvi.MMVAEPlusPlus, **kwargs):
    cls.setup_mudata(mdata)
    return cls(mdata, **{"n_shared": 2, "n_private": 2, "n_hidden": 16} | kwargs)


MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def test_kl_weight_rises_from_zero_to_one_over_the_training():
    model = model_of(toy_mudata(2))
    model.train(max_epochs=5, **QUIET)
    np.testing.assert_allclose(model.history["kl_weight"].to_numpy(float).ravel(), [0, 0.25, 0.5, 0.75, 1.0])
    model = model_of(toy_mudata(2))
    model.train(max_epochs=3, plan_kwargs={"n_epochs_kl_warmup": None, "max_kl_weight": 0.5}, **QUIET)
    np.testing.assert_allclose(model.history["kl_weight"].to_numpy(float).ravel(), 0.5)


@pytest.mark.parametrize("cls", [vennvi.MMVAEPlusPlus, vennvi.VennVI])
def test_training_stops_early_at_full_kl_weight_only(cls):
    """Before, a smaller ELBO of the validation cells says how far the weight has risen, not how good the model is."""
    model = model_of(toy_mudata(2), cls=cls)
    model.train(max_epochs=40, early_stopping=True, early_stopping_patience=2, plan_kwargs={"lr": 0.0}, **QUIET)
    weight = model.history["kl_weight"].to_numpy(float).ravel()
    np.testing.assert_allclose(weight[:11], np.arange(11) / 10)
    assert 12 <= len(weight) < 40, "two epochs at full weight that are no better than the first of them"


def test_own_arguments_of_warm_up_and_early_stopping_win():
    stop = {"early_stopping": True, "early_stopping_patience": 2}
    model = model_of(toy_mudata(2))
    model.train(max_epochs=40, plan_kwargs={"n_epochs_kl_warmup": 4, "lr": 0.0}, **stop, **QUIET)
    weight = model.history["kl_weight"].to_numpy(float).ravel()
    np.testing.assert_allclose(weight[:5], np.arange(5) / 4)
    assert 6 <= len(weight) < 40
    model = model_of(toy_mudata(2))
    model.train(max_epochs=40, early_stopping_warmup_epochs=30, plan_kwargs={"lr": 0.0}, **stop, **QUIET)
    assert len(model.history["kl_weight"]) > 30


@pytest.mark.parametrize("argument", ["plan_config", "plan_kwargs"])
def test_a_plans_configuration_changes_what_it_says(argument):
    """It has a value for everything, and scvi-tools' defaults are not vennvi's."""
    model = model_of(toy_mudata(2))
    model.train(max_epochs=5, **{argument: TrainingPlanConfig(lr=1e-4)}, **QUIET)
    np.testing.assert_allclose(model.history["kl_weight"].to_numpy(float).ravel(), [0, 0.25, 0.5, 0.75, 1.0])
    group = model.trainer.optimizers[0].param_groups[0]
    assert (group["lr"], group["eps"], group["weight_decay"]) == (1e-4, 1e-8, 0.0)
    model = model_of(toy_mudata(2))
    model.train(5, plan_config=TrainingPlanConfig(lr=1.0, max_kl_weight=0.5), plan_kwargs={"lr": 1e-3}, **QUIET)
    assert model.trainer.optimizers[0].param_groups[0]["lr"] == 1e-3
    assert model.history["kl_weight"].iloc[-1, 0] == 0.5


def test_a_trainers_configuration_changes_what_it_says():
    stop = TrainerConfig(max_epochs=40, accelerator="cpu", early_stopping=True, early_stopping_patience=2)
    model = model_of(toy_mudata(2))
    model.train(trainer_config=stop, plan_kwargs={"lr": 0.0}, enable_progress_bar=False)
    weight = model.history["kl_weight"].to_numpy(float).ravel()
    np.testing.assert_allclose(weight[:11], np.arange(11) / 10)
    assert 12 <= len(weight) < 40
    model = model_of(toy_mudata(2))
    model.train(max_epochs=3, trainer_config=stop, **QUIET)
    assert len(model.history["train_loss"]) == 3, "arguments win"


@pytest.mark.parametrize("name", ["reconstruction_rna_to_atac_train", "kl_local_train", "elbo_train"])
def test_every_training_curve_can_be_watched(name, tmp_path):
    model = model_of(toy_mudata(2))
    seen = []
    keep = SaveCheckpoint(monitor=name, dirpath=str(tmp_path))
    see = LambdaCallback(on_train_end=lambda trainer, _: seen.append(float(trainer.callback_metrics[name])))
    model.train(max_epochs=3, callbacks=[keep, see], enable_checkpointing=True, **QUIET)
    curve = model.history[name].to_numpy(float).ravel()
    assert seen == [pytest.approx(curve[-1])]
    assert float(keep.best_model_score) == pytest.approx(curve.min())
    model = model_of(toy_mudata(2))
    stop = {"early_stopping_monitor": name, "early_stopping_patience": 2, "early_stopping_warmup_epochs": 0}
    model.train(max_epochs=30, early_stopping=True, plan_kwargs={"lr": 1.0}, **stop, **QUIET)
    assert len(model.history[name]) < 30


def test_the_loss_of_every_step_is_a_curve_if_asked_for():
    model = model_of(toy_mudata(2))
    model.train(max_epochs=3, batch_size=16, train_size=0.8, plan_kwargs={"on_step": True}, **QUIET)
    assert len(model.history["train_loss_step"]) == 9
    assert np.isfinite(model.history["train_loss_step"].to_numpy(float)).all()


def test_an_optimiser_that_is_not_fused():
    if "fused_optimizer" not in signature(TrainingPlan).parameters:
        pytest.skip("scvi-tools 1.4.2 has no `fused_optimizer`")
    model = model_of(toy_mudata(2))
    model.train(max_epochs=1, plan_kwargs={"fused_optimizer": False}, **QUIET)
    assert not model.trainer.optimizers[0].defaults["fused"]


def test_other_data_modules_are_refused():
    mdata = toy_mudata(2)
    model = model_of(mdata)
    bare = vennvi.MMVAEPlusPlus(registry=model.registry, likelihoods={"rna": "nb", "atac": "bernoulli"})
    with pytest.raises(TypeError, match="is a LightningDataModule: vennvi trains from"):
        bare.train(max_epochs=1, datamodule=LightningDataModule(), **QUIET)


@pytest.mark.parametrize("split", [{"train_size": 1.0}, {"train_size": 0.8, "validation_size": 0.0}])
def test_early_stopping_needs_validation_cells(split):
    model = model_of(toy_mudata(2))
    with pytest.raises(ValueError, match=r"`early_stopping` watches 'elbo_validation'.* lower `train_size`"):
        model.train(max_epochs=2, early_stopping=True, **split, **QUIET)
    assert not model.is_trained
    model.train(max_epochs=2, early_stopping=True, early_stopping_monitor="train_loss", **split, **QUIET)


@pytest.mark.parametrize("precision", ["64-true", 64, "bf16-true", "16-true"])
def test_parameters_stay_in_single_precision(precision):
    model = model_of(toy_mudata(2))
    with pytest.raises(ValueError, match=r"`precision` is .*'bf16-mixed'.*'16-mixed'.*'32-true'"):
        model.train(max_epochs=1, precision=precision, **QUIET)
    assert not model.is_trained


@pytest.mark.parametrize("name", ["MMVAEPlusPlus", "VennVI"])
def test_half_precision_where_it_is_safe_changes_little(name):
    """The noise is drawn in half precision too, and is another."""
    curves = []
    for precision in ("32-true", "bf16-mixed"):
        scvi.settings.seed = 0
        model = model_of(toy_mudata(3), cls=getattr(vennvi, name))
        model.train(max_epochs=3, train_size=1.0, precision=precision, feature_fraction={"atac": 0.5}, **QUIET)
        curves.append(model.history["train_loss"].to_numpy(float).ravel())
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.1)


def test_optimiser_is_fused_adam():
    model = model_of(toy_mudata(2))
    optimiser = SharedPrivateTrainingPlan(model.module, lr=3e-4).configure_optimizers()["optimizer"]
    group = optimiser.param_groups[0]
    assert isinstance(optimiser, torch.optim.Adam)
    assert (group["fused"], group["lr"], group["eps"], group["weight_decay"]) == (True, 3e-4, 1e-8, 0.0)


def test_curves_are_means_over_cells():
    """One epoch with a learning rate of nothing: the curves are the loss of the untrained model."""
    mdata = toy_mudata(2)
    model = model_of(mdata)
    model.train(max_epochs=1, train_size=1.0, batch_size=25, plan_kwargs={"lr": 0.0}, **QUIET)
    history = {key: float(curve.iloc[0, 0]) for key, curve in model.history.items()}
    np.testing.assert_allclose(history["train_loss"], history["elbo_train"], rtol=1e-5)
    parts = [v for k, v in history.items() if k.startswith("reconstruction_") and "_to_" in k]
    np.testing.assert_allclose(sum(parts), history["reconstruction_loss_train"], rtol=1e-5)
    with torch.inference_mode():
        _, private, _, _ = next(model._posteriors(None, None, 60))
        q = private["rna"]
        kl = (0.5 * (q.loc**2 + q.scale**2 - 1) - q.scale.log()).sum(1).mean()
    np.testing.assert_allclose(history["kl_private_rna_train"], kl, rtol=1e-4)


def test_canonical_start_needs_little_more_memory_than_the_data_in_single_precision():
    """Sparse real values become dense for the encoder, and that is all."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(1500, 2))
    mods = {}
    for m, d in (("a", 2500), ("b", 30)):
        x = np.where(rng.random((1500, d)) < 0.1, factor @ rng.normal(size=(2, d)), 0.0).astype(np.float32)
        mods[m] = AnnData(sparse.csr_matrix(x), var=pd.DataFrame(index=[f"{m}{j}" for j in range(d)]))
    model = model_of(MuData(mods), cls=vennvi.VennVI, likelihoods={"a": "normal", "b": "normal"})
    tracemalloc.start()
    model._start_canonical(np.arange(1500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * 4 * 1500 * 2500


def wide_gaussian(n_obs=256, widths=(2000, 20000), seed=0):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n_obs, 3))
    mods = {}
    for m, d in zip(("a", "b"), widths, strict=True):
        x = factor @ rng.normal(size=(3, d)) + rng.normal(size=(n_obs, d))
        x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
        x[:, 5] = 1.0  # and one constant feature
        mods[m] = AnnData(x, var=pd.DataFrame(index=[f"{m}{j}" for j in range(d)]))
    return MuData(mods)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [vennvi.MVAE, vennvi.MMVAEPlusPlus])
def test_wide_standardised_features_train_without_nan(cls):
    mdata = wide_gaussian()
    cls.setup_mudata(mdata)
    model = cls(mdata)
    model.train(max_epochs=12, plan_kwargs={"lr": 1e-3}, **QUIET)
    loss = model.history["train_loss"].to_numpy(float).ravel()
    assert np.isfinite(loss).all()
    assert loss[-1] < loss[0]
    assert np.isfinite(model.get_latent_representation()).all()


def test_a_loss_that_is_not_finite_names_its_terms():
    model = model_of(toy_mudata(3))
    with torch.no_grad():
        model.module.decoders["protein"].output.bias[0] = torch.inf
    with pytest.raises(
        FloatingPointError, match=r"epoch 0 .*reconstruction_rna_to_protein.*Lower the learning rate"
    ) as error:
        model.train(max_epochs=3, **QUIET)
    assert "_to_atac" not in str(error.value)


def test_training_on_missing_batches_of_a_modality():
    """A minibatch in which nobody has a modality is a minibatch like any other."""
    mdata = toy_mudata(2, absent=True)
    model = model_of(mdata)
    model.train(max_epochs=2, batch_size=1, train_size=1.0, **QUIET)
    assert np.isfinite(model.history["train_loss"].to_numpy(float)).all()


@pytest.mark.parametrize("name", ["normal", "bernoulli", "poisson"])
def test_feature_fraction_is_unbiased(name, monkeypatch):
    """Over all choices of features, equally likely, loss and gradient are those of all features on average."""
    mdata = toy_mudata(2, absent=True)
    model = model_of(mdata, likelihoods={"atac": name})
    tensors = next(iter(model._make_data_loader(adata=mdata, batch_size=60)))
    module = model.module.train()
    noise = torch.random.get_rng_state()

    def loss_and_gradient():
        torch.random.set_rng_state(noise)
        inference = module.inference(**module._get_inference_input(tensors))
        generative = module.generative(**module._get_generative_input(tensors, inference))
        module.zero_grad()
        loss = module.loss(tensors, inference, generative).loss
        loss.backward()
        layer = module.decoders["atac"].output.weight.grad
        by_layer = layer.to_dense() if layer.is_sparse else layer
        return torch.cat([loss.detach().view(1), by_layer.ravel(), module.encoders["rna"].shared.weight.grad.ravel()])

    exact = loss_and_gradient()
    module.feature_fraction = {"atac": 0.4}
    choices = []
    for offset in range(mdata["atac"].n_vars):
        monkeypatch.setattr("vennvi._runs.torch.randint", lambda high, size, offset=offset: torch.tensor(offset))
        choices.append(loss_and_gradient())
    by_choice = torch.stack(choices)
    assert (by_choice.std(0) > 1e-3 * exact.abs()).all()
    torch.testing.assert_close(by_choice.mean(0), exact, rtol=1e-4, atol=1e-5)


def test_feature_fraction_is_for_the_time_of_the_training_only():
    model = model_of(toy_mudata(2))
    model.train(max_epochs=2, feature_fraction={"atac": 0.3}, check_val_every_n_epoch=1, **QUIET)
    assert model.module.feature_fraction == {}
    assert np.isfinite(model.history["elbo_validation"].to_numpy(float)).all()


@pytest.mark.parametrize(
    ("fraction", "error", "message"),
    [
        pytest.param({"protein": 0.5}, KeyError, r"'protein'.*rna, atac", id="unknown modality"),
        pytest.param({"atac": 0.0}, ValueError, r"\['atac'\]` is 0.0", id="nothing"),
        pytest.param({"atac": 1.5}, ValueError, r"\['atac'\]` is 1.5", id="more than all"),
        pytest.param({"rna": 0.5}, ValueError, r"'rna' only.*'poisson'", id="needs all features"),
    ],
)
def test_bad_feature_fractions_are_refused_before_training(fraction, error, message):
    model = model_of(toy_mudata(2))
    with pytest.raises(error, match=message):
        model.train(max_epochs=1, feature_fraction=fraction, **QUIET)
    assert not model.is_trained


class LargestGradient(Callback):
    """Norm of all gradients as the optimiser reads them, the largest of all steps."""

    norm = 0.0

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        gradients = [p.grad.to_dense().ravel() for p in pl_module.parameters() if p.grad is not None]
        self.norm = max(self.norm, float(torch.cat(gradients).norm()) if gradients else 0.0)


def half_precision():
    """What Lightning does for ``"16-mixed"`` on a GPU."""
    return [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]


@pytest.fixture(params=[2**16, 1], ids=["wide late", "all late"])
def late(request, monkeypatch):
    """Gradients of which first layers are late: those of wide ones, which there are none of here, or of all."""
    monkeypatch.setattr(_input_product, "_WIDE", request.param)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("plugins", [None, half_precision], ids=["single", "half"])
@pytest.mark.parametrize(
    ("arguments", "plan_kwargs", "largest"),
    [
        pytest.param({}, {}, np.inf, id="plain"),
        pytest.param({"gradient_clip_val": 0.5}, {}, 0.5, id="clipped"),
        pytest.param({"accumulate_grad_batches": 2}, {}, np.inf, id="accumulated"),
        pytest.param({}, {"optimizer": "AdamW"}, np.inf, id="AdamW"),
    ],
)
def test_feature_fraction_with_what_else_reads_gradients(arguments, plan_kwargs, largest, plugins):
    largest_gradient = LargestGradient()
    model = model_of(toy_mudata(3))
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    model.train(
        max_epochs=3, batch_size=10, feature_fraction={"atac": 0.5, "protein": 0.5}, plan_kwargs=plan_kwargs,
        callbacks=[largest_gradient], plugins=plugins and plugins(), **arguments, **QUIET,
    )  # fmt: skip
    assert 0 < largest_gradient.norm <= largest * 1.0001
    for name, p in model.module.named_parameters():
        assert torch.isfinite(p).all(), name
        assert not torch.equal(p, before[name]), name


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("arguments", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.5}], ids=str)
@pytest.mark.parametrize("fraction", [{}, {"atac": 0.5}], ids=["all", "some"])
def test_gradients_are_kept_for_who_reads_them_and_nothing_else_changes(arguments, fraction):
    """Without a reader they are let go before the next forward pass."""
    readers = [], [LargestGradient()], [LambdaCallback(on_before_zero_grad=LargestGradient().on_before_zero_grad)]
    curves = []
    for callbacks in readers:
        scvi.settings.seed = 0
        model = model_of(toy_mudata(3))
        model.train(
            max_epochs=3, batch_size=10, train_size=1.0, feature_fraction=fraction, callbacks=callbacks, **arguments, **QUIET
        )  # fmt: skip
        curves.append(model.history["train_loss"].to_numpy(float).ravel())
    assert readers[1][0].norm > 0
    assert readers[2][0].on_before_zero_grad.__self__.norm > 0
    np.testing.assert_allclose(curves[1:], [curves[0]] * 2, rtol=1e-6)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("absent", [False, True], ids=["complete", "cells lack modalities"])
@pytest.mark.parametrize("name", ["MMVAEPlusPlus", "VennVI"])
def test_compiled_training_is_the_same(name, absent):
    """``torch.compile`` breaks its graph at the fused steps and changes no number; its eager backend needs no compiler."""
    curves = []
    for plan_kwargs in ({}, {"compile": True, "compile_kwargs": {"backend": "aot_eager"}}):
        scvi.settings.seed = 0
        model = model_of(toy_mudata(3, absent=absent), cls=getattr(vennvi, name))
        model.train(max_epochs=2, train_size=1.0, batch_size=30, plan_kwargs=plan_kwargs, **QUIET)
        curves.append(model.history["train_loss"].to_numpy(float).ravel())
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads, and any work is worth sharing out."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(_threads, "_WORTH_A_THREAD", 1e-9)
    monkeypatch.setattr(optim, "_MANY", 1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("arguments", [{}, {"feature_fraction": {"atac": 0.5}}, {"gradient_clip_val": 0.1}])
@pytest.mark.parametrize("cls", [vennvi.MMVAEPlusPlus, vennvi.VennVI])
def test_training_on_several_threads_is_that_on_one(cls, arguments):
    curves = []
    for worth in (float("inf"), 1e-9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_threads, "_WORTH_A_THREAD", worth)
            scvi.settings.seed = 0
            model = model_of(toy_mudata(3, absent=True), cls)
            model.train(max_epochs=3, train_size=0.8, batch_size=20, **arguments, **QUIET)
        curves.append(model.history["train_loss"].to_numpy(float).ravel())
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"feature_fraction": {"atac": 0.5}}, {"gradient_clip_val": 0.1}])
@pytest.mark.parametrize("cls", MODELS)
def test_training_with_late_gradients_and_products_by_numpy_is_that_without(cls, arguments, monkeypatch):
    curves, products, updates = [], [], []
    by_numpy, of_late = NumpyMultiply._product, optim.RowAdam._of_late
    monkeypatch.setattr(NumpyMultiply, "_product", staticmethod(lambda *a: products.append(1) or by_numpy(*a)))
    monkeypatch.setattr(optim.RowAdam, "_of_late", lambda *a: updates.append(1) or of_late(*a))
    for multiply, wide in ((Multiply(), 10**9), (NumpyMultiply(), 1)):
        assert not products
        assert not updates
        monkeypatch.setattr(_runner, "fastest_multiply", lambda multiply=multiply: multiply)
        monkeypatch.setattr(_input_product, "_WIDE", wide)
        scvi.settings.seed = 0
        model = model_of(toy_mudata(3, absent=True), cls)
        model.train(max_epochs=3, train_size=0.8, batch_size=20, **arguments, **QUIET)
        curves.append(model.history["train_loss"].to_numpy(float).ravel())
    assert products
    assert bool(updates) == ("gradient_clip_val" not in arguments)
    assert not any(isinstance(p.grad, LateGradient) for p in model.module.parameters())
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)


def test_callbacks_and_accumulation_see_late_gradients_as_any_other(monkeypatch):
    def norms():
        seen = []

        class Read(Callback):
            def on_before_optimizer_step(self, trainer, pl_module, optimizer):
                seen.extend(float(np.abs(p.grad.detach().cpu().numpy()).sum()) for p in pl_module.module.parameters() if p.grad is not None)  # fmt: skip

        scvi.settings.seed = 0
        model = model_of(toy_mudata(2))
        model.train(max_epochs=2, batch_size=20, accumulate_grad_batches=2, callbacks=[Read()], **QUIET)
        return seen, model.history["train_loss"].to_numpy(float).ravel()

    monkeypatch.setattr(_input_product, "_WIDE", 10**9)
    wanted = norms()
    monkeypatch.setattr(_input_product, "_WIDE", 1)
    for found, reference in zip(norms(), wanted, strict=True):
        np.testing.assert_allclose(found, reference, rtol=1e-4)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("rna", "wide", "during"), [("nb", 7, 1), ("zinb", 7, 2), ("nb", 6, 2)])
def test_threads_are_left_as_they_were(rna, wide, during, monkeypatch):
    """While it trains, the main thread is on one, unless it has much to do by itself."""
    monkeypatch.setattr(_runner, "_WIDE", wide)  # of 12 sparse, 15 sparse and 7 dense features
    seen = []
    model = model_of(toy_mudata(3), likelihoods={"rna": rna, "atac": "bernoulli", "protein": "normal"})
    model.train(
        max_epochs=1,
        callbacks=[LambdaCallback(on_train_epoch_end=lambda *_: seen.append(torch.get_num_threads()))],
        **QUIET,
    )
    assert seen == [during]
    assert torch.get_num_threads() == 2

    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.train(max_epochs=1, callbacks=[LambdaCallback(on_train_epoch_start=fail)], **QUIET)
    assert torch.get_num_threads() == 2
