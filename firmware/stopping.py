"""Is the global stop on? Asked by every page of the staff, so it is remembered for a few seconds; and its gate."""

from typing import Any

from django.core.cache import cache
from django.db import connection
from redis import RedisError

from firmware.models import Stop

_KEY, _SECONDS = "firmware:stop", 3
_GATE = 0x0F7A
"""Number of the database's lock that whoever offers shares, and whoever stops has alone."""


def in_force() -> dict[str, Any]:
    """`reason`, `by` and `since` of the open stop; empty when there is none. At most 3 s old.

    Not for decisions: offers ask the row.
    """
    try:
        told: dict[str, Any] = cache.get_or_set(_KEY, _look, _SECONDS) or {}
    except RedisError:  # staff need their pages most when something is down
        return _look()
    return told


def forget() -> None:
    """It has just changed. While the cache is away there is nothing to forget."""
    try:
        cache.delete(_KEY)
    except RedisError:
        return


def _look() -> dict[str, Any]:
    stop = Stop.objects.filter(open=True).select_related("started_by").first()
    return {"reason": stop.reason, "by": str(stop.started_by), "since": stop.started_at} if stop else {}


def enter() -> None:
    """Before something is offered or said: from here to the end of the transaction no stop begins."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_GATE])


def close() -> None:
    """Before a stop begins: whoever is offering has ended, and who comes later finds the stop. First lock to take."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_GATE])
