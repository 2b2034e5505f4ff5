"""From messages to stored readings, a batch at a time, in one transaction. The MQTT porter of this room."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from devices import contract, presence, registry
from devices.contract import ContractError, Topic
from devices.registry import Incoming, Known, Refused
from telemetry import deadletters, payload, schemas
from telemetry.models.reading import Flag
from telemetry.store import Row, store

AHEAD_REFUSED = timedelta(days=1)
AHEAD_SUSPECT = timedelta(minutes=1)


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    stored: int = 0
    """New readings."""
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)
    settled: dict[Topic, contract.Settled] = field(default_factory=dict)
    """Per device, on its `telemetry/stored` topic: answers to what came at QoS 1."""
    newest: dict[str, Row] = field(default_factory=dict)
    """The newest reading of each device in the batch, for those who watch."""


def store_batch(messages: list[Incoming]) -> Outcome:
    """Decode, check and store; returns after the commit. One bad message never rejects its neighbours.

    Raises django.db.Error when the database is away: the caller keeps the messages and comes again.
    """
    batch = _Batch(timezone.now())
    with transaction.atomic():
        topics = [_parse(message) for message in messages]
        known = registry.look_up(t.device_id for t in topics if isinstance(t, Topic))
        batch.schemas = schemas.of_types(device.device_type_pk for device in known.values())
        for message, topic in zip(messages, topics, strict=True):
            batch.take(message, topic, known)
        if batch.rows:
            batch.outcome.stored = store(batch.rows)
            batch.outcome.duplicates = len(batch.rows) - batch.outcome.stored
            presence.seen((row.device_pk for row in batch.rows), batch.now)
        deadletters.keep(batch.outcome.refused, batch.now)
    return batch.outcome


def _parse(message: Incoming) -> Topic | ContractError:
    try:
        return Topic.parse(message.topic)
    except ContractError as error:
        return error


class _Batch:
    """The working state of one batch."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.outcome = Outcome()
        self.rows: list[Row] = []
        self.schemas: dict[tuple[int, int], schemas.Compiled] = {}

    def take(self, message: Incoming, topic: Topic | ContractError, known: dict[str, Known]) -> None:
        """Turn one message into rows and refusals."""
        device: Known | None = None
        try:
            if isinstance(topic, ContractError):
                raise topic
            device = known.get(topic.device_id)
            device = registry.check(topic, known)
        except ContractError as error:
            self._refuse(message, device, None, None, error)
            return
        answer = Topic(topic.tenant, topic.device_type, topic.device_id, contract.STORED)
        settle = answer if message.qos else None
        for item in payload.decode(message.payload):
            if isinstance(item, payload.Mistake):
                mistake = ContractError(item.reason, item.detail, item.path)
                spoilt = replace(message, payload=item.alone) if item.alone else message
                self._refuse(spoilt, device, settle, item.msg_id, mistake)
                continue
            try:
                row = self._row(device, item)
            except ContractError as error:
                self._refuse(_alone(message, item), device, settle, item.msg_id, error)
                continue
            self.rows.append(row)
            if settle:
                self._settlement(settle).stored.append(item.msg_id)
            newest = self.outcome.newest.get(device.device_id)
            if newest is None or row.ts >= newest.ts:
                self.outcome.newest[device.device_id] = row

    def _row(self, device: Known, message: payload.Message) -> Row:
        schema = self.schemas.get((device.device_type_pk, message.schema_version))
        if schema is None:
            raise ContractError("schema_version", f"version {message.schema_version} is not known", "$.schema_version")
        ahead = message.ts - self.now
        if ahead > AHEAD_REFUSED:
            raise ContractError("ts_ahead", "more than a day ahead", "$.ts")
        if -ahead > timedelta(days=settings.HOT_DAYS):
            raise ContractError("ts_old", f"older than {settings.HOT_DAYS} days", "$.ts")
        flags = Flag.CLOCK_SUSPECT if ahead > AHEAD_SUSPECT else 0
        metrics, extra = schema.pack(message.values)
        return Row(device.pk, message.ts, message.msg_id, self.now, schema.pk, metrics, extra, int(flags))

    def _refuse(
        self, message: Incoming, device: Known | None, settle: Topic | None, msg_id: UUID | None, error: ContractError
    ) -> None:
        pk = device.pk if device else None
        self.outcome.refused.append(Refused(message, error.reason, error.detail, error.path, pk))
        if settle and msg_id:
            self._settlement(settle).refused.append(contract.Refusal(msg_id, error.reason))

    def _settlement(self, topic: Topic) -> contract.Settled:
        return self.outcome.settled.setdefault(topic, contract.Settled([], []))


def _alone(message: Incoming, item: payload.Message) -> Incoming:
    """One envelope of an array as a message of its own, so that a dead letter holds only what was refused."""
    envelope = contract.Envelope(
        item.msg_id, item.ts.isoformat(timespec="milliseconds"), item.schema_version, item.values
    )
    return replace(message, payload=msgspec.json.encode(envelope))
