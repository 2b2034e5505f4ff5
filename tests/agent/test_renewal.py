"""A device renews its certificate with a real broker that knows which certificates are good."""

import base64
import time
from datetime import timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent import credentials
from agent.backoff import Backoff
from agent.identity import Identity
from devices import contract
from devices.contract import Topic
from tests.agent.bench import Bench, Home, held, live_briefly, run
from tests.agent.portal import Issuer

ISSUED = str(Topic("acme", "cold-logger", "d-1", contract.CERTIFICATE_ISSUED))


def test_asked_it_makes_a_new_key_and_comes_back_with_the_new_certificate(
    home: Home, issuer: Issuer, enrolled: Identity
) -> None:
    async def scenario(bench: Bench) -> None:
        ear = bench.listener
        await ear.until(lambda: ear.stored)
        await ear.renew(enrolled.serial)
        await ear.until(lambda: len(ear.births()) == 2)
        await bench.until(lambda: bench.link.rotated == 1)
        (csr,) = issuer.asked
        asked = x509.load_pem_x509_csr(csr.encode())
        assert asked.subject.rfc4514_string() == "CN=d-1"
        assert asked.public_key() != enrolled.key.public_key()
        (new,) = issuer.serials
        assert ear.births() == [enrolled.serial, new]
        birth = ear.payloads("status")[-1]
        statement = contract.proof_statement("d-1", birth["session"], birth["boot_id"], new)
        key = asked.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(base64.b64decode(birth["certificate"]["proof"]), statement, ec.ECDSA(hashes.SHA256()))
        assert held(home) == {credentials.CURRENT: new, credentials.PREVIOUS: enrolled.serial}
        assert not (home.directory / credentials.PENDING).exists()
        made = {bench.link.device.boot.msg_id(number) for number in range(bench.link.device.made)}
        await ear.until(lambda: made <= ear.stored.keys())
        assert {word["state"] for word in ear.payloads("status")} == {"online"}  # no will, no farewell
        assert bench.link.refused == 0

    run(home, scenario)


def test_it_does_not_wait_before_it_comes_back(home: Home, issuer: Issuer, enrolled: Identity) -> None:
    async def scenario(bench: Bench) -> None:
        before = enrolled.serial
        for number in range(1, 11):
            await bench.listener.renew(before)
            await bench.listener.until(lambda number=number: len(bench.listener.births()) == number + 1)
            before = issuer.serials[-1]
        assert (len(set(issuer.serials)), bench.link.refused) == (10, 0)
        await bench.until(lambda: bench.link.rotated == 10)
        assert held(home) == {credentials.CURRENT: issuer.serials[-1], credentials.PREVIOUS: issuer.serials[-2]}

    run(home, scenario, reconnect=Backoff(600, 600))


def test_asked_for_a_certificate_that_is_not_in_use_it_does_nothing(
    home: Home, issuer: Issuer, enrolled: Identity
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.renew("abc")
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        await bench.listener.renew(enrolled.serial)
        await bench.listener.renew(issuer.serials[0])
        await bench.listener.until(lambda: len(bench.listener.births()) == 3)
        assert len(issuer.asked) == 2

    run(home, scenario)


def test_asked_again_it_repeats_the_same_request(home: Home, issuer: Issuer, enrolled: Identity) -> None:
    async def scenario(bench: Bench) -> None:
        issuer.silent = True
        for number in range(1, 4):
            await bench.listener.renew(enrolled.serial)
            await bench.listener.until(lambda number=number: len(issuer.asked) == number)
        assert len(set(issuer.asked)) == 1

    run(home, scenario)


def test_an_unanswered_request_is_repeated_unasked(home: Home, issuer: Issuer) -> None:
    brief = live_briefly(home, timedelta(seconds=12))

    async def scenario(bench: Bench) -> None:
        issuer.silent, issuer.lifetime = True, timedelta(days=1)
        times: list[float] = []
        await bench.listener.renew(brief.serial)
        for number in range(1, 5):
            await bench.listener.until(lambda number=number: len(issuer.asked) >= number)
            times.append(time.monotonic())
        assert len(set(issuer.asked)) == 1
        waits = [late - early for early, late in pairwise(times)]
        assert all(0.25 < wait < 1.0 for wait in waits), waits  # a twentieth of 12 s, half of it jitter
        issuer.silent = False
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)

    run(home, scenario)


def test_nobody_asks_and_it_renews_by_itself_in_time(home: Home, issuer: Issuer) -> None:
    issuer.lifetime = timedelta(seconds=6)
    brief = live_briefly(home, issuer.lifetime)

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: issuer.asked)
        assert 0.8 * 5 <= time.time() - brief.received <= 0.9 * 6 + 0.5  # not_after is cut to whole seconds
        await bench.listener.until(lambda: len(bench.listener.births()) == 3)
        assert bench.listener.births() == [brief.serial, *issuer.serials]
        assert bench.link.refused == 0

    run(home, scenario)
