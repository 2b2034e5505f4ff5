"""The device's decisions as tables: no clock, no network."""

import json
from dataclasses import replace
from random import Random
from uuid import UUID

import pytest

from agent import instruments
from agent.boot import Boot
from agent.device import Device, status, step
from agent.messages import (
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Forget,
    Message,
    Publish,
    Received,
    Remember,
    RememberSession,
    Stopping,
    Tick,
)
from agent.rotation_messages import KeepCertificate, Log, MakeRequest, Requested, SendRequest
from agent.term import Term
from devices import contract
from devices.contract import CertificateProof, Command, CommandAck, Refusal, Settled, State, Status

NOW = 1_760_000_000.0
PROOF = CertificateProof("ab12", "c2ln")
ONE, TWO = UUID(int=1), UUID(int=2)


def device(**changes: object) -> Device:
    made = Device(
        tenant="acme",
        device_type="pump",
        device_id="d-1",
        boot=Boot(1_759_999_999_000, 7),
        instrument=instruments.make("pump", Random(1)),
        seed="1/serial",
        interval=10,
        next_reading=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def effects(state: Device, message: Message, now: float = NOW) -> list[object]:
    return list(step(state, message, now)[1])


def test_each_attempt_to_connect_is_a_new_session_kept_before_use() -> None:
    state, first = step(device(session=41), Connecting(), NOW)
    assert first == (RememberSession(42),)
    state, second = step(state, Connecting(), NOW)
    assert second == (RememberSession(43),)
    assert not state.online


def test_a_birth_says_who_runs_what_and_proves_its_certificate() -> None:
    state, (birth,) = step(device(session=3), Connected(PROOF), NOW)
    assert state.online
    assert isinstance(birth, Publish)
    assert (birth.topic, birth.qos, birth.retain) == ("/acme/pump/d-1/status", 1, True)
    word = contract.decode(birth.payload, Status)
    assert word.state is State.ONLINE
    assert (word.session, word.boot_id, word.ts) == (3, state.boot.boot_id, 1_760_000_000_000)
    assert (word.firmware_version, word.certificate) == ("1.0.0", PROOF)
    assert word.agent.startswith("fleetportal-agent/")


def test_a_will_names_its_session_and_the_time_of_the_connect() -> None:
    will = status(device(session=3), State.OFFLINE, NOW)
    word = contract.decode(will.payload, Status)
    assert (word.state, word.session, word.ts, word.certificate) == (State.OFFLINE, 3, 1_760_000_000_000, None)
    assert (will.qos, will.retain) == (1, True)


def test_a_farewell_is_said_only_while_online() -> None:
    (farewell,) = effects(device(online=True, session=3), Stopping())
    assert isinstance(farewell, Publish)
    assert contract.decode(farewell.payload, Status).state is State.OFFLINE
    assert effects(device(), Stopping()) == []


@pytest.mark.parametrize("online", [True, False])
def test_readings_are_made_when_due_and_kept_online_or_not(online: bool) -> None:
    state, (kept,) = step(device(online=online), Tick(), NOW)
    assert isinstance(kept, Remember)
    assert kept.envelope.msg_id == state.boot.msg_id(0)
    assert kept.envelope.ts == 1_760_000_000_000
    assert "flow_lpm" in kept.envelope.values
    assert step(state, Tick(), NOW + 9.9) == (state, ())
    (later,) = effects(state, Tick(), NOW + 10)
    assert isinstance(later, Remember)
    assert later.envelope.msg_id == state.boot.msg_id(1)


@pytest.mark.parametrize(
    ("due", "now", "made", "next_due"),
    [
        (NOW, NOW + 0.3, True, NOW + 10),  # a late tick keeps the phase
        (NOW, NOW + 3600, True, NOW + 3610),  # after a sleep it begins anew instead of catching up
        (NOW, NOW - 5, False, NOW),
        (NOW, NOW - 11, True, NOW - 1),  # the clock was set back
    ],
)
def test_the_next_reading_keeps_its_phase(due: float, now: float, made: bool, next_due: float) -> None:
    state, kept = step(device(next_reading=due), Tick(), now)
    assert (bool(kept), state.next_reading) == (made, next_due)


def test_the_same_seed_and_the_same_ticks_make_the_same_readings() -> None:
    def story() -> list[object]:
        told: list[object] = []
        state = device()
        for second in range(0, 600, 5):
            state, said = step(state, Tick(), NOW + second)
            told += said
        return told

    assert story() == story()


def test_settled_readings_are_forgotten_stored_and_refused_alike() -> None:
    payload = contract.encode(Settled([ONE], [Refusal(TWO, "out_of_range")]))
    forget, complaint = effects(device(), Received("/acme/pump/d-1/telemetry/stored", payload))
    assert forget == Forget((ONE, TWO))
    assert isinstance(complaint, Log)
    assert "out_of_range" in complaint.text


def test_an_unknown_command_is_rejected_as_unsupported() -> None:
    payload = contract.encode(Command(ONE, 0, 0, 1, "dance"))
    (answer,) = effects(device(online=True), Received("/acme/pump/d-1/cmd", payload))
    assert isinstance(answer, Publish)
    assert answer.topic == "/acme/pump/d-1/cmd/ack"
    assert contract.decode(answer.payload, CommandAck) == CommandAck(ONE, "rejected", "unsupported")


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("/acme/pump/d-1/telemetry/stored", b"{"),
        ("/acme/pump/d-1/telemetry/stored", b'{"stored": ["no uuid"]}'),
        ("/acme/pump/d-1/telemetry/stored", b"\xff" * (contract.MAX_PAYLOAD_BYTES + 1)),
        ("/acme/pump/d-1/cmd", b"[]"),
        ("/acme/pump/d-1/ota", b"{}"),
        ("/acme/pump/d-1/certificate/renew", b"{}"),
        ("/acme/pump/d-1/certificate/renew", b'{"serial": "XYZ", "not_after": 0}'),
        ("/acme/pump/d-1/certificate/issued", b'{"certificate": 1}'),
        ("/acme/pump/d-1/certificate/csr", b""),
        ("/acme/pump/d-1/nonsense", b"{}"),
        ("", b""),
    ],
)
def test_bad_and_unknown_messages_are_logged_and_change_nothing(topic: str, payload: bytes) -> None:
    state = device(online=True)
    after, (log,) = step(state, Received(topic, payload), NOW)
    assert after == state
    assert isinstance(log, Log)


