"""Other ways to train one of our models: what its name ends in, what tables say, and the arguments of ``train``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Parameters
    ----------
    suffix
        What a model's name ends in, after a hyphen.
    label
        What its label ends in, after a comma.
    train_kwargs
        Arguments of ``train``.
    fraction
        Fraction of the features that a step decodes, by modality.
    """

    suffix: str
    label: str
    train_kwargs: Mapping[str, Any]
    fraction: Mapping[str, float] = field(default_factory=dict)


_QUARTER = {"atac": 0.25}
#: As ``train`` trains by default.
PLAIN = Variant("", "", {})
#: All other ways.
VARIANTS = (
    Variant("quarter", "1/4 of peaks", {"feature_fraction": _QUARTER}, _QUARTER),
    Variant("bf16", "bfloat16", {"precision": "bf16-mixed"}),
    Variant("compiled", "torch.compile", {"plan_kwargs": {"compile": True}}),
)


def variant_of(name: str) -> tuple[str, Variant | None]:
    """The model that a name is of, and the way to train it, ``None`` if it is the plain one.

    Examples
    --------
    >>> variant_of("PCA+CCA")
    ('PCA+CCA', None)
    >>> name, variant = variant_of("VennVI-quarter")
    >>> name, variant.label
    ('VennVI', '1/4 of peaks')
    """
    for variant in VARIANTS:
        if name.endswith(f"-{variant.suffix}"):
            return name.removesuffix(f"-{variant.suffix}"), variant
    return name, None
