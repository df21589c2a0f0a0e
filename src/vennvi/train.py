"""The training plan: fused Adam, a KL weight that rises over the whole training, and curves at the price of one sum."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from lightning.pytorch import Callback
from scvi.module.base import LossOutput
from scvi.train import TrainingPlan
from torch import Tensor

from vennvi._keys import CELLS_BEHIND, FOSCTTM
from vennvi._minibatch_alignment import foscttm_of_minibatch
from vennvi.fused import GradientRooms, LateGradient, late_gradients
from vennvi.optim import RowAdam


class SharedPrivateTrainingPlan(TrainingPlan):
    """scvi-tools' plan with the paper's optimiser (Adam, ``eps=1e-8``, no weight decay), fused where the device can.

    Each minibatch adds its curves, weighted by the cells behind them, to one tensor on the device; they are logged once an
    epoch (``on_step=True`` adds ``train_loss_step``), NaN where there was no cell. ``foscttm_validation`` says how well the
    modalities of validation cells find each other. A loss that is not finite ends the training with an error that names
    the terms. With ``feature_fraction``, clipped gradients and optimisers other than Adam move all features in every step:
    those not decoded have a gradient of zero.
    """

    def __init__(self, module, *, eps: float = 1e-8, weight_decay: float = 0.0, **kwargs):
        super().__init__(module, eps=eps, weight_decay=weight_decay, **kwargs)
        self._sums: dict[str, Tensor | None] = {"train": None, "validation": None}
        self._names: dict[str, tuple[str, ...]] = {}
        self._rooms = GradientRooms()
        self._gradients_are_read = False  # by a callback that wants those of the step before

    def _optimizer_creator_fn(self, optimizer_cls):
        optimizer_cls = RowAdam if optimizer_cls is torch.optim.Adam else optimizer_cls

        def create(params):
            params = list(params)
            fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in params)
            fused = fused and not self._clips_scaled_gradients and getattr(self, "fused_optimizer", True)
            return optimizer_cls(params, lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, fused=fused)

        return create

    @property
    def _clips_scaled_gradients(self) -> bool:
        """Whether gradients are clipped that a fused optimiser would have to unscale first."""
        trainer = self._trainer
        if trainer is None or not trainer.gradient_clip_val:
            return False
        return getattr(trainer.precision_plugin, "scaler", None) is not None

    def on_after_backward(self) -> None:
        """Make the gradients of ``feature_fraction`` dense for what does not read sparse ones: clipping, other optimisers."""
        if self._updates_rows:
            return
        for parameter in self.module.parameters():
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.to_dense()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a training minibatch."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0 and not self._gradients_are_read:
            self.optimizers().zero_grad()  # before the fused scores make new gradients: Lightning does it afterwards
        with self._rooms.in_use(), late_gradients() if self._updates_rows else nullcontext():
            loss = self._step(batch, "train").loss
        if self.on_step:
            for logger in self.trainer.loggers:
                logger.log_metrics({"train_loss_step": loss.item()}, self.global_step)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Curves of a validation minibatch, and how well its cells' modalities find each other."""
        self._step(batch, "validation")

    def on_fit_start(self) -> None:
        """Let processes that train together draw different noise, also where they started from the same seed."""
        self._gradients_are_read = any(
            getattr(callback.on_before_zero_grad, "__func__", None) is not Callback.on_before_zero_grad
            for callback in self.trainer.callbacks
        )
        if self._across_ranks and self.global_rank:
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    @property
    def _updates_rows(self) -> bool:
        """Whether the optimiser is one that updates rows, and nothing else is done with the gradients."""
        return not self.trainer.gradient_clip_val and isinstance(self.trainer.optimizers[0], RowAdam)

    @property
    def _across_ranks(self) -> bool:
        return self.use_sync_dist and self.trainer.world_size > 1

    def _step(self, batch: dict[str, Tensor], mode: str) -> LossOutput:
        self.loss_kwargs |= {"kl_weight": self.kl_weight, "across_ranks": self._across_ranks}
        inference, _, output = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._check_finite(output)
        if mode == "validation" and len(inference["q_unimodal"]) > 1:
            q, mask = inference["q_unimodal"], inference["mask"]
            foscttm, cells = foscttm_of_minibatch({m: self.module.fuse(q, mask, [m]) for m in q}, mask)
            output.extra_metrics |= {FOSCTTM: foscttm, CELLS_BEHIND + FOSCTTM: cells}
        self._accumulate(output, mode)
        return output

    def _check_finite(self, output: LossOutput) -> None:
        if torch.isfinite(output.loss):
            return
        terms: Mapping[str, Tensor] = {**output.extra_metrics, **output.reconstruction_loss, **output.kl_local}
        bad = sorted({name for name, value in terms.items() if not torch.isfinite(value).all()})
        raise FloatingPointError(
            f"The loss is not finite in epoch {self.current_epoch} (step {self.global_step}); terms that are not: "
            f"{', '.join(bad) or 'none: the weighted sum overflows'}. Lower the learning rate (plan_kwargs={{'lr': ...}}), "
            "and check these modalities for extreme values."
        )

    @torch.no_grad()
    def _accumulate(self, output: LossOutput, mode: str) -> None:
        n = output.n_obs_minibatch
        reconstruction, kl = output.reconstruction_loss_sum, output.kl_local_sum
        curves = output.extra_metrics
        names = [name for name in curves if not name.startswith(CELLS_BEHIND)]
        self._names[mode] = ("loss", "reconstruction_loss", "kl_local", *names)
        all_cells = output.loss.new_tensor(float(n))
        cells = torch.stack([all_cells] * 3 + [curves.get(CELLS_BEHIND + name, all_cells) for name in names])
        values = torch.stack([output.loss * n, reconstruction, kl, *(curves[name] for name in names)])
        values[3:] *= cells[3:]
        row = torch.stack([values, cells])
        before = self._sums[mode]
        self._sums[mode] = row if before is None else before + row

    def on_train_end(self) -> None:
        """Let the last minibatch go, which late gradients would be made of, and what other gradients were made in."""
        self._rooms.clear()
        for parameter in self.module.parameters():
            if isinstance(parameter.grad, LateGradient):
                parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Log the epoch's curves, averaged over cells."""
        self._log("train")
        self.log("kl_weight", float(self.kl_weight), sync_dist=self.use_sync_dist)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's curves of the validation cells."""
        self._log("validation")

    def _log(self, mode: str) -> None:
        sums, self._sums[mode] = self._sums[mode], None
        if sums is None:
            return
        if self.use_sync_dist:
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        means = dict(zip(self._names[mode], (sums[0] / sums[1]).float(), strict=True))
        self.log(
            "train_loss" if mode == "train" else "validation_loss",
            means.pop("loss"),
            prog_bar=True,
            sync_dist=self.use_sync_dist,
        )
        self.log(f"elbo_{mode}", means["reconstruction_loss"] + means["kl_local"], sync_dist=self.use_sync_dist)
        curves = {f"{name}_{mode}": value for name, value in means.items()}
        if mode == "validation":
            self.log_dict(curves, sync_dist=self.use_sync_dist)
            return
        # past `log_dict`: Lightning takes as long over a number as over a minibatch of a small model
        self.trainer.callback_metrics.update(curves)  # what stops early, or keeps the best checkpoint, may watch them
        for logger in self.trainer.loggers:
            logger.log_metrics(curves | {"epoch": self.current_epoch}, self.global_step)
