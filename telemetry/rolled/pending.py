"""Which buckets of a device are not rolled up yet: their figures must come from the readings themselves."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from telemetry.charting.resolutions import EPOCH, Source, floor

_NEWEST = 500
"""Batches looked through for late readings; more wait only while rollups are behind by minutes."""
_BEHIND = timedelta(hours=2)
_MOST = timedelta(days=2)
"""What is read anew for one chart, at most: a backlog of weeks appears with its rollups."""
_TOUCHED = """
    SELECT DISTINCT u.device, u.bucket * %(seconds)s
      FROM (SELECT devices, buckets FROM telemetry_touched
             WHERE grain = %(grain)s ORDER BY id DESC LIMIT %(newest)s) AS t,
           unnest(t.devices, t.buckets) AS u(device, bucket)
     WHERE t.devices && %(devices)s::int[] AND u.device = ANY(%(devices)s)
    UNION ALL
    (SELECT NULL, extract(epoch FROM created_at)::bigint FROM telemetry_touched
      WHERE grain = %(grain)s ORDER BY id LIMIT 1)
"""
# Hours wait for their minutes first.
_GRAINS = {Source.MINUTE: [("minute", 60)], Source.HOUR: [("minute", 60), ("hour", 3600)]}

Bucket = tuple[int, datetime]
"""A device and the first moment of a minute or hour."""


def buckets(devices: Collection[int], grain: Source, since: datetime, until: datetime, now: datetime) -> list[Bucket]:
    """Minutes or hours from `since` to before `until` that may lack readings, the newest first, at most two days.

    These are the touched ones, and all since the oldest batch that waits was taken in, so that a chart shows what was
    published a moment ago and what comes late, however far the rollups are behind.
    """
    found: set[Bucket] = set()
    oldest = now
    with connection.cursor() as cursor:
        for name, seconds in _GRAINS[grain]:
            asked: dict[str, Any] = {"grain": name, "seconds": seconds, "devices": list(devices), "newest": _NEWEST}
            cursor.execute(_TOUCHED, asked)
            for device, second in cursor.fetchall():
                moment = EPOCH + timedelta(seconds=second)
                if device is None:
                    oldest = min(oldest, moment - timedelta(minutes=1))  # its readings may be a little older
                else:
                    found.add((device, floor(moment, grain.grain)))
    start = floor(max(oldest, now - _BEHIND), grain.grain)
    while start <= now:
        found.update((device, start) for device in devices)
        start += grain.grain
    inside = [bucket for bucket in found if since <= bucket[1] < until]
    most = len(devices) * (_MOST // grain.grain)
    return sorted(inside, key=lambda bucket: bucket[1], reverse=True)[:most]
