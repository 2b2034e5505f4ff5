"""The backlog of ingest: told by the workers in Valkey every second, read by the cockpit, /readyz and the audits."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from redis import RedisError

from devices.auditing import CRITICAL, WARNING
from telemetry import pressure
from telemetry.pressure import Broker, Line

_BROKER = "mqtt:broker"


def _key(slot: int) -> str:
    return f"mqtt:line:{slot}"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits now."""

    seconds: float
    """For how long the oldest message has been waiting, or one that comes now will wait."""
    messages: int
    stuck: float
    """For how long (s) nothing was stored although something waits."""
    away: float
    """For how long (s) the database has been away; 0: it is there."""
    broker: Broker | None
    """None: nobody has heard it yet."""


def tell(lines: Mapping[int, Line], broker: Broker | None) -> None:
    """Of the slots this process holds; `broker` where one of them listens to it. Raises redis.RedisError."""
    told: dict[str, Any] = {_key(slot): asdict(line) for slot, line in lines.items()}
    if broker:
        told[_BROKER] = asdict(broker)
    if told:
        cache.set_many(told, timeout=None)  # the last word of who died is the beginning of the backlog


def broker() -> Broker | None:
    """What was last told of the broker. Raises redis.RedisError."""
    told = cache.get(_BROKER)
    return Broker(**told) if told else None


def now() -> Backlog:
    """The backlog of all slots. Raises redis.RedisError."""
    keys = [_key(slot) for slot in range(settings.MQTT_SLOTS + 1)]
    found = cache.get_many([*keys, _BROKER])
    lines = [Line(**found[key]) for key in keys if key in found]
    heard = Broker(**found[_BROKER]) if _BROKER in found else None
    moment = time.time()
    return Backlog(
        seconds=pressure.waited(lines, heard, moment),
        messages=pressure.waiting(lines, heard),
        stuck=pressure.stuck(lines, moment),
        away=max([0.0, *(line.away for line in lines)]),
        broker=heard,
    )


def seconds() -> int:
    """For the cockpit's tile; 0 as well when nobody can say."""
    try:
        return int(now().seconds)
    except RedisError:
        return 0


def tone() -> str:
    """Its colour."""
    return {CRITICAL: "bad", WARNING: "warning"}.get(pressure.severity(seconds()) or "", "neutral")
