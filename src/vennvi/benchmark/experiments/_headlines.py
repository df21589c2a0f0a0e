"""Headlines that most experiments have."""

from __future__ import annotations

from vennvi.benchmark._experiment import Headline

#: How far a sample's true match is from being the nearest one.
FOSCTTM = Headline(
    "shared",
    "other views",
    "foscttm_test",
    "FOSCTTM of the unimodal shared latents, held out (lower is better)",
    False,
    0.5,
)
