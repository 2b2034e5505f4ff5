"""What devices and the portal say to each other over MQTT: every topic and payload, and nothing else spells them.

Pure: a device carries this file (and msgspec) as it is. `docs/mqtt.md` is generated from it by
`python -m devices.describe`. A field in the wild can never be renamed: devices that cannot change still send it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec

MAX_PAYLOAD_BYTES = 256 * 1024
"""Largest message, before and after decompression. Refused by size before parsing."""
MAX_WINDOW_BYTES = 8 * 1024 * 1024
"""How far back a zstd frame may refer: what RFC 8878 asks of every decoder. Levels up to 19 stay within it."""
MAX_ENVELOPES = 500
"""Most envelopes in one telemetry array."""
KEEPALIVE_SECONDS = 60

PART = r"[a-z0-9][a-z0-9_-]{0,62}"
_PART = re.compile(PART)
_TOPIC = re.compile(rf"/({PART})/({PART})/({PART})/(?:child/({PART})/)?([a-z_/]+)")
_SHADOW = re.compile(rf"\$aws/things/({PART})/shadow/(.+)")


class ContractError(ValueError):
    """A topic or payload breaks the contract. `reason` is a stable word, `path` points at the mistake (JSONPath)."""

    def __init__(self, reason: str, detail: str, path: str = "$") -> None:
        super().__init__(f"{detail} (at {path})")
        self.reason, self.detail, self.path = reason, detail, path


class Direction(StrEnum):
    """Who publishes on a channel."""

    FROM_DEVICE = "device → portal"
    TO_DEVICE = "portal → device"


class State(StrEnum):
    """What a birth (online) or last will (offline) claims."""

    ONLINE = "online"
    OFFLINE = "offline"


# --- payloads -------------------------------------------------------------------------------------------------------


Short = Annotated[str, msgspec.Meta(max_length=100)]
"""A word or version: bounded, so that no device can fill a column."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A counter kept by a device; JSON numbers are exact up to 2^53."""


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """One telemetry message. A resend repeats `msg_id` and `ts` exactly: together with the device they are its key."""

    msg_id: UUID
    ts: str | int
    """RFC 3339 with offset, or epoch milliseconds; kept to the millisecond."""
    schema_version: Annotated[int, msgspec.Meta(ge=1, le=32767)]
    values: dict[str, Any]


class Refusal(msgspec.Struct, frozen=True):
    """A message that was settled by refusing it; it sits in the dead letters with the same reason."""

    msg_id: UUID
    reason: str


class Settled(msgspec.Struct, frozen=True):
    """Answer to telemetry sent at QoS 1: drop both kinds from your buffer."""

    stored: list[UUID] = []
    refused: list[Refusal] = []


class CertificateProof(msgspec.Struct, frozen=True):
    """Which certificate this connection uses, proven by a signature with its key over `proof_statement`."""

    serial: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,40}$")]
    """Serial number, lower-case hex."""
    proof: Annotated[str, msgspec.Meta(max_length=1024)]
    """Base64 of an ECDSA (SHA-256) signature in DER, of an Ed25519 signature, or of RSA PKCS#1 v1.5 (SHA-256)."""


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Birth (`online`, retained) and last will (`offline`, retained; its `ts` is the time of the connect)."""

    state: State
    session: Count
    """Counts the device's connects, kept by the device: an `offline` older than the last birth is ignored."""
    boot_id: Short
    ts: str | int
    firmware_version: Short = ""
    agent: Short = ""
    certificate: CertificateProof | None = None
    rssi_dbm: Annotated[int, msgspec.Meta(ge=-200, le=50)] | None = None


class DeviceEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened on the device: `reboot` with reason, `battery`, `watchdog`, `log`. Extra fields stay."""

    msg_id: UUID
    ts: str | int
    kind: Short


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order to the device; `seq` grows per device, the signature covers the RFC 8785 form of the rest."""

    msg_id: UUID
    ts: str | int
    expires_at: str | int
    seq: Count
    name: Short
    args: dict[str, Any] = {}
    signature: str = ""


class CommandAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command: `accepted`, `succeeded`, `failed`, `rejected`."""

    msg_id: UUID
    state: Short
    detail: str = ""


class Signature(msgspec.Struct, frozen=True):
    """A detached signature over an artifact's manifest (firmware/signing.py)."""

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of the public key (DER, SubjectPublicKeyInfo), hex: which of the keys a device trusts made it."""
    signature: Annotated[str, msgspec.Meta(max_length=1024)]
    """Base64 of an ECDSA P-256 (SHA-256) signature in DER, or of an Ed25519 signature."""


class Image(msgspec.Struct, frozen=True):
    """The file to install."""

    file_name: Short
    size: Count
    """Bytes."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    url: str
    """Where to fetch it, with Range, for a short time. `GET /api/v1/updates/<update_id>` answers with a new one."""
    signatures: list[Signature]


class Preconditions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What must hold on the device before it downloads, and again before it installs."""

    battery_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    mains: bool = False
    free_bytes: Count = 0


class Permit(msgspec.Struct, frozen=True):
    """The portal's word that this device may go back: without it a device refuses an older version than it runs."""

    from_version: Short
    """The version to be left; the permit is good for nothing else."""
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[str, msgspec.Meta(max_length=1024)]
    """Base64, over `permit_statement` of firmware/signing.py."""


class OfferState(StrEnum):
    """What an offer says."""

    OPEN = "open"
    WITHDRAWN = "withdrawn"


class Offer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The open firmware offer; said again at each birth while it is open. `withdrawn`: stop, unless you install."""

    update_id: UUID
    attempt: Count
    state: OfferState
    version: Short = ""
    device_types: list[str] = []
    """Hardware it is made for."""
    min_version: Short = ""
    """Oldest version it may be installed over; empty: any."""
    image: Image | None = None
    """None in a withdrawn offer only."""
    preconditions: Preconditions = Preconditions()
    reboot_jitter_seconds: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 0
    """Reboot after a random part of this."""
    download_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    rollback: Permit | None = None


class ReportState(StrEnum):
    """How far a device is with an update, in its own words, in order; the last five are ends."""

    NOTIFIED = "notified"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    """Booted into the new version, and its self-check passed. The portal believes it after the verify time."""
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELED = "canceled"
    ROLLED_BACK = "rolled_back"


class UpdateReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a device says of its firmware update; `(update_id, attempt, seq)` orders reports."""

    update_id: UUID
    attempt: Count
    seq: Count
    state: Short
    """A word of `ReportState`; kept as text so that a newer device's word is refused by name, not as garbage."""
    firmware_version: Short
    boot_id: Short
    progress: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    reason_code: Short = ""
    """Before `installing` why it waits (`power`, `space`, `consent`), with an end why it ended."""


class RenewCertificate(msgspec.Struct, frozen=True):
    """Please make a new key and send a request for it. Said again until the new certificate was seen."""

    serial: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,40}$")]
    """Serial number of the certificate to replace; a device that has replaced it already need do nothing."""
    not_after: str | int
    """When that certificate expires."""


class IssuedCertificate(msgspec.Struct, frozen=True):
    """A new certificate for a CSR that came over MQTT."""

    certificate: str
    """PEM of the leaf."""
    chain: str
    """PEM of the issuing CA certificates, without the root."""


# --- channels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Channel:
    """One line of the contract's table."""

    name: str
    direction: Direction
    qos: str
    retained: bool
    room: str
    payload: Any
    """A msgspec struct, or None where the payload is not JSON (a PEM request) or comes with a later room."""
    summary: str
    child: bool = False
    """A gateway may publish it for its registered children, below `child/<child_id>/`."""