def test_dropped_readings_are_reported_once_online_and_at_most_once_a_minute() -> None:
    state, said = step(device(next_reading=NOW + 5), Dropped(12), NOW)
    assert said == ()
    assert effects(state, Tick()) == []
    state, _ = step(state, Connected(PROOF), NOW)
    state, (event,) = step(state, Tick(), NOW)
    assert isinstance(event, Publish)
    assert event.topic == "/acme/pump/d-1/event"
    told = json.loads(event.payload)
    assert (told["kind"], told["dropped"]) == ("outbox_dropped", 12)
    state, _ = step(state, Dropped(15), NOW)
    state = replace(state, next_reading=NOW + 62)  # within the interval of the ticks below
    assert not any(isinstance(said, Publish) for said in effects(state, Tick(), NOW + 59))
    assert any(isinstance(said, Publish) for said in effects(state, Tick(), NOW + 60))


def test_a_device_that_lost_its_line_is_offline() -> None:
    assert not step(device(online=True), Disconnected(), NOW)[0].online


def test_the_portal_asks_and_issues_and_the_device_does_its_part() -> None:
    state, _ = step(device(), Connected(PROOF, Term("ab12", NOW + 1000)), NOW)
    ask = contract.encode(contract.RenewCertificate("ab12", 0))
    state, said = step(state, Received("/acme/pump/d-1/certificate/renew", ask), NOW)
    assert said == (MakeRequest(),)
    state, said = step(state, Requested("csr", online=True), NOW)
    assert said == (SendRequest("csr"),)
    issued = contract.IssuedCertificate("leaf", "chain")
    state, said = step(state, Received("/acme/pump/d-1/certificate/issued", contract.encode(issued)), NOW)
    assert said == (KeepCertificate(issued),)


def test_unasked_it_renews_when_due_and_online_only() -> None:
    state, _ = step(device(next_reading=NOW + 9), Connected(PROOF, Term("ab12", NOW + 5)), NOW)
    assert step(state, Tick(), NOW + 4.9) == (state, ())
    assert effects(replace(state, online=False), Tick(), NOW + 5) == []
    assert effects(state, Tick(), NOW + 5) == [MakeRequest()]


def test_the_birth_comes_before_an_open_request_is_repeated() -> None:
    state, _ = step(device(), Requested("csr", online=False), NOW)
    birth, request = effects(state, Connected(PROOF, Term("ab12", NOW + 5)))
    assert isinstance(birth, Publish)
    assert request == SendRequest("csr")
