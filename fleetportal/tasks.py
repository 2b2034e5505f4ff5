"""Tasks about the installation itself."""

import time

from celery import shared_task
from django.core.cache import cache

BEAT_KEY = "beat:heartbeat"


@shared_task(name="fleetportal.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Leave the time (epoch s), so that /readyz can tell that beat and a worker are alive."""
    cache.set(BEAT_KEY, time.time(), timeout=600)
