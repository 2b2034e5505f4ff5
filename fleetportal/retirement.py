"""Ending the sessions of slots that are no longer wanted, after MQTT_SLOTS was lowered.

The broker deals shared messages to member *sessions*, also to one that nobody will ever resume: what it holds must be
stored, and it must go.
"""

import time
from collections.abc import Callable

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from devices.registry import Incoming
from fleetportal.pump import Session
from fleetportal.slots import Slots, client_id

log = structlog.get_logger(__name__)
IDLE_SECONDS = 2.0
"""A session that received nothing for this long after it left the group is empty."""
_CONNECT_SECONDS = 5.0
_DRAIN_SECONDS = 60.0

Take = Callable[[list[Incoming]], None]
Refuse = Callable[[Incoming, Exception], None]


class LastSession(Session):
    """Resumes a session, leaves the group, takes what is queued, and ends it for good."""

    def _subscribe(self, client: mqtt.Client) -> None:
        if self.resumed:
            client.unsubscribe(self._filters)

    def _farewell(self) -> Properties:
        properties = Properties(PacketTypes.DISCONNECT)
        properties.SessionExpiryInterval = 0
        return properties


def retire(slots: Slots, first: int, filters: list[str], take: Take, refuse: Refuse) -> int:
    """End the sessions of the slots from `first` on that the broker still has. Returns how many.

    They were made without gaps, so looking ends at the first that is missing; they are ended from the top, so a crash
    leaves no gap either.
    """
    found: list[tuple[int, LastSession]] = []
    slot = first
    while slots.take_extra(slot):
        session = LastSession(client_id(slot), filters, take, refuse)
        session.start()
        found.append((slot, session))
        if not _resumed(session):
            break
        slot += 1
    ended = 0
    for slot, session in reversed(found):
        if session.resumed:
            _drain(session)
            ended += 1
            log.info("slot_ended", slot=session.client_id)
        session.stop()
        slots.release(slot)
    return ended


def _resumed(session: LastSession) -> bool:
    deadline = time.monotonic() + _CONNECT_SECONDS
    while session.resumed is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(session.resumed)


def _drain(session: LastSession) -> None:
    """Wait until it is empty: nothing waiting, nothing new."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline:
        taken = session.taken
        time.sleep(IDLE_SECONDS)
        if session.taken == taken and not session.backlog():
            return
