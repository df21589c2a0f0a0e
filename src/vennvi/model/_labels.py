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

from vennvi.data._dataset import cell_positions

if TYPE_CHECKING:
    from vennvi.module import SharedPrivateVAE


class LabelsMixin:
    """Prediction of labels by supervised models."""

    module: SharedPrivateVAE
    registry: dict

    @property
    def label_categories(self) -> tuple:
        """Labels that the model was set up with, the unlabelled category left out; empty if unsupervised."""
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
    ) -> tuple[pd.Series, pd.DataFrame]:
        r"""Predict the labels of cells from their shared latents, :math:`p(y \mid s) = \operatorname{softmax}(A s + b)`.

        Parameters
        ----------
        mdata, indices
            Cells to predict; by default all those that the model was set up with.
        modality
            Predict from what this modality alone infers; by default from the joint shared latents.
        batch_size
            Cells in a minibatch.

        Returns
        -------
        The most probable label of each cell, and the probability of every label, cells by labels. Cells that lack the
        modality have neither (NaN).

        Raises
        ------
        ValueError
            If the model was set up without ``labels_key``, or for an unknown modality.
        """
        if self.module.classifier is None:
            raise ValueError("This model has no labels: pass `labels_key` to `setup_mudata` to train a supervised one.")
        latents = self.get_latent_representation(mdata, indices, modality=modality, batch_size=batch_size)  # type: ignore[attr-defined]
        logits = self.module.classifier(torch.as_tensor(latents, device=self.device))  # type: ignore[attr-defined]
        probabilities = logits.softmax(-1).cpu().numpy()
        adata = self._validate_anndata(mdata)  # type: ignore[attr-defined]
        obs_names = adata.obs_names[cell_positions(adata.n_obs, indices)]
        categories = list(self.label_categories)
        known = ~np.isnan(probabilities).any(axis=1)
        codes = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), -1)
        labels = pd.Series(pd.Categorical.from_codes(codes, categories=categories), index=obs_names, name="label")
        return labels, pd.DataFrame(probabilities, index=obs_names, columns=pd.Index(categories))
