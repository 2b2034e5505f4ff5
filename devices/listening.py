"""Since when the portal has been listening without a gap: silence counts against a device only while somebody listened.

Kept in Valkey by the control session. When it is away, or ingest was, nobody is called silent: an outage of the portal
is not one of the fleet.
"""

import time

from django.core.cache import cache

_KEY = "listening"
_GAP_SECONDS = 15


def beat() -> None:
    """The portal listens now; call it every second or so. Raises redis.RedisError."""
    now = time.time()
    since, last = cache.get(_KEY, (now, 0.0))
    cache.set(_KEY, (since if now - last < _GAP_SECONDS else now, now), timeout=None)


def seconds() -> float:
    """For how long (s) it has been listening without a gap; 0 when it is not. Raises redis.RedisError."""
    now = time.time()
    since, last = cache.get(_KEY, (now, 0.0))
    return now - since if now - last < _GAP_SECONDS else 0.0
