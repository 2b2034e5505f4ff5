"""From messages to stored readings, a batch at a time, in one transaction. The MQTT porter of this room."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from functools import lru_cache
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import Error, transaction
from django.utils import timezone

from devices import clocks, contract, evidence, presence, registry, skew
from devices.contract import ContractError, Topic
from devices.registry import Incoming, Known, Refused
from devices.skew import Clock
from telemetry import floods, payload
from telemetry.models.reading import Flag
from telemetry.quick import Quick
from telemetry.refused import deadletters
from telemetry.rolled import touched
from telemetry.schema import schemas
from telemetry.store import Row, store

READING_BYTES = 2048
"""Of a payload, unpacked: so many, begun, cost a budget a reading at least. Usual readings are a tenth of this."""
UNSTORABLE_COSTS = 25
"""Readings that a message costs which could not be stored: about as many transactions it took to find it."""
AHEAD_REFUSED = timedelta(days=1)
AHEAD_SUSPECT = skew.AHEAD
_TOPICS = 50_000
"""Topics remembered taken apart: those of so many devices that speak."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    stored: int = 0
    """New readings."""
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)
    refused_at: list[int] = field(default_factory=list)
    """For each of `refused`: which message of the batch it was, or was a part of (from 0)."""
    settled: dict[str, contract.Settled] = field(default_factory=dict)
    """Answers to what came at QoS 1, by the devices' `telemetry/stored` topics."""
    newest: dict[str, Row] = field(default_factory=dict)
    """The newest reading of each device in the batch, for those who watch."""
    flooded: int = 0
    """Messages not taken because their device or tenant is over its budget: neither stored nor settled."""


def store_batch(messages: Sequence[Incoming]) -> Outcome:
    """Decode, check and store; returns after the commit. One bad message never rejects its neighbours.

    Raises django.db.Error when the database is away: the caller keeps the messages and comes again.
    """
    budgets = floods.of_this_process
    batch = _Batch(timezone.now(), budgets)
    try:
        with transaction.atomic():
            batch.store(messages)
            # Rows that other sessions write as well come last, always in this order: nobody waits in a circle.
            if batch.heard:
                presence.seen(batch.heard, batch.now)
            if told := [*batch.trespasses.found(), *budgets.report(batch.tab)]:
                evidence.find_all(told, again=1)
            deadletters.keep([*batch.outcome.refused, *batch.samples], batch.now)
    except Exception:
        budgets.undo(batch.tab)  # a batch is tried until it is stored, and paid for once
        raise
    budgets.settle(batch.tab)
    try:
        clocks.told_by_readings(batch.skews)
    except Error as error:  # the readings are stored, and the next ones tell it again
        log.warning("clocks_untold", error=str(error))
    return batch.outcome


def keep_unstorable(message: Incoming, error: Exception) -> None:
    """Keep a message as a dead letter that `store_batch` could not store by itself. Raises django.db.Error.

    The fault is ours, so its device is not told, and its copy stays in its outbox until it is mended. It pays for what
    was spent, as others have waited.
    """
    device_id = registry.claimed(message.topic)
    with transaction.atomic():
        device = registry.look_up({device_id} if device_id else ()).get(device_id)
        text = f"{type(error).__name__}: {error}"
        refused = Refused(message, "unstorable", text, device_pk=device.pk if device else None)
        deadletters.keep([refused], timezone.now())
    if device:
        budgets, tab = floods.of_this_process, floods.Tab(time.monotonic())
        budgets.admit(device, tab)
        budgets.charge(device, UNSTORABLE_COSTS - 1, tab)


def store_again(messages: Sequence[Incoming], received: Sequence[datetime]) -> Outcome:
    """Take in messages that were refused before, inside the caller's transaction. Doing it twice changes nothing.

    `received`: when each came the first time; a clock ahead is judged by that, and its readings bear it. No presence,
    no budget, and nobody is to be told of `settled`. Refusals are not kept as dead letters: `refused_at` says whose.
    """
    batch = _Batch(timezone.now(), None)
    batch.store(messages, received)
    return batch.outcome


_Line = tuple[str, Topic | ContractError, str]
"""Whose topic it is, itself or why it is none, and the topic on which its device is answered."""


