"""A device whose key the portal will not certify makes another: over MQTT, where nobody says no, and over HTTPS."""

import asyncio
import time
from datetime import timedelta

import pytest

from agent import credentials, reenroll
from agent.backoff import Backoff
from agent.identity import Identity
from agent.rotation import REPETITIONS
from agent.wallet import Wallet
from devices import contract
from devices.contract import Topic
from tests.agent.bench import Bench, Home, expire, heard, held, live_briefly, run
from tests.agent.portal import EstDoor, Issuer

ISSUED = str(Topic("acme", "cold-logger", "d-1", contract.CERTIFICATE_ISSUED))


def test_a_request_that_is_never_answered_gives_way_to_another(
    home: Home, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    old = credentials.request(home.directory, "d-1")
    brief = live_briefly(home, timedelta(seconds=20))
    issuer.never, issuer.lifetime = {old.csr}, timedelta(days=1)

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        *refused, new = issuer.asked
        assert refused == [old.csr] * (1 + REPETITIONS)
        assert new != old.csr
        await bench.until(lambda: bench.link.rotated == 1)
        assert held(home) == {credentials.CURRENT: issuer.serials[0], credentials.PREVIOUS: brief.serial}
        assert not (home.directory / credentials.PENDING).exists()
        assert "no answer to 7 requests" in caplog.text

    run(home, scenario)


def test_a_certificate_for_a_key_that_was_given_up_is_ignored(
    home: Home, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    live_briefly(home, timedelta(seconds=20))
    issuer.silent, issuer.lifetime = True, timedelta(days=1)

    async def scenario(bench: Bench) -> None:
        ear = bench.listener
        await ear.renew(bench.parts[0].using.serial)
        await ear.until(lambda: len(set(issuer.asked)) == 2)
        old, new = issuer.asked[0], issuer.asked[-1]
        caplog.clear()
        await ear.say(ISSUED, contract.encode(issuer.issue(old)))
        await bench.until(lambda: "the certificate is for another key" in caplog.text)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        await ear.say(ISSUED, contract.encode(issuer.issue(new)))
        await ear.until(lambda: len(ear.births()) == 2)
        assert ear.births()[-1] == issuer.serials[-1]
        assert set(issuer.asked) == {old, new}

    run(home, scenario)


@pytest.mark.parametrize(
    ("status", "keys"), [(400, 2), (409, 2), (401, 1), (403, 1), (404, 1), (429, 1), (503, 1)], ids=str
)
def test_over_https_a_refused_key_gives_way_to_another_and_any_other_trouble_does_not(
    home: Home, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, status: int, keys: int
) -> None:
    for name in ("BUSY", "REFUSED"):
        monkeypatch.setattr(reenroll, name, Backoff(0.2, 0.2))
    door = EstDoor(issuer)
    door.script.append((status, {}, b"no"))

    async def whole(away: Home) -> None:
        async with heard(away.listener), away.switched_on() as bench:
            await away.listener.until(away.listener.births)
            await bench.until(lambda: bench.link.rotated == 1)

    with door.open() as url:
        expire(home, credentials.CURRENT)
        asyncio.run(whole(Home(home.directory, home.broker, home.authority, home.listener, url)))
    first, second = door.asked
    assert len({first.body, second.body}) == keys


def test_the_pause_after_a_refusal_is_the_long_one(home: Home, issuer: Issuer) -> None:
    door = EstDoor(issuer)
    issuer.never = {credentials.request(home.directory, "d-1").csr}

    async def whole(away: Home) -> None:
        began = time.monotonic()
        async with heard(away.listener), away.switched_on() as bench:
            await bench.until(lambda: issuer.never.isdisjoint({bench.link.device.rotation.csr}))
            await bench.until(lambda: bench.link.refused)  # it asks the broker, and waits
            assert (len(door.asked), issuer.issued) == (1, {})
        assert time.monotonic() - began < reenroll.REFUSED.first / 2

    with door.open() as url:
        expire(home, credentials.CURRENT)
        asyncio.run(whole(Home(home.directory, home.broker, home.authority, home.listener, url)))


def test_only_the_request_that_was_refused_is_given_up(home: Home, enrolled: Identity) -> None:
    async def whole() -> None:
        wallet = Wallet([enrolled])
        first = await wallet.request()
        assert await wallet.request("another") == first
        second = await wallet.request(first.csr)
        assert second.csr != first.csr
        assert await wallet.request(first.csr) == second
        again = Wallet.load(home.directory)
        assert again is not None
        assert again.pending is not None
        assert again.pending.csr == second.csr

    asyncio.run(whole())
