"""What a device decides: `step(state, message, now)` answers with a new state and effects. Pure; `link.py` acts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from agent import rotation, rotation_messages, update, update_messages
from agent.boot import Boot
from agent.instruments import Instrument
from agent.messages import (
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Effect,
    Forget,
    Message,
    PoweredOn,
    Publish,
    Received,
    Remember,
    RememberSession,
    Stopping,
    Tick,
)
from agent.rotation import IDLE, Rotation
from agent.rotation_messages import Accepted, Asked, Due, InUse, Issued, Log
from agent.update_messages import Booted, Heard, OfferReceived, Offline, Online
from agent.update_state import FACTORY_VERSION, Update
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
    firmware_version: str = FACTORY_VERSION
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
    rotation: Rotation = IDLE
    update: Update = Update()  # noqa: RUF009 - frozen

    def topic(self, channel: str) -> str:
        """This device's topic for a channel of the contract."""
        return str(Topic(self.tenant, self.device_type, self.device_id, channel))


Step = tuple[Device, tuple[Effect, ...]]


def step(state: Device, message: Message, now: float) -> Step:  # noqa: C901, PLR0911 - one case a message
    """The device after `message` at `now` (epoch seconds), and what it wants done, in order. Raises nothing."""
    match message:
        case Tick():
            return _tick(state, now)
        case PoweredOn(boot, slot, version, trial, failed):
            state = replace(state, boot=boot, firmware_version=version, made=0, online=False)
            return _update(state, Booted(slot, version, boot.boot_id, trial, failed), now)
        case Connecting():
            state = replace(state, session=state.session + 1, online=False)
            return state, (RememberSession(state.session),)
        case Connected(certificate, term):
            birth = status(state, State.ONLINE, now, certificate)
            # what became of an update goes first: it says why a birth may be another version's
            state, reports = _update(replace(state, online=True), Online(), now)
            state, effects = _rotate(state, InUse(term), now)
            return state, (*reports, birth, *effects)
        case Disconnected():
            return _update(replace(state, online=False), Offline(), now)
        case Accepted():
            state, effects = _rotate(state, message, now)
            state, more = _update(state, Heard(), now)
            return state, (*effects, *more)
        case Stopping():
            goodbye = (status(state, State.OFFLINE, now),) if state.online else ()
            return replace(state, online=False), goodbye
        case Dropped(total):
            return replace(state, dropped=total), ()
        case Received(topic, payload):
            return _received(state, topic, payload, now)
        case message if isinstance(message, rotation_messages.Message):
            return _rotate(state, message, now)
        case _:
            return _update(state, message, now)


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
    if state.rotation.due <= now and state.online:
        state, more = _rotate(state, Due(), now)
        effects += more
    if update.is_due(state.update, now):
        state, moves = _update(state, update_messages.Due(), now)
        effects += moves
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


def _received(state: Device, topic: str, payload: bytes, now: float) -> Step:
    try:
        return HANDLERS[Topic.parse(topic).channel](state, payload, now)
    except KeyError:
        return state, (Log(logging.DEBUG, f"nothing listens to {topic}"),)
    except ContractError as error:
        return state, (Log(logging.WARNING, f"bad message on {topic[:200]}: {error}"),)


def _rotate(state: Device, message: rotation_messages.Message, now: float) -> Step:
    known, effects = rotation.step(state.rotation, message, now)
    return replace(state, rotation=known), effects


def _update(state: Device, message: update_messages.Message, now: float) -> Step:
    known, effects = update.step(state.update, message, now)
    return (state if known is state.update else replace(state, update=known)), effects


def _offered(state: Device, payload: bytes, now: float) -> Step:
    return _update(state, OfferReceived(contract.decode(payload, contract.Offer)), now)


def _renew(state: Device, payload: bytes, now: float) -> Step:
    return _rotate(state, Asked(contract.decode(payload, contract.RenewCertificate).serial), now)


def _issued(state: Device, payload: bytes, now: float) -> Step:
    return _rotate(state, Issued(contract.decode(payload, contract.IssuedCertificate)), now)


def _settled(state: Device, payload: bytes, _: float) -> Step:
    settled = contract.decode(payload, contract.Settled)
    complaints = [
        Log(logging.WARNING, f"{refused.msg_id} was refused: {refused.reason}") for refused in settled.refused
    ]
    ids = (*settled.stored, *(refused.msg_id for refused in settled.refused))
    return state, (Forget(ids), *complaints)


def _command(state: Device, payload: bytes, _: float) -> Step:
    command = contract.decode(payload, contract.Command)
    answer = contract.CommandAck(command.msg_id, "rejected", "unsupported")
    return state, (Publish(state.topic("cmd/ack"), contract.encode(answer)),)


HANDLERS: dict[str, Callable[[Device, bytes, float], Step]] = {
    contract.STORED: _settled,
    contract.COMMAND: _command,
    contract.OTA: _offered,
    contract.CERTIFICATE_RENEW: _renew,
    contract.CERTIFICATE_ISSUED: _issued,
}
"""What the device listens to, by channel."""


def _milliseconds(now: float) -> int:
    return int(now * 1000)
