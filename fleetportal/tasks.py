"""Tasks about the installation itself."""

import time
from collections.abc import Iterable

from celery import shared_task
from django.core.cache import cache
from django.utils import timezone

from devices.people import families, signing_keys

BEAT_KEY = "beat:heartbeat"
_WORKER_SECONDS = 120
"""A worker whose one process is busy with a long task says nothing meanwhile."""


def queue_key(queue: str) -> str:
    """Cache key under which a worker says that it serves a queue."""
    return f"queue:{queue}"


def serve(queues: Iterable[str]) -> None:
    """A worker lives that serves these queues. Raises redis.RedisError."""
    cache.set_many({queue_key(queue): time.time() for queue in queues}, _WORKER_SECONDS)


def unserved(queues: Iterable[str]) -> list[str]:
    """Of these queues those that no worker has served for two minutes. Raises redis.RedisError."""
    keys = {queue: queue_key(queue) for queue in queues}
    alive = cache.get_many(keys.values())
    return [queue for queue, key in keys.items() if key not in alive]


@shared_task(name="fleetportal.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Leave the time (epoch s), so that /readyz can tell that beat and a worker are alive."""
    cache.set(BEAT_KEY, time.time(), timeout=600)


@shared_task(name="fleetportal.tasks.tend_apps")
def tend_apps() -> None:
    """Announce the next signing key when it is time; drop tokens of apps that are over."""
    now = timezone.now()
    signing_keys.prepare(now)
    families.tidy(now)
