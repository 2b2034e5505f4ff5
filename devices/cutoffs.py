"""How long it took from somebody's click until a device was shut out: an event a time, and a histogram."""

from datetime import datetime, timedelta

from prometheus_client import Histogram

from devices import evidence
from devices.models import Device, Event

SECONDS = Histogram(
    "fleetportal_cutoff_seconds",
    "From revocation, quarantine or end of a device to the cut of its session",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
_CAUSES = ("certificate.revoked", "device.quarantined", "device.decommissioned")
_RECENT = timedelta(hours=1)


def note(device_id: str, now: datetime) -> float | None:
    """Record that a device's session was cut. Returns the seconds since it was decided, None if long ago."""
    cause = (
        Event.objects.filter(device__device_id=device_id, kind__in=_CAUSES, at__gt=now - _RECENT)
        .order_by("-id")
        .first()
    )
    if cause is None:
        return None
    seconds = max((now - cause.at).total_seconds(), 0.0)
    device = Device.objects.select_related("tenant").get(device_id=device_id)
    evidence.record("device.cut_off", device=device, detail={"seconds": round(seconds, 3), "cause": cause.kind}, at=now)
    SECONDS.observe(seconds)
    return seconds
