"""The MQTT timetable: which session listens to what, and which room takes it."""

import time
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

import devices.ingest
import firmware.ingest
import firmware.nudges
import operations.handshakes
import telemetry.ingest
from devices import contract
from devices.models import Presence
from devices.registry import Incoming
from fleetportal.advances import Advances
from fleetportal.observability import BATCH, CONNECTIONS, MESSAGES
from fleetportal.settlements import Settlements
from fleetportal.slots import CONTROL
from telemetry.live import Live, reading
from telemetry.refused import deadletters


def filters(slot: int) -> list[str]:
    """What the session of a slot subscribes to."""
    if slot == CONTROL:
        return [*contract.control_filters(), *contract.broker_log_filters(), *contract.BROKER_FIGURES]
    return contract.telemetry_filters(settings.MQTT_INGEST_GROUP)


class Rooms:
    """Hands batches to the rooms, and what came of them to the devices and the browsers."""

    def __init__(self) -> None:
        self.live = Live()
        self.settlements = Settlements()
        self.advances = Advances()

    def start(self) -> None:
        """Start telling."""
        self.live.start()
        self.settlements.start()
        self.advances.start()

    def stop(self) -> None:
        """Tell what waits and end."""
        self.advances.stop()
        self.settlements.stop()
        self.live.stop()

    @property
    def healthy(self) -> bool:
        """Are the threads that tell devices and browsers alive?"""
        return self.live.healthy and self.settlements.healthy and self.advances.healthy

    def take(self, slot: int, messages: list[Incoming]) -> None:
        """Hand a batch to the room of its slot; returns after the commit. Raises django.db.Error."""
        (self._take_control if slot == CONTROL else self._take_telemetry)(messages)

    def refuse(self, message: Incoming, error: Exception) -> None:
        """Keep a message that no room could take as a dead letter. Raises django.db.Error."""
        telemetry.ingest.keep_unstorable(message, error)

    def _take_telemetry(self, messages: list[Incoming]) -> None:
        with BATCH.labels("telemetry").time():
            outcome = telemetry.ingest.store_batch(messages)
        _count("telemetry", len(outcome.refused), outcome.stored, outcome.duplicates, outcome.flooded)
        self.settlements.add(outcome.settled)
        for device_id in self.live.watched:
            if row := outcome.newest.get(device_id):
                self.live.offer(device_id, reading(row))

    def _take_control(self, received: list[Incoming]) -> None:
        lines = [message for message in received if contract.is_broker_log(message.topic)]
        for word, count in operations.handshakes.count(lines, timezone.now()).items() if lines else ():
            CONNECTIONS.labels(word).inc(count)
        messages = [message for message in received if not contract.is_broker_log(message.topic)]
        if not messages:
            return
        with BATCH.labels("devices").time(), transaction.atomic():
            born = self._take_words([each for each in messages if not firmware.ingest.is_mine(each.topic)])
            # After them: a birth is judged with all that was reported up to it, whichever came first.
            self._take_reports([each for each in messages if firmware.ingest.is_mine(each.topic)], born)

    def _take_words(self, messages: list[Incoming]) -> list[int]:
        """What devices say about themselves. Returns (pks) who of them came online."""
        if not messages:
            return []
        refused, changed = devices.ingest.store_batch(messages)
        deadletters.keep(refused, timezone.now())
        rows = Presence.objects.filter(device__device_id__in=changed) if changed else Presence.objects.none()
        seen = list(rows.values_list("device_id", "device__device_id", "online"))
        transaction.on_commit(partial(_count, "devices", len(refused), len(messages) - len(refused), 0))
        transaction.on_commit(partial(self._show, {device_id: online for _, device_id, online in seen}))
        return [pk for pk, _, online in seen if online]

    def _show(self, online: dict[str, bool]) -> None:
        for device_id, word in online.items():
            self.live.offer(device_id, {"presence": {"online": word, "at": int(time.time() * 1000)}})

    def _take_reports(self, messages: list[Incoming], born: list[int]) -> None:
        """What devices say about their updates, and what a birth says about them."""
        if not messages and not born:
            return
        now = timezone.now()
        refused, changed = firmware.ingest.store_batch(messages, now, born)
        deadletters.keep(refused, now)
        transaction.on_commit(partial(_count, "firmware", len(refused), len(messages) - len(refused), 0))
        # A function with a name: Django asks for it where it says that one has failed.
        transaction.on_commit(lambda: firmware.nudges.at_birth(born), robust=True)
        transaction.on_commit(partial(self.advances.want, changed))


def _count(room: str, refused: int, stored: int, duplicates: int, flooded: int = 0) -> None:
    told = {"refused": refused, "stored": stored, "duplicate": duplicates, "flooded": flooded}
    for verdict, count in told.items():
        if count:
            MESSAGES.labels(room, verdict).inc(count)
