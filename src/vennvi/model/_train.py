"""Training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scvi import settings
from scvi.model._utils import get_max_epochs_heuristic
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.utils._docstrings import devices_dsp

from vennvi._sparse import is_sparse
from vennvi.canonical import canonical_projections
from vennvi.train import SharedPrivateTrainingPlan

#: Cells that the canonical variates are found on: more sharpen them no further.
_MAX_START_CELLS = 20_000


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
        if self.module.n_canonical and not self.is_trained:
            splitter = self._data_splitter_cls(
                self.adata_manager,
                train_size=train_size,
                validation_size=validation_size,
                batch_size=batch_size,
                shuffle_set_split=shuffle_set_split,
                **(datasplitter_kwargs or {}),
            )
            splitter.setup()
            self._start_canonical(splitter.train_idx)
        # curves are logged by epoch; with scvi-tools' 10, Lightning warns of small data
        trainer_kwargs.setdefault("log_every_n_steps", 1)
        self.module.train()  # reading latents in between left it in evaluation mode, and Lightning leaves modes alone
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
        self.module.information.fill_(torch.nan)  # of the decoders as they were
        if self._default_joint == "information":
            self._read_information()

    @torch.inference_mode()
    def _start_canonical(self, train_indices: NDArray) -> None:
        """Set the projections of the shared encoders by the training cells (a random choice of many)."""
        cells = np.asarray(train_indices)
        if len(cells) > _MAX_START_CELLS:
            cells = np.random.default_rng(settings.seed).choice(cells, _MAX_START_CELLS, replace=False)
        parts: dict[str, list] = {m: [] for m in self.modalities}
        rows: dict[str, list] = {m: [] for m in self.modalities}
        nuisances: list[NDArray] = []
        seen = 0
        for tensors in self._make_data_loader(adata=self.adata, indices=cells, batch_size=1024):
            tensors = {key: value.to(self.device) for key, value in tensors.items()}
            inputs = self.module._get_inference_input(tensors)
            depths = []
            for m, x in inputs["x"].items():
                likelihood, mask = self.module.likelihood(m), inputs["mask"][m]
                size = likelihood.size(x, inputs["size_factor"][m])
                depths.append(torch.where(mask > 0, size.log(), 0.0))
                encoded = likelihood.encoder_input(x, size).cpu()
                present = torch.nonzero(mask.squeeze(-1) > 0).squeeze(-1).cpu().numpy()
                parts[m].append(_as_scipy(encoded)[present])
                rows[m].append(seen + present)
            covariates = [] if inputs["covariates"] is None else [inputs["covariates"]]
            nuisances.append(torch.cat([*depths, *covariates], dim=-1).cpu().numpy())
            seen += len(inputs["mask"][self.modalities[0]])
        matrices = {m: (sparse.vstack(p) if sparse.issparse(p[0]) else np.concatenate(p)) for m, p in parts.items()}
        nuisance = np.concatenate(nuisances).astype(np.float64)
        projections = canonical_projections(
            matrices,
            {m: np.concatenate(r) for m, r in rows.items()},
            seen,
            self.module.n_canonical,
            nuisance=nuisance[:, nuisance.std(axis=0) > 0],
        )
        for m, projection in projections.items():
            self.module.encoders[m].canonical.start(projection)


def _as_scipy(x: torch.Tensor):
    """Float64 array, or CSR matrix of a CSR tensor."""
    if not is_sparse(x):
        return x.numpy().astype(np.float64)
    parts = (x.values().numpy().astype(np.float64), x.col_indices().numpy(), x.crow_indices().numpy())
    return sparse.csr_array(parts, shape=tuple(x.shape))
