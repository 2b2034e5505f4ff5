"""A link against a real broker over mutual TLS. Conditions, not sleeps."""

import asyncio
import base64
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from zstandard import FRAME_HEADER

from agent.backoff import Backoff
from agent.client import end
from agent.faults import Faults, Luck
from agent.identity import Identity
from agent.link import Link
from devices.contract import Command, Topic, encode, proof_statement
from tests.agent.authority import Authority
from tests.agent.bench import Bench, Home, heard
from tests.agent.bench import run as at_work
from tests.agent.mosquitto import Mosquitto
from tests.agent.portal import Listener


@pytest.fixture
def resend() -> Backoff:
    """Repeat what is unsettled after half a second."""
    return Backoff(0.5, 1)


@pytest.fixture
def run(
    broker: Mosquitto, enrolled: Identity, authority: Authority, resend: Backoff
) -> Callable[[Callable[[Bench], Awaitable[None]]], None]:
    """Run a scenario with a live device that reads every 50 ms."""

    def runner(scenario: Callable[[Bench], Awaitable[None]]) -> None:
        async def whole() -> None:
            home = Home(enrolled.credentials.parent, broker, authority, Listener(broker.plain_port))
            async with heard(home.listener), home.switched_on(resend) as bench:
                await scenario(bench)

        asyncio.run(whole())

    return runner


Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


def test_a_birth_arrives_with_a_valid_proof_before_any_reading(run: Run, enrolled: Identity) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.copies)
        assert bench.listener.messages[0][0].channel == "status"
        birth = bench.listener.payloads("status")[0]
        assert (birth["state"], birth["session"]) == ("online", 1)
        certificate = x509.load_pem_x509_certificate(enrolled.enrolment.certificate.encode())
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        statement = proof_statement("d-1", 1, birth["boot_id"], f"{certificate.serial_number:x}")
        key.verify(base64.b64decode(birth["certificate"]["proof"]), statement, ec.ECDSA(hashes.SHA256()))

    run(scenario)


def test_settled_readings_leave_the_outbox_and_are_sent_once(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: len(bench.listener.stored) >= 20)
        await bench.until(lambda: bench.journal.outbox.depth() <= 2)
        assert len(bench.listener.copies) == len(bench.listener.stored)

    run(scenario)


def test_unsettled_readings_are_kept_and_repeated_byte_for_byte(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.listener.settles = False
        copies = bench.listener.copies
        await bench.listener.until(lambda: len(copies) >= 2 and copies.count(copies[0]) >= 3)
        first = copies[0]
        assert {(copy.ts, str(copy.values)) for copy in copies if copy.msg_id == first.msg_id} == {
            (first.ts, str(first.values))
        }
        made = bench.kept()
        assert {copy.msg_id for copy in copies} <= made
        bench.listener.settles = True
        await bench.listener.until(lambda: made <= bench.listener.stored.keys())
        await bench.until(lambda: bench.journal.outbox.depth() <= 2)

    run(scenario)


@pytest.mark.parametrize("resend", [Backoff(1000, 1000)])  # a new connection is reason enough
def test_a_killed_broker_costs_nothing(run: Run, broker: Mosquitto) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.stored)
        bench.listener.settles = False
        seen = len(bench.listener.copies)
        await bench.listener.until(lambda: len(bench.listener.copies) > seen)
        in_doubt = bench.listener.copies[-1]
        broker.kill()
        await bench.until(lambda: not bench.link.device.online)
        before = bench.link.device.made
        await bench.until(lambda: bench.link.device.made > before + 20)
        made = bench.kept()
        bench.listener.settles = True
        broker.start()
        await bench.listener.until(lambda: made <= bench.listener.stored.keys())
        assert bench.listener.stored[in_doubt.msg_id] == in_doubt
        sent = [payload for topic, payload, _ in bench.listener.messages if topic.channel == "telemetry"]
        assert any(payload.startswith(FRAME_HEADER) for payload in sent), "the backlog came in a frame"
        assert any(payload.startswith(b"{") for payload in sent), "a reading alone comes as it is"
        sessions = [status["session"] for status in bench.listener.payloads("status") if status["state"] == "online"]
        assert sessions[-1] > sessions[0]
        order = [copy.msg_id.bytes for copy in bench.listener.copies if copy.msg_id in made]
        firsts = list(dict.fromkeys(order))
        assert firsts == sorted(firsts)

    run(scenario)


def test_the_will_arrives_when_the_line_is_cut(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.payloads("status"))
        await bench.listener.cut("d-1")
        await bench.listener.until(lambda: bench.listener.payloads("status")[-1]["session"] > 1)
        first, will, *_ = bench.listener.payloads("status")
        assert (first["state"], will["state"]) == ("online", "offline")
        assert (will["session"], will["boot_id"]) == (first["session"], first["boot_id"])
        assert will["ts"] <= first["ts"]

    run(scenario)


def test_a_device_tells_the_time_by_its_own_clock(home: Home) -> None:
    luck = next(luck for n in range(100) if (luck := Luck(str(n), Faults(skew=7200))).skew < -3600)

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.copies)
        told = [bench.listener.payloads("status")[0]["ts"], bench.listener.copies[0].ts]
        assert all(abs(time.time() + luck.skew - ts / 1000) < 60 for ts in told)

    at_work(replace(home, luck=luck), scenario)


def test_a_good_stop_says_offline_and_returns(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.copies)
        bench.link.stop()
        await asyncio.wait_for(bench.life, 3)
        await bench.listener.until(lambda: bench.listener.payloads("status")[-1]["state"] == "offline")
        birth, farewell = bench.listener.payloads("status")
        assert farewell["session"] == birth["session"]
        assert farewell["ts"] > birth["ts"]

    run(scenario)


def test_a_command_is_answered(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.payloads("status"))
        order = Command(UUID(int=9), 0, 0, 1, "dance")
        await bench.listener.say("/acme/cold-logger/d-1/cmd", encode(order))
        await bench.listener.until(lambda: bench.listener.payloads("cmd/ack"))
        answer = bench.listener.payloads("cmd/ack")[0]
        assert (answer["msg_id"], answer["state"]) == (str(order.msg_id), "rejected")

    run(scenario)


def test_a_settlement_that_missed_the_device_waits_for_it(run: Run) -> None:
    async def scenario(bench: Bench) -> None:
        bench.listener.settles = False
        copies = bench.listener.copies
        await bench.listener.until(lambda: copies)
        bench.link.stop()
        await asyncio.wait_for(bench.life, 3)
        await bench.listener.until(lambda: bench.listener.payloads("status")[-1]["state"] == "offline")
        sent = list(copies)
        await bench.listener.settle(Topic("acme", "cold-logger", "d-1", "telemetry/stored"), sent)
        again = asyncio.create_task(Link(bench.link.device, *bench.parts).run())
        await bench.until(lambda: not {copy.msg_id for copy in sent} & bench.kept())
        await end([again])

    run(scenario)


def test_a_silent_broker_is_given_up_and_tried_again(run: Run, broker: Mosquitto) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: bench.listener.copies)
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        await bench.until(lambda: not bench.link.device.online, seconds=30)  # no PUBACK in 10 s
        broker.process.send_signal(signal.SIGCONT)
        await bench.until(lambda: bench.link.device.online, seconds=30)
        made = bench.link.device.boot.msg_id(bench.link.device.made - 1)
        await bench.listener.until(lambda: made in bench.listener.stored)

    run(scenario)
