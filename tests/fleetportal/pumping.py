"""Sessions of the pump against the real broker, fed by a publisher beside it."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from devices.registry import Incoming
from fleetportal.pump import Session
from tests import servers
from tests.devices import peers

PROBE = b"is anybody subscribed?"


class Room:
    """Takes batches as a room does; can be made to wait or to fail."""

    def __init__(self) -> None:
        self.taken: list[Incoming] = []
        self.asked: list[list[bytes]] = []
        self.failures: list[Exception] = []
        self.spoilt: dict[bytes, Exception] = {}
        self.open = threading.Event()
        self.open.set()
        self.probed = False
        self.refused: dict[bytes, Exception] = {}

    def take(self, messages: list[Incoming]) -> None:
        """Take a batch: all of it or nothing."""
        words = [message for message in messages if message.payload != PROBE]
        self.probed = self.probed or len(words) < len(messages)
        if not words:
            return
        self.asked.append([message.payload for message in words])
        self.open.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        for message in words:
            if message.payload in self.spoilt:
                raise self.spoilt[message.payload]
        self.taken += words

    def refuse(self, message: Incoming, error: Exception) -> None:
        """Remember what could not be taken."""
        if self.failures:
            raise self.failures.pop(0)
        self.refused[message.payload] = error

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.taken]


@dataclass(frozen=True)
class Line:
    """A session's client id, and a topic that only it listens to."""

    client_id: str
    filters: list[str]
    topic: str


def shared() -> Line:
    """As an ingest slot listens."""
    mark = uuid.uuid4().hex[:12]
    filters = [f"$share/{settings.MQTT_INGEST_GROUP}{mark}//{mark}/+/+/telemetry"]
    return Line(f"test-{mark}", filters, f"/{mark}/y/d/telemetry")


def plain() -> Line:
    """As the control slot listens."""
    mark = uuid.uuid4().hex[:12]
    return Line(f"test-{mark}", [f"/{mark}/+/+/status"], f"/{mark}/y/d/status")


@contextmanager
def session(line: Line, room: Room) -> Iterator[Session]:
    """A session, running and subscribed."""
    made = Session(line.client_id, line.filters, room.take, room.refuse)
    made.start()
    try:
        with peers.portal() as publisher:

            def answers() -> bool:
                publisher.publish(line.topic, PROBE)
                return room.probed

            peers.eventually(answers, what="subscribed")
        yield made
    finally:
        room.open.set()
        before, connected = _goodbyes(line), made.connected
        made.stop()
        # The broker may still have acknowledgements to read: a new session at once would get those messages again.
        peers.eventually(lambda: not connected or _goodbyes(line) > before, what="goodbye")


def _goodbyes(line: Line) -> int:
    log = (servers.HERE.own_folder("log") / "mosquitto.log").read_text(errors="replace")
    return log.count(f"Client {line.client_id} disconnected")


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [f"{number}".encode() for number in range(start, start + count)]
