"""When a device's firmware changed: marks on its chart, for customers and staff alike."""

from typing import Any

from django.db.models.functions import Coalesce

from devices.models import Device
from firmware.states import UpdateState

MOST = 30
"""Changes of firmware on a chart, the newest."""


def of(device: Device) -> list[dict[str, Any]]:
    """As the updates that succeeded know it, newest first: `at` in milliseconds since 1970, and `version`."""
    rows = device.updates.filter(state=UpdateState.SUCCEEDED, release__isnull=False)
    told = rows.annotate(at=Coalesce("rebooting_at", "ended_at")).order_by("-at")
    return [
        {"at": int(at.timestamp() * 1000), "version": version}
        for at, version in told.values_list("at", "release__version")[:MOST]
    ]
