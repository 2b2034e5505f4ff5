"""What happens to a device, and what it wants done: the words between `device.step` and `link.py`."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from agent import rotation_messages, update_messages
from agent.boot import Boot
from agent.term import UNKNOWN, Term
from devices.contract import CertificateProof, Envelope

# --- what happens to a device ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes."""


@dataclass(frozen=True, slots=True)
class PoweredOn:
    """A run begins, with what the bootloader chose (see `update_messages.Booted`)."""

    boot: Boot
    slot: str
    version: str
    trial: bool = False
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Connecting:
    """The link is about to connect: a new session."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the session and the subscriptions; the proof is for this session."""

    certificate: CertificateProof
    term: Term = UNKNOWN


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection, or the attempt at one, is over."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The device shuts down in good order."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the portal."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """The outbox was full; `total` readings were dropped since the device was made."""

    total: int


Message = (
    Tick
    | PoweredOn
    | Connecting
    | Connected
    | Disconnected
    | Stopping
    | Received
    | Dropped
    | rotation_messages.Message
    | update_messages.Message
)


# --- what a device wants done ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Send now, or never: only said while online."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Remember:
    """Put a reading into the outbox; it leaves from there until it is settled."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Forget:
    """These readings are settled."""

    msg_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class RememberSession:
    """Keep the session number, durably, before connecting with it."""

    session: int


Effect = Publish | Remember | Forget | RememberSession | rotation_messages.Effect | update_messages.Effect