TELEMETRY, STORED, STATUS, EVENT = "telemetry", "telemetry/stored", "status", "event"
COMMAND, COMMAND_ACK, OTA, UPDATE_STATUS = "cmd", "cmd/ack", "ota", "update_status"
CERTIFICATE_RENEW, CERTIFICATE_REQUEST = "certificate/renew", "certificate/csr"
CERTIFICATE_ISSUED = "certificate/issued"
OPEN_IN_QUARANTINE = (STATUS, COMMAND, COMMAND_ACK)
"""All that is left to a quarantined device."""
SHARED = "$share/"
"""How the filter of a shared subscription begins."""
_BROKER_LOG = "$SYS/broker/log/"
"""Where Mosquitto publishes its own log, by type; readable on the portal's listener alone."""
BROKER_FIGURES = tuple(
    f"$SYS/broker/{name}"
    for name in (
        "store/messages/count",
        "retained messages/count",
        "store/messages/bytes",
        "publish/messages/dropped",
        "clients/connected",
    )
)
"""What Mosquitto counts: messages it keeps, retained ones of them, their bytes; dropped ones; connected clients."""

_IN, _OUT = Direction.FROM_DEVICE, Direction.TO_DEVICE
CHANNELS: dict[str, Channel] = {
    channel.name: channel
    for channel in (
        Channel(
            TELEMETRY, _IN, "0 or 1", False, "telemetry", Envelope, "One envelope, or an array of at most 500.", True
        ),
        Channel(STORED, _OUT, "1", False, "telemetry", Settled, "What is settled: drop it from your buffer."),
        Channel(STATUS, _IN, "1", True, "devices", Status, "Birth, and the last will.", True),
        Channel(
            EVENT,
            _IN,
            "1",
            False,
            "devices",
            DeviceEvent,
            "Reboot with reason, battery, watchdog, log excerpt.",
            True,
        ),
        Channel(COMMAND, _OUT, "1", False, "devices", Command, "A command, signed."),
        Channel(COMMAND_ACK, _IN, "1", False, "devices", CommandAck, "What became of a command."),
        Channel(OTA, _OUT, "1", False, "firmware", Offer, "The open firmware offer, or that it is withdrawn."),
        Channel(UPDATE_STATUS, _IN, "1", True, "firmware", UpdateReport, "Progress and end of a firmware update."),
        Channel(
            CERTIFICATE_RENEW,
            _OUT,
            "1",
            False,
            "devices",
            RenewCertificate,
            "Please make a new key and send a request.",
        ),
        Channel(CERTIFICATE_REQUEST, _IN, "1", False, "devices", None, "PKCS#10 request, PEM."),
        Channel(
            CERTIFICATE_ISSUED, _OUT, "1", False, "devices", IssuedCertificate, "The certificate for that request."
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A device's topic, taken apart. `str()` puts it together again."""

    tenant: str
    device_type: str
    device_id: str
    channel: str
    child: str = ""

    def __str__(self) -> str:
        child = f"child/{self.child}/" if self.child else ""
        return f"/{self.tenant}/{self.device_type}/{self.device_id}/{child}{self.channel}"

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Take a topic apart. Raises `ContractError` ("topic") for anything but a known channel of a device."""
        found = _TOPIC.fullmatch(text)
        if found is None or found[5] not in CHANNELS:
            raise ContractError("topic", f"not a topic of the contract: {text[:200]!r}", "topic")
        if found[4] and not CHANNELS[found[5]].child:
            raise ContractError("topic", f"a gateway cannot speak on {found[5]} for a child", "topic")
        return cls(found[1], found[2], found[3], found[5], found[4] or "")


def is_part(text: str) -> bool:
    """Can this text stand between two slashes of a topic (tenant, device type, device id)?"""
    return _PART.fullmatch(text) is not None


def shadow_device(text: str) -> str | None:
    """The device id of a shadow topic (`$aws/things/<device_id>/shadow/…`), or None for any other topic."""
    found = _SHADOW.fullmatch(text)
    return found[1] if found else None


# --- who subscribes to and may do what ------------------------------------------------------------------------------


def telemetry_filters(group: str) -> list[str]:
    """The shared subscriptions of the ingest slots. `group` is a secret: a device that knew it could join."""
    return [f"{SHARED}{group}//+/+/+/{TELEMETRY}", f"{SHARED}{group}//+/+/+/child/+/{TELEMETRY}"]


def control_filters() -> list[str]:
    """The plain subscriptions of the one control session: order is kept and retained messages arrive."""
    names = [c for c in CHANNELS.values() if c.direction is _IN and c.name != TELEMETRY]
    return (
        [f"/+/+/+/{c.name}" for c in names]
        + [f"/+/+/+/child/+/{c.name}" for c in names if c.child]
        + ["$aws/things/+/shadow/#"]
    )


def broker_log_filters() -> list[str]:
    """Notices and errors of the broker: who connected, who was refused. Not all: information is about its database."""
    return [f"{_BROKER_LOG}N", f"{_BROKER_LOG}E"]


def is_broker_log(topic: str) -> bool:
    """Is it a line of the broker's log, and no device that speaks?"""
    return topic.startswith(_BROKER_LOG)


def is_broker_figure(topic: str) -> bool:
    """Does the broker tell what it counts?"""
    return topic in BROKER_FIGURES


def device_filters(tenant: str, device_type: str, device_id: str) -> list[str]:
    """What a device subscribes to."""
    return [str(Topic(tenant, device_type, device_id, c.name)) for c in CHANNELS.values() if c.direction is _OUT]


def acl_patterns() -> list[str]:
    """Mosquitto ACL lines for all (`%u` is the certificate's CN): write one's own channels, read one's own answers."""
    writes = [c for c in CHANNELS.values() if c.direction is _IN]
    return (
        [f"pattern write /+/+/%u/{c.name}" for c in writes]
        + [f"pattern write /+/+/%u/child/+/{c.name}" for c in writes if c.child]
        + [f"pattern read /+/+/%u/{c.name}" for c in CHANNELS.values() if c.direction is _OUT]
        + ["pattern readwrite $aws/things/%u/shadow/#"]
    )


def quarantine_acl(device_id: str) -> list[str]:
    """Mosquitto ACL lines that leave a quarantined device only `status` and `cmd`."""
    closed = [c for c in CHANNELS.values() if c.name not in OPEN_IN_QUARANTINE]
    children = [f"topic deny /+/+/{device_id}/child/+/{c.name}" for c in CHANNELS.values() if c.child]
    return [
        f"user {device_id}",
        *(f"topic deny /+/+/{device_id}/{c.name}" for c in closed),
        *children,
        f"topic deny $aws/things/{device_id}/shadow/#",
    ]


def proof_statement(device_id: str, session: int, boot_id: str, serial: str) -> bytes:
    """The bytes a device signs with its certificate's key to prove which certificate a connection uses."""
    return f"{device_id}|{session}|{boot_id}|{serial}".encode()


# --- encoding -------------------------------------------------------------------------------------------------------

_ENCODER = msgspec.json.Encoder()
_MILLISECONDS = 1000


def encode(payload: Any) -> bytes:
    """JSON bytes of a payload struct."""
    return _ENCODER.encode(payload)


_Payload = TypeVar("_Payload")


def decode(payload: bytes, kind: type[_Payload]) -> _Payload:
    """Decode and check a JSON payload. Raises `ContractError` with a reason and a path to the mistake."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ContractError("too_large", f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")
    if b"\\u0000" in payload:
        raise ContractError("nul", "text with a NUL character")  # PostgreSQL text cannot hold it
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError("encoding", str(error)) from error


def convert(value: Any, kind: type[_Payload]) -> _Payload:
    """Check an already decoded value against a payload struct. Raises `ContractError` like `decode`."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: msgspec.ValidationError) -> ContractError:
    detail, _, path = str(error).partition(" - at `")
    return ContractError("field", detail, path.rstrip("`") or "$")


_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def timestamp(ts: str | int) -> datetime:
    """The moment a `ts` names, in UTC, cut to the millisecond. Raises `ContractError` ("timestamp")."""
    try:
        if isinstance(ts, int):
            return datetime.fromtimestamp(ts // _MILLISECONDS, UTC) + timedelta(milliseconds=ts % _MILLISECONDS)
        moment: datetime = msgspec.convert(ts, type=_Moment).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError, ValueError, OSError) as error:
        raise ContractError("timestamp", "RFC 3339 with offset, or epoch milliseconds", "$.ts") from error
    return moment.replace(microsecond=moment.microsecond // _MILLISECONDS * _MILLISECONDS)
