"""A device that comes back with expired certificates: EST over HTTPS, then the broker."""

import asyncio
import errno
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from agent import credentials, identity, reenroll, rotation
from agent.backoff import Backoff
from agent.identity import Identity
from agent.reenroll import Door, Later
from devices import pki
from tests.agent.authority import Authority
from tests.agent.bench import Bench, Home, expire, heard
from tests.agent.https import Reply
from tests.agent.mosquitto import Mosquitto
from tests.agent.portal import EstDoor, Issuer, Listener


@pytest.fixture
def door(authority: Authority) -> EstDoor:
    return EstDoor(Issuer(authority))


@pytest.fixture
def url(door: EstDoor) -> Iterator[str]:
    with door.open() as address:
        yield address


@pytest.fixture
def home(broker: Mosquitto, enrolled: Identity, authority: Authority, door: EstDoor, url: str) -> Home:
    """The device's only certificate expired a minute ago."""
    listener = Listener(broker.plain_port)
    listener.issuer = door.issuer
    place = Home(enrolled.credentials.parent, broker, authority, listener, url)
    expire(place, credentials.CURRENT)
    return place


def run(home: Home, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with heard(home.listener), home.switched_on() as bench:
            await scenario(bench)

    asyncio.run(whole())


def test_an_expired_device_gets_a_new_certificate_over_https_and_comes_back(home: Home, door: EstDoor) -> None:
    (old,) = credentials.load(home.directory)

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        await bench.until(lambda: bench.link.rotated == 1)
        assert bench.listener.births() == door.issuer.serials
        (question,) = door.asked
        assert question.certificate is not None
        assert f"{question.certificate.serial_number:x}" == old.serial
        current, previous = credentials.load(home.directory)
        assert (current.serial, previous.serial) == (door.issuer.serials[0], old.serial)
        assert bench.link.refused == 0
        await bench.listener.renew(current.serial)  # and all is as ever
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)

    run(home, scenario)


def test_a_request_that_was_open_when_it_expired_is_used(home: Home, door: EstDoor) -> None:
    open_one = credentials.request(home.directory, "d-1")

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        assert list(door.issuer.issued.values()) == [door.issuer.issue(open_one.csr).certificate]

    run(home, scenario)


