"""Live push: only to those who watch, at most four times a second for each device, never in ingest's way."""

import atexit
import json
import threading
import time
from collections.abc import Set
from datetime import datetime
from typing import Any

import redis
import structlog

from devices.watching import Megaphone, Watched
from telemetry.models import Latest
from telemetry.store import Row

PUSH_SECONDS = 0.25
_LOOK_SECONDS = 0.25
NOTICE_SECONDS = 0.75
"""A new watch is noticed within this time: one look, one push that may be under way, and some air."""

log = structlog.get_logger(__name__)


class Live:
    """Hands the newest state of watched devices to their browsers, from a thread of its own.

    `offer` only replaces what waits for a device, so a slow Valkey or a flood costs liveliness, not memory or ingest.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._watched: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Start pushing."""
        self._thread.start()

    def stop(self) -> None:
        """Push what waits and end."""
        self._stop = True
        self._wake.set()
        self._thread.join(timeout=5)

    @property
    def healthy(self) -> bool:
        """Is the thread alive?"""
        return self._thread.is_alive()

    @property
    def watched(self) -> Set[str]:
        """Ids of the devices somebody watches: nobody needs to make what nobody sees."""
        return self._watched

    def offer(self, device_id: str, change: dict[str, Any]) -> None:
        """A device's state changed; newer parts replace older ones that still wait."""
        if device_id not in self._watched:
            return
        with self._lock:
            self._waiting.setdefault(device_id, {}).update(change)
        self._wake.set()

    def look(self, watched: Watched) -> None:
        """See which devices are watched now; while Valkey is away those of before."""
        try:
            self._watched = watched.current()
        except redis.RedisError as error:
            log.warning("watched_unknown", error=str(error))

    def _run(self) -> None:
        watched, megaphone, looked = Watched(), Megaphone(), 0.0
        while not self._stop:
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                self.look(watched)
            if self._wake.wait(timeout=_LOOK_SECONDS):
                self._wake.clear()
                self._push(megaphone)
                time.sleep(PUSH_SECONDS)  # the pace itself: what comes meanwhile is merged

    def _push(self, megaphone: Megaphone) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            megaphone.tell(waiting)
        except redis.RedisError as error:
            log.warning("live_push_failed", error=str(error))


_own: dict[str, Live] = {}
_starting = threading.Lock()


def of_this_process() -> Live:
    """The pusher of a process that is not the pump, started when first needed; one that died or forked is replaced."""
    with _starting:
        live = _own.get("live")
        if live is None or not live.healthy:
            live = _own["live"] = Live()
            live.look(Watched())  # the thread's first look would come too late for what called for it
            live.start()
            atexit.register(live.stop)
        return live


def reading(row: Row) -> dict[str, Any]:
    """A reading just stored, as browsers get it."""
    return _shape(row.ts, row.schema_pk, row.metrics, json.loads(row.extra or "{}"))


def newest(latest: Latest) -> dict[str, Any]:
    """The newest reading of a device, as browsers get it."""
    return _shape(latest.ts, latest.schema_id, latest.metrics, latest.extra or {})


def _shape(ts: datetime, schema: int, metrics: list[float | None], extra: dict[str, Any]) -> dict[str, Any]:
    """Numbers in schema order, time in epoch ms."""
    return {"reading": {"ts": round(ts.timestamp() * 1000), "schema": schema, "metrics": metrics, "extra": extra}}
