"""What is fitted to held-out cells after the training, and kept with the model until it is trained further."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

logger = logging.getLogger("scvi.vennvi")


def kept_with(model, attribute: str, key: str, parameters: Iterable[Tensor]) -> dict[str, Any]:
    """What was fitted to a model with these parameters, by name; empty if they have changed since.

    It is the ``key`` of a dict that is an attribute of the model: plain numbers and arrays, which are saved with it.
    """
    state = float(sum(p.detach().double().sum() for p in parameters))
    kept = getattr(model, attribute, None)
    # another machine or number of threads adds up in another order
    if kept is None or not np.isclose(kept["state"], state, rtol=1e-9, atol=0):
        kept = {"state": state, key: {}}
        setattr(model, attribute, kept)
    return kept[key]


def warn_without_data(model, what: str) -> None:
    """Say so if something stays uncalibrated because the model has no data to calibrate it on."""
    if model.adata is None:
        logger.warning(
            "%s are not calibrated: the model has no data at hand, and was saved before they were asked for. Load it with its "
            "data, or ask for them once before saving.",
            what,
        )
