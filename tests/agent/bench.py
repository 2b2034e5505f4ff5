"""A device at work beside the portal's ear, from what lies in its directory; it can be switched off and on again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from uuid import UUID

from cryptography import x509

from agent import credentials, identity, instruments
from agent.backoff import Backoff
from agent.boot import Boot
from agent.client import end
from agent.device import Device
from agent.faults import Luck
from agent.identity import Broker, Identity
from agent.journal import Journal
from agent.link import Link, Wiring
from agent.outbox import Outbox
from agent.reenroll import Door
from agent.update_state import Build, Timing, Update, decode
from agent.wallet import Wallet
from tests.agent.authority import Authority
from tests.agent.mosquitto import Mosquitto
from tests.agent.portal import Listener

TICK = 0.02
TIMING = Timing(retry=Backoff(0.05, 0.2), look=0.2, patience=3600, self_check=0.1, watchdog=20)
"""A device in a hurry."""
BUILD = Build("d-1", "cold-logger", timing=TIMING)
RESEND, RECONNECT = Backoff(0.5, 1), Backoff(0.1, 0.3)


@dataclass(frozen=True)
class Home:
    """What stays when a device is switched off: its directory, the broker, the authority, the portal's ear."""

    directory: Path
    broker: Mosquitto
    authority: Authority
    listener: Listener
    server: str = "https://localhost:1"
    build: Build = BUILD
    luck: Luck = field(default_factory=Luck)

    @asynccontextmanager
    async def switched_on(self, resend: Backoff = RESEND, reconnect: Backoff = RECONNECT) -> AsyncIterator[Bench]:
        """The device d-1, which reads every 50 ms, until the end of the block."""
        wallet = Wallet.load(self.directory)
        assert wallet is not None
        journal = Journal(Outbox(self.directory.with_suffix(".sqlite"), 10_000))
        counters = journal.outbox.counters("d-1")
        device = Device(
            tenant="acme",
            device_type="cold-logger",
            device_id="d-1",
            boot=Boot(int(time.time() * 1000), 1),
            instrument=instruments.make("cold-logger", Random(1)),
            seed="1",
            interval=0.05,
            session=counters.session,
            update=Update(self.build, decode(journal.outbox.firmware("d-1"))),
        )
        door = Door(self.server, self.authority.root, asyncio.Semaphore(4))
        to = Broker("localhost", self.broker.port)
        wiring = Wiring(to, journal, asyncio.Semaphore(4), door, resend=resend, reconnect=reconnect)
        link = Link(device, wallet, wiring, self.luck)

        async def clock() -> None:
            while True:
                link.tick(time.time())
                link.committed((await journal.commit()).get("d-1"))
                await asyncio.sleep(TICK)

        life = asyncio.create_task(link.run())
        tasks = [life, asyncio.create_task(clock())]
        try:
            yield Bench(link, self.listener, journal, life, (wallet, wiring))
        finally:
            await end(tasks)
            journal.close()


@asynccontextmanager
async def heard(listener: Listener) -> AsyncIterator[None]:
    """The portal's ear is open during the block."""
    ear = asyncio.create_task(listener.run())
    await listener.ready.wait()
    try:
        yield
    finally:
        await end([ear])


@dataclass
class Bench:
    """A link at work, the portal's ear, and the journal between."""

    link: Link
    listener: Listener
    journal: Journal
    life: asyncio.Task[None]
    parts: tuple[Wallet, Wiring]

    def kept(self) -> set[UUID]:
        """What is in the outbox."""
        return {UUID(bytes=kept.msg_id) for kept in self.journal.outbox.pending("d-1", limit=10_000)}

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait for something inside the agent. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(TICK)


def run(home: Home, scenario: Callable[[Bench], Awaitable[None]], reconnect: Backoff = RECONNECT) -> None:
    """Run a scenario with the device online."""

    async def whole() -> None:
        async with heard(home.listener), home.switched_on(reconnect=reconnect) as bench:
            await home.listener.until(home.listener.births)
            await scenario(bench)

    asyncio.run(whole())


def held(home: Home) -> dict[str, str]:
    """Serial numbers by file."""
    return {one.credentials.name: one.serial for one in credentials.load(home.directory)}


def expire(home: Home, name: str) -> str:
    """Put an expired certificate into a file; answers its serial number."""
    key = identity.load_key((home.directory / identity.KEY).read_bytes())
    certificate = home.authority.sign(identity.csr(key, "d-1"), "d-1", timedelta(minutes=-1))
    identity.write(home.directory / name, identity.bundle(key, certificate, ""))
    return f"{x509.load_pem_x509_certificate(certificate.encode()).serial_number:x}"


def live_briefly(home: Home, lifetime: timedelta) -> Identity:
    """Give the device a certificate that soon expires."""
    (known,) = credentials.load(home.directory)
    certificate = home.authority.sign((home.directory / identity.REQUEST).read_text(), "d-1", lifetime)
    content = identity.bundle(known.key, certificate, "")
    identity.write(known.credentials, content)
    return identity.read(known.credentials, known.enrolment)
