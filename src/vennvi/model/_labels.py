"""Labels: predicting them from the shared latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from mudata import MuData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from vennvi.data._dataset import cell_positions, obs_rows
from vennvi.metrics import temperature
from vennvi.model._calibration import kept_with, warn_without_data
from vennvi.model._held_out import held_out_split

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE

#: Labelled held-out cells below which probabilities are left as they are.
MIN_CELLS = 20


class LabelsMixin:
    """Prediction of labels by supervised models."""

    module: SharedPrivateVAE
    registry: dict

    @property
    def label_categories(self) -> tuple:
        """Labels that the model was set up with in the order of their column, without the unlabelled; empty if unsupervised."""
        state = self.registry["field_registries"].get(REGISTRY_KEYS.LABELS_KEY, {}).get("state_registry", {})
        unlabelled = state.get("unlabeled_category")
        return tuple(c for c in state.get("categorical_mapping", ()) if unlabelled is None or c != unlabelled)

    @torch.inference_mode()
    def predict_labels(
        self,
        mdata: MuData | None = None,
        indices: Sequence[int] | NDArray | None = None,
        modality: str | None = None,
        batch_size: int | None = None,
        calibrated: bool = True,
    ) -> tuple[pd.Series, pd.DataFrame]:
        r"""Predict the labels of cells from their shared latents.

        .. math:: p(y \mid s) = \operatorname{softmax}\left((A s + b) / T\right)

        A classifier is surer of itself on cells it was not trained on than it should be. The temperature :math:`T` sets
        that right: it is fitted to the labelled held-out cells (validation and test split), once for the joint latents
        and once for each modality's own, when they are first asked for. It changes no predicted label.

        Parameters
        ----------
        mdata, indices
            Cells to predict; by default all those that the model was set up with.
        modality
            Predict from what this modality alone infers; by default from the joint shared latents.
        batch_size
            Cells in a minibatch.
        calibrated
            Whether to divide by the temperature, 1 if fewer than twenty labelled cells were held out.

        Returns
        -------
        The most probable label of each cell, and the probability of every label, cells by labels in the order of
        ``label_categories``. Cells that lack the modality have neither (NaN).

        Raises
        ------
        ValueError
            If the model was set up without ``labels_key``, or for an unknown modality.
        """
        if self.module.classifier is None:
            given = self.registry["setup_args"].get("labels_key")
            why = "pass `labels_key` to `setup_mudata` to train a supervised one"
            if given is not None:
                why = f"every value of {given!r} that it was set up with is the unlabelled category"
            raise ValueError(f"This model has no labels: {why}.")
        latents = self.get_latent_representation(mdata, indices, modality=modality, batch_size=batch_size)  # type: ignore[attr-defined]
        logits = self.module.classifier(torch.as_tensor(latents, device=self.device))  # type: ignore[attr-defined]
        scale = self._label_temperature(modality, batch_size) if calibrated else 1.0
        probabilities = (logits / scale).softmax(-1).cpu().numpy()
        adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        obs_names = adata.obs_names[cell_positions(adata.n_obs, indices)]
        categories = list(self.label_categories)
        known = ~np.isnan(probabilities).any(axis=1)
        codes = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), -1)
        labels = pd.Series(pd.Categorical.from_codes(codes, categories=categories), index=obs_names, name="label")
        return labels, pd.DataFrame(probabilities, index=obs_names, columns=pd.Index(categories))

    def _label_temperature(self, modality: str | None, batch_size: int | None) -> float:
        """Temperature for what a modality alone infers (``None``: for the joint latents), kept until trained further."""
        classifier: torch.nn.Linear = self.module.classifier  # type: ignore[assignment]
        temperatures = kept_with(self, "label_temperatures_", "temperatures", classifier.parameters())
        name = modality or ""
        if name not in temperatures:
            cells, codes = self._held_out_labels(modality)
            if len(cells) < MIN_CELLS:
                warn_without_data(self, "The probabilities of labels")
                return 1.0
            latents = self.get_latent_representation(indices=cells, modality=modality, batch_size=batch_size)  # type: ignore[attr-defined]
            logits = classifier(torch.as_tensor(latents, device=self.device)).cpu().numpy()  # type: ignore[attr-defined]
            temperatures[name] = temperature(logits, codes)
        return temperatures[name]

    def _held_out_labels(self, modality: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labelled held-out cells that have the modality, and the codes of their labels; none without data at hand."""
        cells = held_out_split(self)
        if not len(cells):
            return cells, cells
        if modality is not None:
            cells = cells[self._presence(self.adata, modality)[cells]]  # type: ignore[attr-defined]
        codes = np.asarray(self.adata_manager.get_from_registry(REGISTRY_KEYS.LABELS_KEY)).ravel().astype(np.int64)  # type: ignore[attr-defined]
        home = (self.registry["setup_args"].get("modalities") or {}).get("labels_key")
        rows = cells if home is None else obs_rows(self.adata, home)[cells]  # type: ignore[attr-defined]
        labelled = (rows >= 0) & (codes[rows] < len(self.label_categories))
        return cells[labelled], codes[rows[labelled]]
