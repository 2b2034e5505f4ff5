"""Which decisions of staff the broker does not know yet, and how long it took from the click to the cut.

A decision (`DECISIONS`) is carried out when an event `device.cut_off` of its device names it. The row is written by
whoever wrote the broker's files and ended the session; what nobody wrote is found again (tasks.shut_out_overdue).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, Func, JSONField, OuterRef
from prometheus_client import Histogram

from devices import evidence
from devices.models import Event
from devices.models.evidence import CUT_OFF, DECISIONS

SECONDS = Histogram(
    "fleetportal_cutoff_seconds",
    "From revocation, quarantine, release or end of a device to the cut of its session",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
)
_RECENT = timedelta(days=1)
"""What was not carried out for so long is no longer looked for; the hourly files (and an audit) know it long since."""
_SKEW = timedelta(hours=1)  # between the clocks of two machines
_LOCK = 0xC07  # advisory lock: two workers with the same decision note it once


def pending(
    now: datetime, device_ids: Iterable[str] | None = None, *, before: datetime | None = None, limit: int = 10_000
) -> list[Event]:
    """Decisions nobody has carried out, the oldest first: about these devices, or all that were made until `before`.

    Ask for them *before* the broker's files are written: what is decided meanwhile is not in those files.
    """
    # By its own id, not by "a later cut": of two decisions at once one may be committed after the other's cut.
    done = Event.objects.filter(
        device=OuterRef("device"),
        id__gt=OuterRef("id"),
        kind=CUT_OFF,
        at__gt=now - _RECENT - _SKEW,  # so that an index finds them, too
        detail__decisions__contains=Func(OuterRef("id"), function="to_jsonb", output_field=JSONField()),
    )
    open_ones = Event.objects.filter(~Exists(done), kind__in=DECISIONS, at__gt=now - _RECENT, device__isnull=False)
    if before is not None:
        open_ones = open_ones.filter(at__lte=before)
    if device_ids is not None:
        open_ones = open_ones.filter(device__device_id__in=list(device_ids))
    return list(open_ones.select_related("device__tenant").order_by("id")[:limit])


def note(decisions: Iterable[Event], cut_at: Mapping[str, datetime], now: datetime) -> dict[str, float]:
    """Record that these were carried out, with the time of each device's cut.

    Returns the seconds each device waited, counted from the first of its decisions.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        still_open = {each.pk for each in pending(now, cut_at)}
        of_device: dict[str, list[Event]] = {}
        for each in decisions:
            if each.pk in still_open and each.device is not None:
                of_device.setdefault(each.device.device_id, []).append(each)
        waited = {device_id: _record(told, cut_at[device_id]) for device_id, told in of_device.items()}
    for seconds in waited.values():
        SECONDS.observe(seconds)
    return waited


def _record(told: list[Event], at: datetime) -> float:
    first = told[0]
    seconds = max((at - first.at).total_seconds(), 0.0)
    detail = {"seconds": round(seconds, 3), "cause": first.kind, "decisions": [each.pk for each in told]}
    evidence.record(CUT_OFF, device=first.device, detail=detail, at=at)
    return seconds
