"""The memory of a step's gradients is that of the step before, unless somebody holds those; nothing else changes."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from toy import toy_mudata

import vennvi
from vennvi.fused import GradientRooms
from vennvi.fused._gradients import empty_gradient

MODELS = [vennvi.MVAE, vennvi.MoPoEVAE, vennvi.MMVAE, vennvi.MMVAEPlusPlus, vennvi.VennVI]


class Gradients(Callback):
    """Where the gradients of the wide layers are, step by step; kept, if asked for, beside copies."""

    def __init__(self, keep=False):
        self.places, self.kept, self.keep = [], [], keep

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradients = {m: decoder.output.weight.grad for m, decoder in pl_module.module.decoders.items()}
        gradients = {m: g._values() if g.is_sparse else g for m, g in gradients.items()}
        self.places.append({m: g.data_ptr() for m, g in gradients.items()})
        if self.keep:
            self.kept += [(g, g.clone()) for g in gradients.values()]


def trained(cls, callbacks=(), **arguments):
    scvi.settings.seed = 0
    mdata = toy_mudata(3, absent=True)
    cls.setup_mudata(mdata)
    model = cls(mdata, n_shared=2, n_private=2, n_hidden=16)
    model.train(
        max_epochs=3, train_size=0.8, batch_size=20, accelerator="cpu", enable_progress_bar=False,
        callbacks=list(callbacks), **arguments,
    )  # fmt: skip
    return model


@pytest.mark.parametrize(
    "arguments", [{}, {"feature_fraction": {"atac": 0.5}}, {"accumulate_grad_batches": 2}], ids=str
)
@pytest.mark.parametrize("cls", MODELS)
def test_training_is_that_without(cls, arguments, monkeypatch):
    gradients = Gradients()
    found = trained(cls, [gradients], **arguments)
    monkeypatch.setattr(GradientRooms, "in_use", lambda self: nullcontext())
    wanted = trained(cls, **arguments)
    for name, p in wanted.module.state_dict().items():
        torch.testing.assert_close(found.module.state_dict()[name], p, rtol=0, atol=0, msg=name)
    if "accumulate_grad_batches" not in arguments:
        assert all(len({step[m] for step in gradients.places}) == 1 for m in ("rna", "atac"))


@pytest.mark.parametrize("cls", [vennvi.MMVAEPlusPlus, vennvi.VennVI])
@pytest.mark.parametrize(
    "arguments", [{}, {"feature_fraction": {"atac": 0.5}}, {"accumulate_grad_batches": 2}], ids=str
)
def test_gradients_that_somebody_holds_stay_as_they_are(cls, arguments):
    gradients = Gradients(keep=True)
    trained(cls, [gradients], **arguments)
    assert len(gradients.kept) > 10
    for held, copied in gradients.kept:
        torch.testing.assert_close(held, copied, rtol=0, atol=0)


def test_rooms_grow_and_are_let_go():
    rooms, parameter = GradientRooms(), torch.zeros(8, 3)
    with rooms.in_use():
        places = []
        for n_rows in (4, 8, 5, 8):
            gradient = empty_gradient(parameter, n_rows)
            assert gradient.shape == (n_rows, 3)
            places.append(gradient.data_ptr())
            del gradient
        assert len(set(places[1:])) == 1
        first = empty_gradient(parameter, 8)
        with rooms.in_use():
            second = empty_gradient(parameter, 8)
        assert first.data_ptr() == places[-1] != second.data_ptr()
    rooms.clear()
    first.fill_(1.0)
    assert first.numpy().sum() == 24
    np.testing.assert_equal(empty_gradient(parameter, 8).data_ptr() == first.data_ptr(), False)
