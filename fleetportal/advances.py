"""Asking for a look at campaigns that moved, and telling who watches them: at most once a second each."""

import threading

import redis
import structlog
from django.core.cache import cache
from kombu.exceptions import OperationalError

import firmware.live
import firmware.tasks

log = structlog.get_logger(__name__)
EVERY_SECONDS = 1.0


class Advances:
    """Collects campaigns and nudges for them from a thread of its own: ingest never waits for the queue.

    Nothing depends on it. The sweep looks at every campaign, whatever was lost here with a crash or with Valkey.
    """

    def __init__(self) -> None:
        self._wanted: set[int] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="advances", daemon=True)

    def start(self) -> None:
        """Start nudging."""
        self._thread.start()

    def stop(self) -> None:
        """Nudge for what waits and end."""
        self._stopping.set()
        self._thread.join(timeout=5)

    @property
    def healthy(self) -> bool:
        """Is the thread alive?"""
        return self._thread.is_alive()

    def want(self, campaign_pks: set[int]) -> None:
        """Something changed in these campaigns; call it after the commit."""
        with self._lock:
            self._wanted |= campaign_pks

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self.nudge()
        self.nudge()

    def nudge(self) -> None:
        """Nudge for what waits, where no other process did within the last second. Never raises for Valkey's sake."""
        with self._lock:
            wanted, self._wanted = self._wanted, set()
        try:
            for pk in sorted(wanted):
                if cache.add(f"advance.{pk}", 1, timeout=EVERY_SECONDS):
                    firmware.tasks.advance.apply_async((pk,), retry=False)
        except (redis.RedisError, OperationalError, OSError) as error:
            log.warning("advance_not_asked_for", error=str(error))
            return
        firmware.live.push(wanted)
