"""The memory of a step's gradients is that of the step before, unless somebody holds those; nothing else changes."""

from __future__ import annotations

import weakref
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
    """Keeps the gradients of the wide layers, beside copies."""

    def __init__(self):
        self.kept = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for decoder in pl_module.module.decoders.values():
            gradient = decoder.output.weight.grad
            gradient = gradient._values() if gradient.is_sparse else gradient
            self.kept.append((gradient, gradient.clone()))


@pytest.fixture
def given(monkeypatch):
    """Rooms that were given: which tensor's, and whether they were those of the step before."""
    seen, room = [], GradientRooms.room

    def spy(self, like, n_rows):
        before = self._rooms.get(like.data_ptr(), (None, None))[0]
        array = room(self, like, n_rows)
        seen.append((like.data_ptr(), before is not None and np.shares_memory(array, before)))
        return array

    monkeypatch.setattr(GradientRooms, "room", spy)
    return seen


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


ARGUMENTS = [{}, {"feature_fraction": {"atac": 0.5}}, {"accumulate_grad_batches": 2}]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("cls", MODELS)
def test_training_is_that_without(cls, arguments, given, monkeypatch):
    found = trained(cls, **arguments)
    parameters = {p.data_ptr() for p in found.module.parameters()}
    assert {place for place, _ in given} <= parameters
    steps = {}
    for place, again in given:
        steps.setdefault(place, []).append(again)
    # nothing was there at first, and gradients of three minibatches an epoch that are added up are held after its first
    held = 1 if "accumulate_grad_batches" in arguments else None
    assert all(again == [n > 0 and n % 3 != held for n in range(9)] for again in steps.values())
    given.clear()
    monkeypatch.setattr(GradientRooms, "in_use", lambda self: nullcontext())
    wanted = trained(cls, **arguments)
    assert not given
    for name, p in wanted.module.state_dict().items():
        torch.testing.assert_close(found.module.state_dict()[name], p, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("cls", [vennvi.MMVAEPlusPlus, vennvi.VennVI])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_gradients_that_somebody_holds_stay_as_they_are(cls, arguments):
    gradients = Gradients()
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
        first, second = empty_gradient(parameter, 8), empty_gradient(parameter, 8)
        assert first.data_ptr() == places[-1] != second.data_ptr()
    memory = weakref.ref(next(iter(rooms._rooms.values()))[0])
    rooms.clear()
    assert memory() is not None, "the gradient is still there"
    del first
    assert memory() is None


def test_only_parameters_have_rooms():
    """What is computed in each step anew is somewhere else in each."""
    rooms, raw = GradientRooms(), torch.zeros(8, requires_grad=True)
    with rooms.in_use():
        empty_gradient(raw.exp(), 8)
        assert not rooms._rooms
        empty_gradient(raw, 8)
    assert len(rooms._rooms) == 1
