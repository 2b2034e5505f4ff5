"""What a device decides: `step(state, message, now)` answers with a new state and effects. Pure; `link.py` acts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from uuid import UUID

from agent.boot import Boot
from agent.instruments import Instrument
from devices import contract
from devices.contract import CertificateProof, ContractError, Envelope, State, Status, Topic

AGENT = "fleetportal-agent/0.1.0"
SCHEMA_VERSION = 1
DROP_REPORT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Device:
    """Everything a device knows. `seed` makes its readings repeatable."""

    tenant: str
    device_type: str
    device_id: str
    boot: Boot
    instrument: Instrument
    seed: str
    interval: float = 60.0
    """Seconds between readings."""
    firmware_version: str = "1.0.0"
    session: int = 0
    """Connects so far, over restarts too."""
    online: bool = False
    made: int = 0
    """Message ids made since boot."""
    next_reading: float = 0.0
    dropped: int = 0
    """Readings the outbox had to drop, over restarts too."""
    dropped_reported: int = 0
    next_drop_report: float = 0.0

    def topic(self, channel: str) -> str:
        """This device's topic for a channel of the contract."""
        return str(Topic(self.tenant, self.device_type, self.device_id, channel))


# --- what happens to a device ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """The link is about to connect: a new session."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the session and the subscriptions; the proof is for this session."""

    certificate: CertificateProof


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


Message = Tick | Connecting | Connected | Disconnected | Stopping | Received | Dropped


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


@dataclass(frozen=True, slots=True)
class Log:
    """Tell whoever operates the device."""

    level: int
    text: str


Effect = Publish | Remember | Forget | RememberSession | Log
Step = tuple[Device, tuple[Effect, ...]]


# --- decisions ------------------------------------------------------------------------------------------------------


def step(state: Device, message: Message, now: float) -> Step:  # noqa: PLR0911 - one line a message
    """The device after `message` at `now` (epoch seconds), and what it wants done, in order. Raises nothing."""
    match message:
        case Tick():
            return _tick(state, now)
        case Connecting():
            state = replace(state, session=state.session + 1, online=False)
            return state, (RememberSession(state.session),)
        case Connected(certificate):
            return replace(state, online=True), (status(state, State.ONLINE, now, certificate),)
        case Disconnected():
            return replace(state, online=False), ()
        case Stopping():
            goodbye = (status(state, State.OFFLINE, now),) if state.online else ()
            return replace(state, online=False), goodbye
        case Dropped(total):
            return replace(state, dropped=total), ()
        case Received(topic, payload):
            return _received(state, topic, payload)


def status(state: Device, word: State, now: float, certificate: CertificateProof | None = None) -> Publish:
    """The retained birth, farewell or last will; a will is made with the time of its connect."""
    payload = Status(
        state=word,
        session=state.session,
        boot_id=state.boot.boot_id,
        ts=_milliseconds(now),
        firmware_version=state.firmware_version,
        agent=AGENT,
        certificate=certificate,
    )
    return Publish(state.topic("status"), contract.encode(payload), retain=True)


def _tick(state: Device, now: float) -> Step:
    effects: list[Effect] = []
    if state.next_reading <= now or state.next_reading - now > state.interval:  # the second: the clock was set back
        state, envelope = _reading(state, now)
        effects.append(Remember(envelope))
    if state.online and state.dropped > state.dropped_reported and state.next_drop_report <= now:
        state, event = _event(state, now, "outbox_dropped", dropped=state.dropped)
        state = replace(state, dropped_reported=state.dropped, next_drop_report=now + DROP_REPORT_SECONDS)
        effects.append(event)
    return state, tuple(effects)


def _reading(state: Device, now: float) -> tuple[Device, Envelope]:
    rng = Random(f"{state.seed}/{state.made}")  # noqa: S311 - a simulation has to be repeatable
    instrument, values = state.instrument.read(now, rng)
    envelope = Envelope(state.boot.msg_id(state.made), _milliseconds(now), SCHEMA_VERSION, dict(values))
    planned = state.next_reading + state.interval
    on_time = now < planned <= now + state.interval  # keeps its phase; after a sleep or a clock change it begins anew
    next_reading = planned if on_time else now + state.interval
    return replace(state, instrument=instrument, made=state.made + 1, next_reading=next_reading), envelope


def _event(state: Device, now: float, kind: str, **fields: int | str) -> tuple[Device, Publish]:
    event = {"msg_id": state.boot.msg_id(state.made), "ts": _milliseconds(now), "kind": kind, **fields}
    return replace(state, made=state.made + 1), Publish(state.topic("event"), contract.encode(event))


def _received(state: Device, topic: str, payload: bytes) -> Step:
    try:
        return HANDLERS[Topic.parse(topic).channel](state, payload)
    except KeyError:
        return state, (Log(logging.DEBUG, f"nothing listens to {topic}"),)
    except ContractError as error:
        return state, (Log(logging.WARNING, f"bad message on {topic[:200]}: {error}"),)


def _settled(state: Device, payload: bytes) -> Step:
    settled = contract.decode(payload, contract.Settled)
    complaints = [
        Log(logging.WARNING, f"{refused.msg_id} was refused: {refused.reason}") for refused in settled.refused
    ]
    ids = (*settled.stored, *(refused.msg_id for refused in settled.refused))
    return state, (Forget(ids), *complaints)


def _command(state: Device, payload: bytes) -> Step:
    command = contract.decode(payload, contract.Command)
    answer = contract.CommandAck(command.msg_id, "rejected", "unsupported")
    return state, (Publish(state.topic("cmd/ack"), contract.encode(answer)),)


HANDLERS: dict[str, Callable[[Device, bytes], Step]] = {"telemetry/stored": _settled, "cmd": _command}
"""What the device listens to, by channel."""


def _milliseconds(now: float) -> int:
    return int(now * 1000)
