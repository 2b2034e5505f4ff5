"""The MQTT pump as a Celery worker bootstep: it starts, drains and stops with the worker, and shows in inspect."""

import contextlib
import functools
import gc
import os
import threading
import time
from typing import Any

import structlog
from celery import bootsteps

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 1.0
RETIRE_SECONDS = 60.0
HEARTBEAT_SECONDS = 15
"""A slot whose heartbeat is older is not served (/readyz)."""


def heartbeat_key(slot: int) -> str:
    """Cache key under which a slot's holder says that it is connected."""
    return f"mqtt:slot:{slot}"


class Pump:
    """Runs the sessions of the slots this worker holds."""

    def __init__(self) -> None:
        # Django is not ready when Celery reads this module.
        from fleetportal.broker_figures import BrokerFigures
        from fleetportal.mqtt import Rooms
        from fleetportal.progress import Progress
        from fleetportal.pump import Session
        from fleetportal.slots import Slots

        self.rooms = Rooms()
        self.sessions: dict[int, Session] = {}
        self._progress: dict[int, Progress] = {}
        self._broker = BrokerFigures()
        self._slots = Slots()
        self._retire_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    def start(self) -> None:
        """Start; slots are taken within a second."""
        self.rooms.start()
        self._thread.start()

    def stop(self) -> None:
        """Drain and stop: everything received is stored and acknowledged, slots are free for others."""
        self._stopping.set()
        self._thread.join(timeout=15)
        self.rooms.stop()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._refresh()
                self._stopping.wait(REFRESH_SECONDS)
            for slot in list(self.sessions):
                self.sessions.pop(slot).stop()
            self._slots.leave()
        except Exception:
            # A pump that died must not leave a worker behind that looks alive; the supervisor starts a new one.
            log.exception("pump_died")
            os._exit(1)

    def _refresh(self) -> None:
        from django.db import Error

        try:
            held = self._slots.refresh()
            surplus = self._slots.over()
        except Error as error:
            # Sessions stay: they read on and withhold their acknowledgements until the database is back.
            log.warning("slots_unknown", error=str(error)[:200])
            for session in self.sessions.values():
                session.held = False
            self._tell()
            return
        for session in self.sessions.values():
            session.held = True
        for slot in [slot for slot in self.sessions if slot not in held or self.sessions[slot].lost]:
            self._close(slot)
        for slot in held - set(self.sessions):
            self._open(slot)
        for slot in surplus:
            self._close(slot)
            with contextlib.suppress(Error):  # with the connection the lock is gone, too
                self._slots.release(slot)
        self._retire()
        self._beat()
        self._tell()

    def _retire(self) -> None:
        """Now and then, whoever holds the control slot ends sessions that a smaller MQTT_SLOTS left behind."""
        from django.conf import settings
        from django.db import Error

        from fleetportal import mqtt, retirement, slots

        if slots.CONTROL not in self.sessions or time.monotonic() < self._retire_at:
            return
        self._retire_at = time.monotonic() + RETIRE_SECONDS
        first = settings.MQTT_SLOTS + 1
        take = functools.partial(self.rooms.take, first)
        with contextlib.suppress(Error):  # tried again
            retirement.retire(self._slots, first, mqtt.filters(first), take, self.rooms.refuse)

    def _open(self, slot: int) -> None:
        from fleetportal import mqtt, pump, slots
        from fleetportal.progress import Progress

        log.info("slot_taken", slot=slots.client_id(slot))
        progress = Progress(functools.partial(self.rooms.take, slot))
        session = pump.Session(slots.client_id(slot), mqtt.filters(slot), progress.take, self.rooms.refuse)
        if slot == slots.CONTROL:
            session.overheard = self._broker.hear
        self.sessions[slot], self._progress[slot] = session, progress
        session.start()

    def _close(self, slot: int) -> None:
        session = self.sessions.pop(slot, None)
        self._progress.pop(slot, None)
        if session:
            log.info("slot_left", slot=session.client_id)
            session.stop()

    def _beat(self) -> None:
        from django.core.cache import cache
        from redis import RedisError

        from devices import listening
        from fleetportal.slots import CONTROL

        if not self.rooms.healthy:
            raise RuntimeError("nobody tells devices and browsers any more")
        for slot, session in self.sessions.items():
            if not session.healthy:
                raise RuntimeError(f"session {session.client_id} stopped storing")
            if session.connected:
                try:
                    if slot == CONTROL:
                        listening.beat()
                    cache.set(heartbeat_key(slot), time.time(), HEARTBEAT_SECONDS)
                except RedisError as error:
                    log.warning("heartbeat_failed", error=str(error))
                    return

    def _tell(self) -> None:
        """How much waits, for how long: to the metrics of this process, and to all in Valkey."""
        from redis import RedisError

        from fleetportal import observability
        from fleetportal.pump import RECEIVE_MAXIMUM
        from fleetportal.slots import CONTROL
        from telemetry import backlog

        lines = {
            slot: self._progress[slot].line(session.taken, session.backlog(), RECEIVE_MAXIMUM)
            for slot, session in self.sessions.items()
        }
        observability.UNACKED.set(sum(line.unacked for line in lines.values()))
        observability.OLDEST.set(max((line.at - line.oldest for line in lines.values()), default=0))
        observability.AWAY.set(max((line.away for line in lines.values()), default=0))
        try:
            broker = self._broker.counted(backlog.broker()) if CONTROL in lines else None
            backlog.tell(lines, broker)
            if CONTROL in lines:
                observability.BACKLOG.set(backlog.now().seconds)
        except RedisError as error:
            log.warning("backlog_untold", error=str(error))
            return
        for name in ("queued", "size", "dropped", "clients") if broker else ():
            observability.BROKER.labels(name).set(getattr(broker, name))


class MqttPump(bootsteps.StartStopStep):
    """Started by `--mqtt`; wants `--pool solo`, as a forked child would inherit the sockets and outlive a kill."""

    def __init__(self, parent: Any, mqtt: bool = False, **options: Any) -> None:
        super().__init__(parent, **options)
        self.enabled = mqtt
        self._pump: Pump | None = None

    def start(self, parent: Any) -> None:
        """Start with the worker."""
        self._pump = Pump()
        # A batch is tens of thousands of small objects without cycles: looking for some took half of a worker's time.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        self._pump.start()

    def stop(self, parent: Any) -> None:
        """Drain with the worker's warm stop."""
        if self._pump:
            self._pump.stop()

    def info(self, parent: Any) -> dict[str, Any]:
        """For `celery inspect stats`."""
        sessions = self._pump.sessions if self._pump else {}
        return {
            "mqtt": {
                each.client_id: {"connected": each.connected, "unacked": each.backlog()} for each in sessions.values()
            }
        }
