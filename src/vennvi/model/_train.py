"""Training."""

from __future__ import annotations

from scvi.model._utils import get_max_epochs_heuristic
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.utils._docstrings import devices_dsp

from vennvi.train import SharedPrivateTrainingPlan


class TrainMixin(UnsupervisedTrainingMixin):
    """scvi-tools' ``train``, with the KL weight rising over all of it."""

    _training_plan_cls = SharedPrivateTrainingPlan

    @devices_dsp.dedent
    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        batch_size: int = 128,
        early_stopping: bool = False,
        datasplitter_kwargs: dict | None = None,
        plan_kwargs: dict | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train the model.

        The weight of the KL terms rises linearly from 0 in the first epoch to 1 in the last, unless ``plan_kwargs``
        says otherwise (``n_epochs_kl_warmup``, ``n_steps_kl_warmup``, ``min_kl_weight``, ``max_kl_weight``). The curves
        are in ``model.history`` afterwards: one for each reconstruction term and each KL, ``elbo_*``, ``train_loss``.

        Parameters
        ----------
        max_epochs
            Number of passes over the training cells; by default scvi-tools' heuristic, 400 for up to 20,000 cells and
            fewer for more.
        %(param_accelerator)s
        %(param_devices)s
        train_size
            Fraction of the cells to train on, 0.9 by default.
        validation_size
            Fraction of the cells to validate on; by default all that are not trained on.
        shuffle_set_split
            Whether to shuffle the cells before splitting them.
        batch_size
            Cells in a minibatch.
        early_stopping
            Whether to stop when ``elbo_validation`` no longer improves; see :class:`~scvi.train.Trainer` for options.
        datasplitter_kwargs
            Passed to :class:`~scvi.dataloaders.DataSplitter`, for example ``external_indexing``.
        plan_kwargs
            Passed to :class:`~vennvi.train.SharedPrivateTrainingPlan`, for example ``{"lr": 1e-4}``.
        **trainer_kwargs
            Passed to :class:`~scvi.train.Trainer`.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite; the message names the terms.
        """
        if max_epochs is None and self.adata is not None:
            max_epochs = get_max_epochs_heuristic(self.adata.n_obs)
        plan_kwargs = dict(plan_kwargs or {})
        if max_epochs is not None and "n_steps_kl_warmup" not in plan_kwargs:
            plan_kwargs.setdefault("n_epochs_kl_warmup", max_epochs - 1)
        elif "n_steps_kl_warmup" in plan_kwargs:
            plan_kwargs.setdefault("n_epochs_kl_warmup", None)
        trainer_kwargs.setdefault(
            "log_every_n_steps", 1
        )  # curves are logged by epoch; 10 makes Lightning warn on small data
        return super().train(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            train_size=train_size,
            validation_size=validation_size,
            shuffle_set_split=shuffle_set_split,
            batch_size=batch_size,
            early_stopping=early_stopping,
            datasplitter_kwargs=datasplitter_kwargs,
            plan_kwargs=plan_kwargs,
            **trainer_kwargs,
        )