def _line(text: str) -> _Line:
    try:
        return _parsed(text)
    except ContractError as error:
        return registry.claimed(text), error, ""


@lru_cache(maxsize=_TOPICS)
def _parsed(text: str) -> _Line:
    topic = Topic.parse(text)
    return topic.device_id, topic, str(Topic(topic.tenant, topic.device_type, topic.device_id, contract.STORED))


@lru_cache(maxsize=1000)
def _quick(schema: schemas.Compiled, version: int) -> Quick:
    return Quick(schema.vocabulary, version)


class _Batch:
    """The working state of one batch."""

    def __init__(self, now: datetime, budgets: floods.Floods | None) -> None:
        self.now = now
        self.outcome = Outcome()
        self.rows: list[Row] = []
        self.tab = floods.Tab(time.monotonic())
        self.heard: set[int] = set()
        """Devices (pks) that spoke where they may, whatever became of what they said."""
        self.trespasses = registry.Trespasses()
        self.samples: list[Refused] = []
        """Some of the messages that were not taken."""
        self.skews: dict[Known, timedelta] = {}
        """What readings say of clocks, where that is news."""
        self._budgets = budgets
        self._received_at(now)
        oldest = now.astimezone(UTC).date() - timedelta(days=settings.HOT_DAYS)
        self._oldest = datetime.combine(oldest, clock.min, UTC)
        self._schemas: dict[tuple[int, int], schemas.Compiled] = {}
        self._quick: dict[int, tuple[int, Quick]] = {}
        """Schema (pk) and reader of what devices of a type usually say."""
        self._place = 0

    def store(self, messages: Sequence[Incoming], received: Sequence[datetime] | None = None) -> None:
        """Take all of them, and store what can be stored. Must run inside a transaction."""
        lines = [_line(message.topic) for message in messages]
        known = registry.look_up({device_id for device_id, _, _ in lines} - {""})
        self._schemas = schemas.of_types({device.device_type_pk for device in known.values()})
        # The highest version of each type is what most of its devices speak.
        versions = sorted(self._schemas)
        self._quick = {each[0]: (self._schemas[each].pk, _quick(self._schemas[each], each[1])) for each in versions}
        for place, (message, line) in enumerate(zip(messages, lines, strict=True)):
            self._place = place
            if received:
                self._received_at(received[place])
            self._take(message, line, known)
        if self.rows:
            touched.note(self.rows)
            self.outcome.stored = store(self.rows)
            self.outcome.duplicates = len(self.rows) - self.outcome.stored

    def _received_at(self, moment: datetime) -> None:
        self._received, self._suspect = moment, moment + AHEAD_SUSPECT

    def _take(self, message: Incoming, line: _Line, known: dict[str, Known]) -> None:
        """Turn one message into rows and refusals."""
        device_id, topic, answer = line
        device, budgets = known.get(device_id), self._budgets
        # First of all: what is refused has its price as well.
        if budgets and device and not budgets.admit(device, self.tab):
            self._flood(message, topic, device, budgets)
            return
        try:
            if isinstance(topic, ContractError):
                raise topic
            device = registry.check(topic, known, self.trespasses)
        except ContractError as error:
            self._refuse(message, device, "", None, error)
            return
        self.heard.add(device.pk)
        if not message.qos:
            answer = ""
        if rows := self._usual(device, message.payload):
            self._pay(device, len(rows), len(message.payload))
            for row in rows:
                self._keep(device_id, row, answer)
            return
        items, size = payload.sized(message.payload)
        self._pay(device, len(items), size)
        for item in items:
            if isinstance(item, payload.Mistake):
                mistake = ContractError(item.reason, item.detail, item.path)
                spoilt = _with(message, item.alone) if item.alone else message
                self._refuse(spoilt, device, answer, item.msg_id, mistake)
                continue
            try:
                row = self._row(device, item)
            except ContractError as error:
                self._refuse(_alone(message, item), device, answer, item.msg_id, error)
                continue
            self._keep(device_id, row, answer)

    def _pay(self, device: Known, readings: int, size: int) -> None:
        """One was paid for when the message was let in. `size` in bytes, unpacked."""
        if self._budgets and (readings > 1 or size > READING_BYTES):
            self._budgets.charge(device, max(readings, -(-size // READING_BYTES)) - 1, self.tab)

    def _usual(self, device: Known, body: bytes) -> list[Row]:
        """Readings of a usual message; none where it must be looked at with more care."""
        if device.clock is not Clock.RIGHT or device.device_type_pk not in self._quick:
            return []
        pk, quick = self._quick[device.device_type_pk]
        found = quick.read(body)
        for _, ts, _ in found:
            if not self._oldest <= ts <= self._suspect:
                return []
        received = self._received
        return [Row(device.pk, ts, msg_id, received, pk, metrics, None, 0) for msg_id, ts, metrics in found]

    def _keep(self, device_id: str, row: Row, answer: str) -> None:
        self.rows.append(row)
        newest = self.outcome.newest.get(device_id)
        if newest is None or row.ts >= newest.ts:
            self.outcome.newest[device_id] = row
        if answer:
            settled = self.outcome.settled.get(answer)
            if settled is None:
                self.outcome.settled[answer] = contract.Settled([row.msg_id], [])
            else:
                settled.stored.append(row.msg_id)

    def _row(self, device: Known, message: payload.Message) -> Row:
        schema = self._schemas.get((device.device_type_pk, message.schema_version))
        if schema is None:
            raise ContractError("schema_version", f"version {message.schema_version} is not known", "$.schema_version")
        ts = message.ts
        usual = self._oldest <= ts <= self._suspect and device.clock is Clock.RIGHT
        flags = 0 if usual else self._flags(device, ts)
        metrics, extra = schema.pack(message.values)
        return Row(device.pk, ts, message.msg_id, self._received, schema.pk, metrics, extra, flags)

    def _flags(self, device: Known, ts: datetime) -> int:
        """What is remarkable about a reading's time. Raises `ContractError`: ts_ahead, ts_old."""
        late = self._received - ts
        if skew.tells(late, device.clock):
            self.skews[device] = late
        if ts > self._received + AHEAD_REFUSED:
            raise ContractError("ts_ahead", f"more than a day ahead: {skew.words(late)}", "$.ts")
        if ts < self._oldest:
            raise ContractError("ts_old", f"of a day (UTC) more than {settings.HOT_DAYS} days ago", "$.ts")
        if device.clock is Clock.BEHIND and self.skews.get(device) is None:
            return int(Flag.CLOCK_SUSPECT)
        return int(Flag.CLOCK_SUSPECT) if ts > self._suspect else 0

    def _refuse(
        self, message: Incoming, device: Known | None, answer: str, msg_id: UUID | None, error: ContractError
    ) -> None:
        """`answer`: the topic on which its device hears of it, or nothing."""
        pk = device.pk if device else None
        self.outcome.refused.append(Refused(message, error.reason, error.detail, error.path, pk))
        self.outcome.refused_at.append(self._place)
        if answer and msg_id:
            settled = self.outcome.settled.setdefault(answer, contract.Settled([], []))
            settled.refused.append(contract.Refusal(msg_id, error.reason))

    def _flood(self, message: Incoming, topic: Topic | ContractError, device: Known, budgets: floods.Floods) -> None:
        """Not taken, and its device is not told: it comes again. All are counted, a sample is kept.

        Heard it was nevertheless: a device in debt is not silent.
        """
        self.outcome.flooded += 1
        if isinstance(topic, Topic) and device.pk not in self.heard:
            with suppress(ContractError):
                registry.check(topic, {device.device_id: device}, None)
                self.heard.add(device.pk)
        if budgets.is_sample(device, self.tab):
            self.samples.append(Refused(message, "flood", "Over its budget: not taken.", device_pk=device.pk))


def _alone(message: Incoming, item: payload.Message) -> Incoming:
    """One envelope of an array as a message of its own, so that a dead letter holds only what was refused.

    The message itself where JSON cannot say what was in the envelope.
    """
    envelope = contract.Envelope(
        item.msg_id, item.ts.isoformat(timespec="milliseconds"), item.schema_version, item.values
    )
    try:
        return _with(message, msgspec.json.encode(envelope))
    except (ValueError, OverflowError, RecursionError):
        return message


def _with(message: Incoming, body: bytes) -> Incoming:
    return Incoming(message.topic, body, message.qos, message.retained)
