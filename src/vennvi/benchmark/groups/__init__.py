"""The groups of experiments, one file each."""

from __future__ import annotations

from vennvi.benchmark._group import Group
from vennvi.benchmark.groups.robust import ROBUST

__all__ = ["GROUPS"]

#: The groups by name.
GROUPS: dict[str, Group] = {group.name: group for group in (ROBUST,)}
