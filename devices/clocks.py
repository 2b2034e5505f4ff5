"""What becomes of a device's clock being wrong: it is kept with its presence, found, and over when the clock is right.

Readings of a device whose clock is known to be behind are flagged as they come, so the registry is told, too.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from math import inf

import structlog
from django.db import connection, transaction
from redis import RedisError

from devices import evidence, findings, listening, registry, skew
from devices.auditing import Found
from devices.registry import Known
from devices.skew import Clock

AHEAD, BEHIND = "clock_ahead", "clock_behind"
"""Kinds of findings."""
LISTENED_SECONDS = 300
"""So long after a gap nothing is left of what the broker had queued for the portal."""
AGAIN_SECONDS = 60
"""Readings of a device tell of its clock once in this time, in each process."""
_MAX_TOLD = 100_000
_KINDS = {Clock.AHEAD: AHEAD, Clock.BEHIND: BEHIND}
_KEEP = """
    UPDATE devices_presence AS p SET skew_ms = locked.skew_ms
      FROM (SELECT device_id, t.skew_ms FROM devices_presence
              JOIN unnest(%s::int[], %s::bigint[]) AS t (pk, skew_ms) ON t.pk = device_id
             ORDER BY device_id FOR UPDATE OF devices_presence) AS locked
     WHERE p.device_id = locked.device_id
"""

log = structlog.get_logger(__name__)
_told_at: dict[int, float] = {}


def of_birth(lateness: timedelta, *, retained: bool) -> timedelta | None:
    """The skew that a birth shows, or None where it shows none.

    One that is late is of a clock that is behind only if nobody kept it back: it was not retained, and the broker had
    no reason to queue it, as the portal was listening.
    """
    if lateness <= skew.BEHIND:
        return None if retained and lateness > skew.AHEAD else lateness
    return None if retained or _listened() < LISTENED_SECONDS else lateness


def _listened() -> float:
    try:
        return listening.seconds()
    except RedisError as error:
        log.warning("listening_unknown", error=str(error))
        return 0.0


def told(skews: Mapping[Known, timedelta]) -> None:
    """Devices showed how wrong their clocks are, or that they are right again. Raises django.db.Error.

    Rows are locked in the order of the devices.
    """
    if not skews:
        return
    words = {device: skew.judge(late) for device, late in skews.items()}
    with transaction.atomic():
        with connection.cursor() as cursor:
            milliseconds = [late // timedelta(milliseconds=1) for late in skews.values()]
            cursor.execute(_KEEP, [[device.pk for device in skews], milliseconds])
        wrong = [
            Found(_KINDS[word], f"Its clock is {skew.words(skews[device])}.", device_pk=device.pk)
            for device, word in words.items()
            if word in _KINDS
        ]
        evidence.find_all(wrong, again=1)
        findings.over(
            (kind, device.pk) for device, word in words.items() for clock, kind in _KINDS.items() if clock is not word
        )
        registry.touch(device.pk for device, word in words.items() if word is not device.clock)


def told_by_readings(skews: Mapping[Known, timedelta]) -> None:
    """The same, but of a device once in AGAIN_SECONDS: each of its readings tells it. In a transaction of its own."""
    now = time.monotonic()
    due = {device: late for device, late in skews.items() if _told_at.get(device.pk, -inf) <= now - AGAIN_SECONDS}
    told(due)
    if len(_told_at) + len(due) > _MAX_TOLD:
        _told_at.clear()
    _told_at.update((device.pk, now) for device in due)


def forget_all() -> None:
    """Whatever readings told may be told again."""
    _told_at.clear()
