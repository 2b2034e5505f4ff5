"""Maintenance windows as firmware keeps them: which groups of devices must be left alone now."""

from dataclasses import dataclass
from datetime import datetime

from devices.models import MaintenanceWindow


@dataclass(frozen=True, slots=True)
class Windows:
    """Groups (pks) by their windows at one moment."""

    frozen: list[int]
    """Inside a freeze."""
    slotted: list[int]
    """With slots of their own: their devices are offered something inside one only."""
    open: list[int]
    """Inside a slot."""


NONE = Windows([], [], [])
"""For campaigns that keep no windows."""


def at(now: datetime) -> Windows:
    """The windows of all groups at this moment, each in its own time zone."""
    frozen: set[int] = set()
    slotted: set[int] = set()
    opened: set[int] = set()
    for window in MaintenanceWindow.objects.all():
        if window.kind == MaintenanceWindow.Kind.SLOT:
            slotted.add(window.group_id)
        if window.is_open(now):
            (opened if window.kind == MaintenanceWindow.Kind.SLOT else frozen).add(window.group_id)
    return Windows(sorted(frozen), sorted(slotted), sorted(opened))
