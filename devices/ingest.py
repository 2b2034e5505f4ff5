"""What devices say about themselves: births, wills, events, answers. The MQTT porter of this room."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from devices import certificates, clocks, contract, nudges, pki, presence, registry, renewals
from devices.errors import CertificateError
from devices.models import Device, Event
from devices.registry import Incoming, Known, Refused
from devices.skew import Clock, judge

MAX_EVENT_BYTES = 16 * 1024


def store_batch(messages: list[Incoming]) -> tuple[list[Refused], set[str]]:
    """Take in a batch in order. Returns what was refused, and the device ids whose presence changed.

    Runs inside the caller's transaction. One bad message never rejects its neighbours.
    """
    batch = _Batch(timezone.now())
    refused: list[Refused] = []
    trespasses = registry.Trespasses()
    topics = [_parse(message) for message in messages]
    known = registry.look_up(t.device_id for t in topics if isinstance(t, contract.Topic))
    batch.prepare(messages, topics, known)
    for message, topic in zip(messages, topics, strict=True):
        device = None
        try:
            if isinstance(topic, contract.ContractError):
                raise topic
            device = known.get(topic.device_id)
            _take(message, topic, registry.check(topic, known, trespasses), batch)
        except contract.ContractError as error:
            pk = device.pk if device else None
            if isinstance(error.__cause__, CertificateError):
                certificates.report(error.__cause__, pk)
            refused.append(Refused(message, error.reason, error.detail, error.path, pk))
    Event.objects.bulk_create(batch.events)
    clocks.told(batch.skews)
    trespasses.tell()
    return refused, batch.changed


_Parsed = contract.Topic | contract.ContractError


@dataclass(frozen=True, slots=True)
class _Batch:
    """What comes of a batch."""

    now: datetime
    changed: set[str] = field(default_factory=set)
    """Device ids whose presence changed."""
    skews: dict[Known, timedelta] = field(default_factory=dict)
    """Clocks that were seen to be wrong, or no longer."""
    events: list[Event] = field(default_factory=list)
    """What births and wills leave: saved together."""
    claimed: certificates.Claimed = field(default_factory=dict)
    """The certificates that births name."""
    nudged: set[int] = field(default_factory=set)
    """Devices to which something is to be said when they come online."""

    def prepare(self, messages: list[Incoming], topics: list[_Parsed], known: dict[str, Known]) -> None:
        """Lock and read for all births at once what each would ask for itself: ten thousand may come back together."""
        statuses = [
            (known[topic.device_id].pk, message.payload)
            for message, topic in zip(messages, topics, strict=True)
            if isinstance(topic, contract.Topic) and topic.channel == contract.STATUS and topic.device_id in known
        ]
        if statuses:
            presence.lock(pk for pk, _ in statuses)
            births = [(pk, status) for pk, payload in statuses if (status := _birth(payload)) is not None]
            self.claimed.update(certificates.claimed(births))
            self.nudged.update(renewals.open_among(pk for pk, _ in births))


def _birth(payload: bytes) -> contract.Status | None:
    try:
        status = contract.decode(payload, contract.Status)
    except (contract.ContractError, RecursionError):
        return None  # its turn will come, and its refusal
    return status if status.state is contract.State.ONLINE else None


def _parse(message: Incoming) -> _Parsed:
    try:
        if contract.shadow_device(message.topic) is not None:
            raise contract.ContractError("no_shadow", "this portal keeps no shadows yet", "topic")
        return contract.Topic.parse(message.topic)
    except contract.ContractError as error:
        return error


def _take(message: Incoming, topic: contract.Topic, device: Known, batch: _Batch) -> None:
    if not message.payload:
        return  # an empty retained payload deletes the retained one; it says nothing
    if len(message.payload) > contract.MAX_PAYLOAD_BYTES:
        raise contract.ContractError("too_large", f"{len(message.payload)} bytes")
    told = len(batch.events)
    try:
        # A savepoint: a row the database refuses must not take the neighbours' rows with it.
        with transaction.atomic():
            _HANDLERS[topic.channel](message, device, batch)
    except (DataError, IntegrityError, RecursionError) as error:
        del batch.events[told:]
        raise contract.ContractError("unstorable", str(error).partition("\n")[0]) from error


def _status(message: Incoming, device: Known, batch: _Batch) -> None:
    status = contract.decode(message.payload, contract.Status)
    late = batch.now - contract.timestamp(status.ts)
    if status.state is contract.State.OFFLINE:
        if event := presence.will(device, status, batch.now):
            batch.changed.add(device.device_id)
            batch.events.append(event)
        return
    shown = clocks.of_birth(late, retained=message.retained)
    if event := presence.birth(device, status, batch.now, shown, batch.claimed):
        batch.changed.add(device.device_id)
        batch.events.append(event)
        if shown is not None and (device in batch.skews or {judge(shown), device.clock} != {Clock.RIGHT}):
            batch.skews[device] = shown
        if device.pk in batch.nudged:
            nudges.at_birth(device, status)


def _event(message: Incoming, device: Known, _batch: _Batch) -> None:
    if len(message.payload) > MAX_EVENT_BYTES:  # events are evidence and stay for good
        raise contract.ContractError(
            "too_large", f"{len(message.payload)} bytes, an event has {MAX_EVENT_BYTES} at most"
        )
    event = contract.decode(message.payload, contract.DeviceEvent)
    detail = contract.decode(message.payload, dict[str, Any])  # what the struct does not name is judged only here
    for key in ("msg_id", "ts", "kind"):
        detail.pop(key, None)
    row = Event(
        at=contract.timestamp(event.ts),
        kind=f"reported.{event.kind}",
        tenant_id=Device.objects.values_list("tenant_id", flat=True).get(pk=device.pk),
        device_id=device.pk,
        actor=device.device_id,
        detail=detail,
        msg_id=event.msg_id,
    )
    Event.objects.bulk_create([row], ignore_conflicts=True)  # a resend carries the same msg_id


def _command_ack(message: Incoming, _device: Known, _batch: _Batch) -> None:
    ack = contract.decode(message.payload, contract.CommandAck)
    raise contract.ContractError("unknown_command", f"no command {ack.msg_id}", "$.msg_id")


def _certificate_request(message: Incoming, device: Known, batch: _Batch) -> None:
    try:
        request = pki.read_request(message.payload)
        certificate = renewals.renew(device.pk, request, batch.now)
    except pki.RequestRefused as error:
        raise contract.ContractError("csr_refused", str(error)) from error
    except CertificateError as error:
        raise contract.ContractError(error.code, error.detail) from error
    issued = contract.IssuedCertificate(certificate.pem, renewals.chain(certificate))
    transaction.on_commit(lambda: nudges.tell(device, contract.CERTIFICATE_ISSUED, issued))


def _not_from_a_device(_message: Incoming, _device: Known, _batch: _Batch) -> None:
    raise contract.ContractError("direction", "devices do not publish on this channel", "topic")


_HANDLERS: dict[str, Callable[[Incoming, Known, _Batch], None]] = {
    channel.name: _not_from_a_device for channel in contract.CHANNELS.values()
} | {
    contract.STATUS: _status,
    contract.EVENT: _event,
    contract.COMMAND_ACK: _command_ack,
    contract.CERTIFICATE_REQUEST: _certificate_request,
}
