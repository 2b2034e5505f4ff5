"""Which devices somebody is looking at right now, and how to reach those browsers. Only watched devices are pushed.

Kept in Valkey with an expiry: a browser that vanished stops being served by itself. Losing it loses nothing but a
moment of liveliness; the page falls back to asking.
"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)

WATCH_SECONDS = 30
"""A watch lasts this long; sockets renew it well before."""
_KEY = "live:watched"


def channel() -> str:
    """Name of the one channel (publish and subscribe) on which all changes are told.

    Publications know no database numbers: two installations on one server must not hear each other.
    """
    return f"live{urlsplit(settings.REDIS_URL).path}:changes"


def push(device_id: str, change: dict[str, Any]) -> None:
    """Tell a device's watchers at once, from a process that is not ingest. While Valkey is away nobody is told."""
    try:
        Megaphone().tell({device_id: change})
    except redis.RedisError as error:
        log.warning("push_failed", error=str(error))


def _connect() -> Any:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


class Megaphone:
    """Tells the watchers of many devices in one message: each web process reads it once, for all of its sockets."""

    def __init__(self) -> None:
        self._redis = _connect()
        self._channel = channel()

    def tell(self, changes: Mapping[str, dict[str, Any]]) -> None:
        """Change by device id. Raises redis.RedisError; a change that cannot be sent is logged and left out."""
        parts = []
        for device_id, change in changes.items():
            try:
                parts.append(msgspec.json.encode({"device": device_id, **change}))
            except Exception:
                # One device's state that cannot be sent must not end the others' liveliness.
                log.exception("live_push_impossible", device=device_id)
        if parts:
            self._redis.publish(self._channel, b"[" + b",".join(parts) + b"]")


class Watched:
    """The set of watched device ids."""

    def __init__(self) -> None:
        self._redis = _connect()

    def add(self, device_ids: list[str]) -> None:
        """Watch these for the next `WATCH_SECONDS`. Raises redis.RedisError while Valkey is away."""
        if device_ids:
            until = time.time() + WATCH_SECONDS
            self._redis.zadd(_KEY, dict.fromkeys(device_ids, until))

    def current(self) -> set[str]:
        """Devices watched now. Raises redis.RedisError while Valkey is away."""
        now = time.time()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zremrangebyscore(_KEY, 0, now)
        pipeline.zrange(_KEY, 0, -1)
        return {member.decode() for member in pipeline.execute()[1]}
