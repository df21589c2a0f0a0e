"""Labels as a field: needed to train a supervised model, not to apply it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.data.fields import CategoricalObsField, LabelsWithUnlabeledObsField, MuDataWrapper


class _OptionalInQueries:
    """A cell of new data whose label is missing, unknown or not given is an unlabelled cell."""

    def validate_field(self, adata: AnnData) -> None:
        if self.attr_key not in adata.obs:  # type: ignore[attr-defined]
            super().validate_field(adata)  # type: ignore[misc]

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        key, unlabelled = state_registry["original_key"], state_registry.get("unlabeled_category")
        known = [c for c in state_registry["categorical_mapping"] if unlabelled is None or c != unlabelled]
        values = adata_target.obs[key] if key in adata_target.obs else [None] * adata_target.n_obs
        codes = pd.Index(known).get_indexer(pd.Index(values, dtype=object))
        codes[codes < 0] = len(known)
        adata_target.obs[self.attr_key] = codes  # type: ignore[attr-defined]
        return dict(state_registry)


class _LabelsField(_OptionalInQueries, CategoricalObsField):
    """Labels that every training cell has."""


class _PartialLabelsField(_OptionalInQueries, LabelsWithUnlabeledObsField):
    """Labels, one of which means "not known" and comes last; the others keep their order."""

    def register_field(self, adata: AnnData) -> dict:
        in_order = CategoricalObsField.register_field(self, adata)["categorical_mapping"]
        state = super().register_field(adata)  # puts the last label where the unlabelled category was
        swapped, unlabelled = state["categorical_mapping"], state["unlabeled_category"]
        ordered = np.array([*(c for c in in_order if c != unlabelled), unlabelled], dtype=swapped.dtype)
        adata.obs[self.attr_key] = pd.Index(ordered).get_indexer(pd.Index(swapped))[adata.obs[self.attr_key].to_numpy()]
        return {**state, "categorical_mapping": ordered}


MuDataLabelsField = MuDataWrapper(_LabelsField)
MuDataPartialLabelsField = MuDataWrapper(_PartialLabelsField)
