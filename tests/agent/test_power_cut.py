"""The power goes at every durable step of a rotation; switched on again, the device ends with a new certificate."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent import credentials, reenroll
from agent.backoff import Backoff
from agent.identity import Identity
from tests.agent.bench import Home, expire, heard
from tests.agent.portal import EstDoor, Issuer
from tests.agent.power import Power

STEPS = 13
"""fsync, rename, fsync of the directory for the request, the new and the previous credentials; the rest in between."""

GIVING_UP, RENAMED = 3, 1
"""fsync, rename, fsync of the directory for the request that takes the place of another; where the rename is."""


@pytest.fixture
def power(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Power]:
    supply = Power(home.directory, monkeypatch)
    yield supply
    supply.back()


async def rotate(home: Home) -> None:
    """Switched on and, until there is a new certificate, asked: what a portal says at each birth."""
    before = len(home.listener.births())
    async with home.switched_on() as bench:
        await home.listener.until(lambda: len(home.listener.births()) > before)
        await home.listener.renew(bench.parts[0].using.serial)
        await bench.until(lambda: bench.link.rotated)


def test_a_rotation_takes_this_many_durable_steps(home: Home, power: Power) -> None:
    async def whole() -> None:
        async with heard(home.listener):
            await rotate(home)

    asyncio.run(whole())
    assert power.taken == STEPS


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_power_cut_at_any_step_leaves_a_device_that_ends_with_a_new_certificate(
    home: Home, power: Power, enrolled: Identity, step: int, after: bool
) -> None:
    ear, issuer = home.listener, home.listener.issuer
    assert issuer is not None

    async def whole() -> None:
        async with heard(ear):
            async with home.switched_on() as bench:
                await ear.until(ear.births)
                power.cut(step, after=after)
                await ear.renew(enrolled.serial)
                await bench.until(lambda: power.out)
            asked, before = list(issuer.asked), len(ear.births())
            power.back()
            assert credentials.load(home.directory)
            async with home.switched_on() as bench:
                await ear.until(lambda: len(ear.births()) > before)
                if ear.births()[-1] == enrolled.serial:  # the portal asks for the one in use only
                    await ear.renew(enrolled.serial)
                await ear.until(lambda: ear.births()[-1] != enrolled.serial)
                await bench.until(lambda: credentials.NEXT not in os.listdir(home.directory))  # noqa: PTH208
                assert bench.link.refused == 0
            assert set(asked) <= {issuer.asked[-1]}  # a request that was sent is sent again, not another
            assert ear.births()[-1] == issuer.serials[-1]
            current, previous = credentials.load(home.directory)
            assert (current.serial, current.credentials.name) == (issuer.serials[-1], credentials.CURRENT)
            assert (previous.serial, previous.credentials.name) == (enrolled.serial, credentials.PREVIOUS)
            await rotate(home)  # and nothing is left behind that hinders the next

    asyncio.run(whole())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(GIVING_UP))
def test_a_power_cut_while_a_key_is_given_up_leaves_one_whole_request(
    home: Home, power: Power, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, step: int, after: bool
) -> None:
    monkeypatch.setattr(reenroll, "REFUSED", Backoff(0.2, 0.2))
    old = credentials.request(home.directory, "d-1")
    serial = expire(home, credentials.CURRENT)
    issuer.never = {old.csr}
    door = EstDoor(issuer)

    async def whole(away: Home) -> None:
        async with heard(away.listener):
            power.taken = 0
            power.cut(step, after=after)
            async with away.switched_on() as bench:
                await bench.until(lambda: power.out)
            power.back()
            pending = credentials.pending(away.directory, credentials.load(away.directory))
            assert pending is not None
            assert (pending.csr == old.csr) is (step < RENAMED or (step == RENAMED and not after))
            async with away.switched_on() as bench:
                await bench.until(lambda: bench.link.rotated == 1)
            assert away.listener.births() == issuer.serials
            current, previous = credentials.load(away.directory)
            assert (current.serial, previous.serial) == (issuer.serials[0], serial)
            assert not (away.directory / credentials.PENDING).exists()

    with door.open() as url:
        asyncio.run(whole(replace(home, server=url)))
    asked = [question.body for question in door.asked]
    assert len(set(asked)) == 2
    assert asked[-1] != asked[0]


def test_a_request_that_was_open_when_the_power_went_is_repeated_unasked(
    home: Home, issuer: Issuer, enrolled: Identity
) -> None:
    async def whole() -> None:
        async with heard(home.listener):
            issuer.silent = True
            async with home.switched_on():
                await home.listener.until(home.listener.births)
                await home.listener.renew(enrolled.serial)
                await home.listener.until(lambda: issuer.asked)
            issuer.silent = False
            async with home.switched_on() as bench:
                await bench.until(lambda: bench.link.rotated)
            assert len(set(issuer.asked)) == 1
            assert home.listener.births() == [enrolled.serial, enrolled.serial, *issuer.serials]

    asyncio.run(whole())


@pytest.mark.parametrize("name", [credentials.CURRENT, credentials.PREVIOUS])
@pytest.mark.parametrize("damage", [b"", b"garbage", None], ids=["empty", "garbage", "half"])
def test_a_damaged_file_is_passed_over_and_healed_by_the_next_rotation(
    home: Home, name: str, damage: bytes | None
) -> None:
    async def whole() -> None:
        async with heard(home.listener):
            await rotate(home)
            path = home.directory / name
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2] if damage is None else damage)
            (survivor,) = credentials.load(home.directory)
            await rotate(home)
            assert home.listener.births()[-2] == survivor.serial
            assert len(credentials.load(home.directory)) == 2

    asyncio.run(whole())
