"""What devices say about themselves: births, wills, events, answers. The MQTT porter of this room."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from devices import certificates, contract, nudges, pki, presence, registry, renewals
from devices.errors import CertificateError
from devices.models import Device, Event
from devices.registry import Incoming, Known, Refused

MAX_EVENT_BYTES = 16 * 1024


def store_batch(messages: list[Incoming]) -> tuple[list[Refused], set[str]]:
    """Take in a batch in order. Returns what was refused, and the device ids whose presence changed.

    Runs inside the caller's transaction. One bad message never rejects its neighbours.
    """
    now = timezone.now()
    refused: list[Refused] = []
    changed: set[str] = set()
    topics = [_parse(message) for message in messages]
    known = registry.look_up(t.device_id for t in topics if isinstance(t, contract.Topic))
    presence.lock(
        known[topic.device_id].pk
        for topic in topics
        if isinstance(topic, contract.Topic) and topic.channel == contract.STATUS and topic.device_id in known
    )
    for message, topic in zip(messages, topics, strict=True):
        device = None
        try:
            if isinstance(topic, contract.ContractError):
                raise topic
            device = known.get(topic.device_id)
            _take(message, topic, registry.check(topic, known), now, changed)
        except contract.ContractError as error:
            pk = device.pk if device else None
            if isinstance(error.__cause__, CertificateError):
                certificates.report(error.__cause__, pk)
            refused.append(Refused(message, error.reason, error.detail, error.path, pk))
    return refused, changed


def _parse(message: Incoming) -> contract.Topic | contract.ContractError:
    try:
        if contract.shadow_device(message.topic) is not None:
            raise contract.ContractError("no_shadow", "this portal keeps no shadows yet", "topic")
        return contract.Topic.parse(message.topic)
    except contract.ContractError as error:
        return error


def _take(message: Incoming, topic: contract.Topic, device: Known, now: datetime, changed: set[str]) -> None:
    if not message.payload:
        return  # an empty retained payload deletes the retained one; it says nothing
    if len(message.payload) > contract.MAX_PAYLOAD_BYTES:
        raise contract.ContractError("too_large", f"{len(message.payload)} bytes")
    try:
        # A savepoint: a row the database refuses must not take the neighbours' rows with it.
        with transaction.atomic():
            _HANDLERS[topic.channel](message, device, now, changed)
    except (DataError, IntegrityError, RecursionError) as error:
        raise contract.ContractError("unstorable", str(error).partition("\n")[0]) from error


def _status(message: Incoming, device: Known, now: datetime, changed: set[str]) -> None:
    status = contract.decode(message.payload, contract.Status)
    contract.timestamp(status.ts)
    word = presence.birth if status.state is contract.State.ONLINE else presence.will
    if word(device, status, now):
        changed.add(device.device_id)
        if status.state is contract.State.ONLINE:
            nudges.at_birth(device, status)


def _event(message: Incoming, device: Known, _now: datetime, _changed: set[str]) -> None:
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


def _command_ack(message: Incoming, _device: Known, _now: datetime, _changed: set[str]) -> None:
    ack = contract.decode(message.payload, contract.CommandAck)
    raise contract.ContractError("unknown_command", f"no command {ack.msg_id}", "$.msg_id")


def _certificate_request(message: Incoming, device: Known, now: datetime, _changed: set[str]) -> None:
    try:
        request = pki.read_request(message.payload)
        certificate = renewals.renew(device.pk, request, now)
    except pki.RequestRefused as error:
        raise contract.ContractError("csr_refused", str(error)) from error
    except CertificateError as error:
        raise contract.ContractError(error.code, error.detail) from error
    issued = contract.IssuedCertificate(certificate.pem, renewals.chain(certificate))
    transaction.on_commit(lambda: nudges.tell(device, contract.CERTIFICATE_ISSUED, issued))


def _not_from_a_device(_message: Incoming, _device: Known, _now: datetime, _changed: set[str]) -> None:
    raise contract.ContractError("direction", "devices do not publish on this channel", "topic")


_HANDLERS: dict[str, Callable[[Incoming, Known, datetime, set[str]], None]] = {
    channel.name: _not_from_a_device for channel in contract.CHANNELS.values()
} | {
    contract.STATUS: _status,
    contract.EVENT: _event,
    contract.COMMAND_ACK: _command_ack,
    contract.CERTIFICATE_REQUEST: _certificate_request,
}
