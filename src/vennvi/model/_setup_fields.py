"""What scvi-tools registers of a MuData, from the arguments of ``setup_mudata``."""

from __future__ import annotations

from collections.abc import Mapping

from mudata import MuData
from scvi import REGISTRY_KEYS
from scvi.data import fields

from vennvi._keys import data_key, size_factor_key
from vennvi.data._labels_field import MuDataLabelsField, MuDataPartialLabelsField
from vennvi.model._validate import check_size_factors


def setup_fields(mdata: MuData, arguments: Mapping) -> list[fields.AnnDataField]:
    """Fields of a MuData; size factors are looked up anew in each, in the modality first.

    Raises
    ------
    KeyError, ValueError
        If size factors are not there or not positive, or of a modality that does not take part.
    """
    where = arguments["modalities"] or {}
    found: list[fields.AnnDataField] = [
        # is_count_data=False: scvi-tools' check rejects sparse arrays; vennvi checks the data itself
        *(
            fields.MuDataLayerField(data_key(m), layer, mod_key=m, mod_required=True, is_count_data=False)
            for m, layer in arguments["layers"].items()
        ),
        fields.MuDataCategoricalObsField(
            REGISTRY_KEYS.BATCH_KEY, arguments["batch_key"], mod_key=where.get("batch_key")
        ),
        fields.MuDataCategoricalJointObsField(
            REGISTRY_KEYS.CAT_COVS_KEY,
            arguments["categorical_covariate_keys"],
            mod_key=where.get("categorical_covariate_keys"),
        ),
        fields.MuDataNumericalJointObsField(
            REGISTRY_KEYS.CONT_COVS_KEY,
            arguments["continuous_covariate_keys"],
            mod_key=where.get("continuous_covariate_keys"),
        ),
        *(
            fields.MuDataNumericalObsField(
                size_factor_key(m), column, mod_key=check_size_factors(mdata, m, column), required=False
            )
            for m, column in size_factor_columns(arguments).items()
        ),
    ]
    labels, unlabeled = arguments["labels_key"], arguments["unlabeled_category"]
    if labels is not None and unlabeled is None:
        found.append(MuDataLabelsField(REGISTRY_KEYS.LABELS_KEY, labels, mod_key=where.get("labels_key")))
    elif labels is not None:
        found.append(
            MuDataPartialLabelsField(REGISTRY_KEYS.LABELS_KEY, labels, unlabeled, mod_key=where.get("labels_key"))
        )
    return found


def size_factor_columns(arguments: Mapping) -> dict[str, str]:
    """Column of size factors by modality.

    Raises
    ------
    KeyError
        If a modality does not take part.

    Examples
    --------
    >>> size_factor_columns({"layers": {"rna": None, "atac": None}, "size_factor_key": "depth"})
    {'rna': 'depth', 'atac': 'depth'}
    """
    keys = arguments["size_factor_key"] or {}
    if isinstance(keys, str):
        keys = dict.fromkeys(arguments["layers"], keys)
    if unknown := set(keys) - set(arguments["layers"]):
        raise KeyError(f"`size_factor_key` names {', '.join(map(repr, sorted(unknown)))}, which `layers` does not use.")
    return dict(keys)