@pytest.mark.parametrize(
    "reply",
    [
        (202, {"Retry-After": "1"}, b""),
        (503, {}, b""),
        (429, {"Retry-After": "1"}, b""),
        (403, {}, b"no"),
        (200, {}, b"garbage"),
        (200, {}, b64encode(b"garbage")),
    ],
)
def test_it_asks_again_and_goes_on_reading_meanwhile(
    home: Home, door: EstDoor, reply: Reply, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("BUSY", "REFUSED"):
        monkeypatch.setattr(reenroll, name, Backoff(0.2, 1))
    caplog.set_level("INFO")
    door.script.extend([reply, reply])

    async def scenario(bench: Bench) -> None:
        made = bench.link.device.made
        await bench.until(lambda: len(door.asked) == 2)
        await bench.until(lambda: bench.link.device.made > made)
        await bench.listener.until(bench.listener.births)
        assert len({question.body for question in door.asked}) == 1
        assert len(door.asked) == 3
        assert caplog.text.count("cannot re-enrol") == 2
        assert bench.link.refused == 2  # once each, in case the clock was wrong

    run(home, scenario)


def test_it_waits_as_long_as_the_portal_says(home: Home, door: EstDoor) -> None:
    door.script.append((202, {"Retry-After": "2"}, b""))

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        first, second = door.times
        assert second - first >= 1.9
        assert bench.link.refused == 1

    run(home, scenario)


def test_a_full_disk_puts_it_off(
    home: Home, door: EstDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = identity.write

    def no_space(path: Path, content: bytes) -> None:
        monkeypatch.setattr(identity, "write", write)
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(identity, "write", no_space)
    monkeypatch.setattr(rotation, "FIRST_SECONDS", 0.1)
    caplog.set_level("INFO")

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        assert "cannot re-enrol" in caplog.text
        assert len(door.asked) == 1

    run(home, scenario)


def test_several_expired_certificates_take_turns(home: Home, door: EstDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reenroll, "REFUSED", Backoff(0.1, 0.1))
    serials = {expire(home, credentials.PREVIOUS), expire(home, credentials.CURRENT)}
    door.script.append((403, {}, b"never heard of it"))

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        shown = {f"{question.certificate.serial_number:x}" for question in door.asked if question.certificate}
        assert shown == serials

    run(home, scenario)


def test_a_device_with_one_good_certificate_left_does_not_ask(home: Home, door: EstDoor, enrolled: Identity) -> None:
    content = identity.bundle(enrolled.key, enrolled.enrolment.certificate, enrolled.enrolment.chain)
    identity.write(home.directory / credentials.PREVIOUS, content)

    async def scenario(bench: Bench) -> None:
        await bench.listener.until(bench.listener.births)
        assert bench.listener.births() == [enrolled.serial]
        assert (bench.link.refused, door.asked) == (1, [])

    run(home, scenario)


@pytest.mark.parametrize(
    ("reply", "least", "most"),
    [
        ((202, {"Retry-After": "40"}, b""), 40, 40),
        ((202, {}, b""), 60, 60),
        ((503, {"Retry-After": "77"}, b""), 77, 77),
        ((502, {}, b""), 5, 10),
        ((401, {}, b"x" * 1000), 150, 300),
        ((200, {}, b""), 150, 300),
        ((202, {"Retry-After": "9" * 9}, b""), 3600, 3600),
    ],
)
def test_how_long_it_waits(
    door: EstDoor, url: str, enrolled: Identity, authority: Authority, reply: Reply, least: float, most: float
) -> None:
    door.script.append(reply)
    with pytest.raises(Later) as caught:
        ask(url, enrolled, authority)
    assert least <= caught.value.seconds <= most
    assert len(str(caught.value)) < 300


def test_a_portal_that_is_away_or_another_is_asked_again(enrolled: Identity, authority: Authority, url: str) -> None:
    for address in ("https://localhost:1", "", url.replace("localhost", "127.0.0.2")):
        with pytest.raises(Later, match="cannot reach"):
            ask(address, enrolled, authority)


def ask(url: str, enrolled: Identity, authority: Authority, csr: str = "") -> object:
    async def whole() -> object:
        there = Door(url, authority.root, asyncio.Semaphore(1))
        request = csr or identity.csr(identity.new_key(), "d-1")
        return await reenroll.reenroll(there, enrolled.credentials, request, 0, Random(1))

    return asyncio.run(whole())


def bag(*certificates: x509.Certificate) -> bytes:
    """As EST sends them."""
    return b64encode(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


def test_the_chain_goes_from_who_signed_the_leaf_up_to_below_the_root() -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    root_key, keys = pki.new_key(), [pki.new_key(), pki.new_key()]
    root = pki.make_root("root", root_key, 9 * day, now)
    old, new = (
        pki.make_issuing(name, key.public_key(), root, root_key, day, now) for name, key in zip("ab", keys, strict=True)
    )
    csr = identity.csr(key := identity.new_key(), "d-1")
    leaf = pki.sign_device("d-1", key.public_key(), new, keys[1], day, now)
    cas = bag(root, old, new)
    wrapped = bag(leaf)[:64] + b"\r\n" + bag(leaf)[64:]
    for answer in (bag(leaf), wrapped, bag(leaf, new)):
        issued = reenroll.unpack(answer, cas, csr)
        assert (issued.certificate, issued.chain) == (pki.pem(leaf), pki.pem(new))
    with pytest.raises(ValueError, match="none for this"):
        reenroll.unpack(bag(leaf), cas, identity.csr(identity.new_key(), "d-1"))
    with pytest.raises(ValueError, match="who signed"):
        reenroll.unpack(bag(leaf), bag(root, old), csr)
    with pytest.raises(ValueError, match="not certificates"):
        reenroll.unpack(bag(leaf), b"garbage", csr)
