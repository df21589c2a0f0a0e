"""Training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scvi import settings
from scvi.model._utils import get_max_epochs_heuristic
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.train._config import KwargsLike
from scvi.utils._docstrings import devices_dsp

from vennvi._keys import data_key
from vennvi._runner import SharedPrivateTrainRunner, with_strategy
from vennvi._sparse import is_sparse
from vennvi.canonical import canonical_projections
from vennvi.data._data_module import AnnbatchMuDataModule
from vennvi.data._dataset import obs_rows
from vennvi.data._splitter import DataSplitter
from vennvi.model._gather import GatheredRows
from vennvi.model._gather_in_place import RowsInPlace, can_be_read_in_place
from vennvi.model._given import given_by
from vennvi.model._kl_schedule import first_checks_to_skip, with_kl_rise
from vennvi.model._same_setup import check_same_setup
from vennvi.model._validate import check_feature_fraction, check_precision
from vennvi.train import SharedPrivateTrainingPlan

#: Cells that the canonical variates are found on: more sharpen them no further.
_MAX_START_CELLS = 20_000
#: Cells that are read at a time for them: a minibatch is in memory several times over, dense or as indices of 64 bits.
_START_BATCH = 128


class TrainMixin(UnsupervisedTrainingMixin):
    """scvi-tools' ``train``, with the KL weight rising over all of it."""

    _data_splitter_cls = DataSplitter
    _training_plan_cls = SharedPrivateTrainingPlan
    _train_runner_cls = SharedPrivateTrainRunner

    @devices_dsp.dedent
    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        batch_size: int | None = 128,
        early_stopping: bool = False,
        feature_fraction: Mapping[str, float] | None = None,
        datasplitter_kwargs: dict | None = None,
        plan_kwargs: KwargsLike | None = None,
        datamodule: AnnbatchMuDataModule | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train the model.

        The weight of the KL terms rises linearly from 0 in the first epoch to 1 in the last, with ``early_stopping`` to 1
        after a quarter of ``max_epochs``, 100 at most; unless ``plan_kwargs`` says otherwise (``n_epochs_kl_warmup``,
        ``n_steps_kl_warmup``, ``min_kl_weight``, ``max_kl_weight``). The curves are in ``model.history`` afterwards: one
        for each reconstruction term and each KL, ``elbo_*``, ``train_loss``. On a CPU, the threads that
        :func:`torch.get_num_threads` counts share out what takes long; a callback finds its own operations on one, as a rule.

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
            Cells in a minibatch; ``None`` for that of :attr:`scvi.settings.batch_size`.
        early_stopping
            Whether to stop when ``elbo_validation`` no longer improves, or what ``early_stopping_monitor`` names, for
            example ``"foscttm_validation"``; see :class:`~scvi.train.Trainer` for options. It is watched from the epoch
            on in which the KL weight has risen, unless ``early_stopping_warmup_epochs`` says otherwise: what came before
            is the best of another loss. With ``n_steps_kl_warmup`` that is yours to say.
        feature_fraction
            By modality, the fraction of its features that a training step decodes, runs of neighbours at random: the
            log-probability is scaled to stand for all (its expectation is exact), and a wide modality costs little
            more than that fraction. For likelihoods that factorise over features: ``normal``, ``bernoulli``,
            ``poisson``. Validation decodes all.
        datasplitter_kwargs
            Passed to :class:`~scvi.dataloaders.DataSplitter`, for example ``external_indexing``.
        plan_kwargs
            Passed to :class:`~vennvi.train.SharedPrivateTrainingPlan`, for example ``{"lr": 1e-4}``, or
            ``{"compile": True}`` for :func:`torch.compile` of what is not fused already.
        datamodule
            Data on disk, :class:`~vennvi.data.AnnbatchMuDataModule`, for a model made with its registry. A ``batch_size``
            of 128 leaves the data module's.
        **trainer_kwargs
            Passed to :class:`~scvi.train.Trainer`, for example ``strategy`` and ``num_nodes``. With several devices or
            nodes the strategy is DDP; ``batch_size`` is then that of each process. ``precision`` may be ``"32-true"``
            (the default), ``"bf16-mixed"`` (dense products in bfloat16, that of the decoder's last layer among them:
            faster where the processor has it) or, on a GPU, ``"16-mixed"``. Also scvi-tools' configuration objects, as
            ``plan_config`` and ``trainer_config``: what in them differs from their own defaults (``max_epochs=400``, say) is
            taken, since theirs are not vennvi's.

        Raises
        ------
        TypeError
            If ``datamodule`` is another data module than vennvi's.
        ValueError
            If a ``datamodule`` is not of the data that the model was made for, or comes with ``datasplitter_kwargs``, or a
            model without a MuData gets none; for a ``precision`` in which parameters are not in single precision, and for
            ``early_stopping`` by validation cells where there are none.
        KeyError, ValueError
            If ``feature_fraction`` names a modality that the model has not, a fraction outside (0, 1], or a modality
            whose likelihood does not factorise.
        FloatingPointError
            If the loss is no longer finite; the message names the terms.
        """
        feature_fraction = check_feature_fraction(feature_fraction, self.module)
        self._check_datamodule(datamodule, datasplitter_kwargs)
        if datamodule is None:
            self._validate_anndata(None)  # another model may have set up the same MuData since, with other columns
        batch_size = settings.batch_size if batch_size is None else batch_size
        trainer_kwargs = given_by(trainer_kwargs.pop("trainer_config", None), "trainer_config") | trainer_kwargs
        configured = {
            name: trainer_kwargs.pop(name, None) for name in ("max_epochs", "accelerator", "devices", "early_stopping")
        }
        max_epochs = configured["max_epochs"] if max_epochs is None else max_epochs
        accelerator = (configured["accelerator"] or accelerator) if accelerator == "auto" else accelerator
        devices = (configured["devices"] or devices) if devices == "auto" else devices
        early_stopping = early_stopping or bool(configured["early_stopping"])
        check_precision(trainer_kwargs.get("precision"))
        if max_epochs is None:
            max_epochs = get_max_epochs_heuristic((self.adata if datamodule is None else datamodule).n_obs)
        max_epochs, batch_size = int(max_epochs), int(batch_size)  # numpy's, too
        plan_kwargs = given_by(trainer_kwargs.pop("plan_config", None), "plan_config") | given_by(
            plan_kwargs, "plan_kwargs"
        )
        plan_kwargs = with_kl_rise(plan_kwargs, max_epochs, early_stopping)
        if early_stopping and "early_stopping_warmup_epochs" not in trainer_kwargs:
            trainer_kwargs["early_stopping_warmup_epochs"] = first_checks_to_skip(
                plan_kwargs["n_epochs_kl_warmup"], trainer_kwargs.get("check_val_every_n_epoch")
            )
        if datamodule is not None:
            self._datamodule = datamodule  # what later reads the model's own cells
            datamodule.set_split(
                train_size, validation_size, shuffle_set_split, None if batch_size == 128 else batch_size
            )
            trainer_kwargs["datamodule"] = datamodule
        trainer_kwargs = with_strategy(devices, trainer_kwargs)
        # curves are logged by epoch; with scvi-tools' 10, Lightning warns of small data
        trainer_kwargs.setdefault("log_every_n_steps", 1)
        self.module.feature_fraction = feature_fraction
        try:
            super().train(
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
        finally:
            self.module.feature_fraction = {}
        self._name_split(self.adata if datamodule is None else datamodule)

    def _check_datamodule(self, datamodule: AnnbatchMuDataModule | None, datasplitter_kwargs: dict | None) -> None:
        if datamodule is None:
            if self.adata is None:
                raise ValueError(
                    "This model has no MuData: pass `datamodule`, the one whose registry it was made with."
                )
            return
        if self.adata is not None:
            raise ValueError(
                "`datamodule` is for a model made without a MuData: `Model(registry=datamodule.registry)`."
            )
        if datasplitter_kwargs:
            raise ValueError(
                f"`datasplitter_kwargs` ({', '.join(datasplitter_kwargs)}) are for data in memory: give `datamodule` what it has "
                "of them, such as `external_indexing`, when it is made."
            )
        if not isinstance(datamodule, AnnbatchMuDataModule):
            raise TypeError(
                f"`datamodule` is a {type(datamodule).__name__}: vennvi trains from a `vennvi.data.AnnbatchMuDataModule`, or from "
                "the MuData that the model was made with."
            )
        check_same_setup(self.registry, datamodule.registry, "datamodule")
        if not datamodule.has_training_cells:
            raise ValueError("`datamodule` has no cell to train on: its `external_indexing` begins with those.")

    @torch.inference_mode()
    def _start_canonical(self, train_indices: NDArray) -> None:
        """Set the projections of the shared encoders by the training cells (a random choice of many)."""
        cells = np.asarray(train_indices)
        if len(cells) > _MAX_START_CELLS:
            cells = np.random.default_rng(settings.seed).choice(cells, _MAX_START_CELLS, replace=False)
            if self.adata is None:  # on disk, neighbours are read at once
                cells.sort()
        gathered: dict[str, GatheredRows | RowsInPlace] = {}
        # made at once: what is kept of one minibatch after the other lies between what is not, and is in the way
        counted = {m: np.zeros(len(cells), dtype=bool) for m in self.modalities}
        nuisance = np.empty(0)
        seen = 0
        for tensors in self._batches(None, cells, _START_BATCH):
            tensors = {key: value.to(self.device) for key, value in tensors.items()}
            inputs = self.module._get_inference_input(tensors)
            here = slice(seen, seen + len(inputs["mask"][self.modalities[0]]))
            of_cells = []
            for m, x in inputs["x"].items():
                likelihood, mask = self.module.likelihood(m), inputs["mask"][m]
                size = likelihood.size(x, inputs["size_factor"][m])
                # a cell without any count has no depth that could be regressed out
                has_depth = (mask > 0) & ~likelihood.is_empty(size)
                of_cells.append(torch.where(has_depth, size.log(), 0.0))
                counted[m][here] = has_depth.squeeze(-1).cpu().numpy()
                read = likelihood.encoder_input(x, size)
                if m not in gathered:
                    gathered[m] = self._gathering(m, cells, is_sparse(read))
                gathered[m].add(read, np.flatnonzero(counted[m][here]))
            if inputs["covariates"] is not None:
                of_cells.append(inputs["covariates"])
            if not seen:
                nuisance = np.empty((len(cells), sum(v.shape[1] for v in of_cells)))
            nuisance[here] = torch.cat(of_cells, dim=-1).cpu().numpy()
            seen = here.stop
        projections = canonical_projections(
            {m: gathered.pop(m).matrix() for m in self.modalities},
            {m: np.flatnonzero(c) for m, c in counted.items()},
            len(cells),
            self.module.n_canonical,
            nuisance=nuisance[:, nuisance.std(axis=0) > 0],
        )
        for m, projection in projections.items():
            self.module.encoders[m].canonical.start(projection)

    def _gathering(self, modality: str, cells: NDArray, stays_sparse: bool) -> GatheredRows | RowsInPlace:
        """What gathers the cells' rows: in place if they are most of a CSR matrix in memory, since products cost what all cost."""
        if stays_sparse and self.adata is not None:
            held = self.adata_manager.get_from_registry(data_key(modality))
            rows = obs_rows(self.adata, modality)[cells]
            if can_be_read_in_place(held) and 2 * (rows >= 0).sum() >= held.shape[0]:
                return RowsInPlace(held, rows)
        return GatheredRows(len(cells))
