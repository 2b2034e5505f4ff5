"""What can go wrong while a device renews its certificate, and that it costs nothing."""

import asyncio
import errno
from pathlib import Path

import pytest

from agent import credentials, identity
from agent.identity import Identity, IdentityError
from agent.wallet import Wallet
from devices import contract
from devices.contract import IssuedCertificate, Topic
from tests.agent.bench import Bench, Home, held, run
from tests.agent.portal import Issuer

ISSUED = str(Topic("acme", "cold-logger", "d-1", contract.CERTIFICATE_ISSUED))


def test_a_certificate_for_another_key_is_ignored(
    home: Home, issuer: Issuer, enrolled: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(bench: Bench) -> None:
        issuer.silent = True
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: issuer.asked)
        foreign = issuer.issue((home.directory / identity.REQUEST).read_text())
        for wrong in (foreign, IssuedCertificate("nonsense", ""), issuer.issue(issuer.asked[0], "d-2")):
            caplog.clear()
            await bench.listener.say(ISSUED, contract.encode(wrong))
            await bench.until(lambda: "cannot keep the certificate" in caplog.text)
        issuer.issued.clear()
        issuer.silent = False
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        assert len(set(issuer.asked)) == 1

    run(home, scenario)


def test_a_new_certificate_that_the_broker_refuses_costs_nothing_and_another_is_asked_for(
    home: Home, issuer: Issuer, enrolled: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(bench: Bench) -> None:
        issuer.silent = True
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: issuer.asked)
        bad = issuer.issue(issuer.asked[0])
        home.authority.revoke(*issuer.serials)
        home.broker.reload()
        with caplog.at_level("INFO"):
            await bench.listener.say(ISSUED, contract.encode(bad))
            await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        assert f"the broker refused certificate {issuer.serials[0]}" in caplog.text
        assert bench.listener.births() == [enrolled.serial] * 2
        assert (bench.link.refused, bench.link.rotated) == (1, 0)
        issuer.silent = False
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: len(bench.listener.births()) == 3)
        await bench.until(lambda: bench.link.rotated == 1)
        assert held(home) == {credentials.CURRENT: issuer.serials[1], credentials.PREVIOUS: enrolled.serial}
        assert bench.link.refused == 1

    run(home, scenario)


def test_a_current_certificate_that_is_revoked_gives_way_to_the_previous_one(
    home: Home, issuer: Issuer, enrolled: Identity
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.renew(enrolled.serial)
        await bench.until(lambda: bench.link.rotated == 1)
        home.authority.revoke(*issuer.serials)
        home.broker.reload()
        await bench.listener.cut("d-1")
        await bench.listener.until(lambda: len(bench.listener.births()) == 3)
        assert bench.listener.births()[-1] == enrolled.serial
        assert bench.link.refused == 1

    run(home, scenario)


def test_a_broker_that_is_away_is_no_refusal(home: Home, enrolled: Identity) -> None:
    async def scenario(bench: Bench) -> None:
        session = bench.link.device.session
        home.broker.kill()
        await bench.until(lambda: bench.link.device.session > session + 3)
        home.broker.start()
        await bench.until(lambda: bench.link.device.online)
        assert bench.link.refused == 0

    run(home, scenario)


def test_a_device_without_a_good_certificate_goes_on_trying_and_counts(home: Home, enrolled: Identity) -> None:
    async def scenario(bench: Bench) -> None:
        home.authority.revoke(enrolled.serial)
        home.broker.reload()
        await bench.listener.cut("d-1")
        await bench.until(lambda: bench.link.refused == 3)
        assert not bench.link.device.online

    run(home, scenario)


@pytest.mark.parametrize("name", [credentials.PENDING, credentials.NEXT, credentials.PREVIOUS])
def test_a_full_disk_puts_it_off(
    home: Home,
    issuer: Issuer,
    enrolled: Identity,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write, full = identity.write, [True]

    def no_space(path: Path, content: bytes) -> None:
        if full[0] and path.name == name:
            raise OSError(errno.ENOSPC, "disk full")
        write(path, content)

    monkeypatch.setattr(identity, "write", no_space)
    caplog.set_level("INFO")

    async def scenario(bench: Bench) -> None:
        await bench.listener.renew(enrolled.serial)
        await bench.until(lambda: "disk full" in caplog.text)
        assert "certificate rotation: cannot" in caplog.text
        assert bench.link.rotated == 0
        full[0] = False
        await bench.listener.renew(enrolled.serial)  # nobody listens to that if the new one is in use already
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        await bench.listener.cut("d-1")
        await bench.until(lambda: bench.link.rotated == 1)
        assert len(issuer.serials) == 1

    run(home, scenario)


def test_a_certificate_in_use_is_not_lost_to_its_successor_though_it_could_not_be_made_current(
    home: Home, issuer: Issuer, enrolled: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = identity.write, [True]

    def no_space(path: Path, content: bytes) -> None:
        if full[0] and path.name == credentials.PREVIOUS:
            raise OSError(errno.ENOSPC, "disk full")
        write(path, content)

    monkeypatch.setattr(identity, "write", no_space)

    async def scenario(bench: Bench) -> None:
        await bench.listener.renew(enrolled.serial)
        await bench.listener.until(lambda: len(bench.listener.births()) == 2)
        full[0] = False
        await bench.listener.renew(issuer.serials[0])
        await bench.until(lambda: bench.link.rotated == 2)
        assert bench.listener.births() == [enrolled.serial, *issuer.serials]
        assert held(home) == {credentials.CURRENT: issuer.serials[1], credentials.PREVIOUS: issuer.serials[0]}

    run(home, scenario)


def test_a_file_that_got_lost_meanwhile_does_not_stop_it_from_trying_the_other(
    home: Home, issuer: Issuer, enrolled: Identity
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.listener.renew(enrolled.serial)
        await bench.until(lambda: bench.link.rotated == 1)
        (home.directory / credentials.PREVIOUS).unlink()
        home.authority.revoke(*issuer.serials)
        home.broker.reload()
        await bench.listener.cut("d-1")
        await bench.until(lambda: bench.link.refused == 2)

    run(home, scenario)


def test_nothing_is_kept_that_was_not_asked_for(home: Home, issuer: Issuer) -> None:
    async def whole() -> None:
        wallet = Wallet.load(home.directory)
        assert wallet is not None
        with pytest.raises(IdentityError, match="nothing was requested"):
            await wallet.keep(issuer.issue((home.directory / identity.REQUEST).read_text()))

    asyncio.run(whole())
