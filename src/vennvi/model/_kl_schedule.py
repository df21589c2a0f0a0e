"""How fast the weight of the KL terms rises, and from when on a training may stop early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Epochs that the KL weight rises over at most if the training may stop early.
_LONGEST_RISE = 100


def with_kl_rise(plan_kwargs: Mapping[str, Any], max_epochs: int, early_stopping: bool) -> dict[str, Any]:
    """Arguments of the plan with the epochs that the KL weight rises over, unless they say how it does.

    It rises over the whole training. One that may stop early has no known end: there it is the first quarter of
    ``max_epochs``, 100 epochs at most.

    Examples
    --------
    >>> with_kl_rise({"lr": 1e-4}, 400, False), with_kl_rise({}, 400, True)
    ({'n_epochs_kl_warmup': 399, 'lr': 0.0001}, {'n_epochs_kl_warmup': 100})
    >>> with_kl_rise({"n_steps_kl_warmup": 50}, 400, True)
    {'n_epochs_kl_warmup': None, 'n_steps_kl_warmup': 50}
    """
    if "n_epochs_kl_warmup" in plan_kwargs or "n_steps_kl_warmup" in plan_kwargs:
        return {"n_epochs_kl_warmup": None, **plan_kwargs}
    n_epochs = max_epochs - 1
    if early_stopping:
        n_epochs = min(n_epochs, max(max_epochs // 4, 1), _LONGEST_RISE)
    return {"n_epochs_kl_warmup": n_epochs, **plan_kwargs}


def first_checks_to_skip(n_epochs_kl_warmup: int | None, check_val_every_n_epoch: int | None) -> int:
    """Validations during which the KL weight still rises: which of two losses is smaller says nothing there.

    This is what scvi-tools' trainer takes for ``early_stopping_warmup_epochs``: it counts validations.

    Examples
    --------
    >>> first_checks_to_skip(100, None), first_checks_to_skip(100, 30), first_checks_to_skip(None, None)
    (100, 3, 0)
    """
    return max(n_epochs_kl_warmup or 0, 0) // (check_val_every_n_epoch or 1)
