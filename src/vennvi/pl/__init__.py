"""Figures of what a model found (matplotlib)."""

from vennvi.pl._spaces import spaces

__all__ = ["spaces"]
