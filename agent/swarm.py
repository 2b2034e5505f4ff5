"""Any number of devices in one process: enrol, connect, one clock and one commit for all, stop in good order."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import msgspec

from agent import enroll, identity, instruments
from agent.boot import Boot
from agent.device import Device
from agent.faults import BadRelease, Faults, Luck
from agent.identity import Broker
from agent.journal import Journal
from agent.link import PARALLEL_DOWNLOADS, Link, Wiring
from agent.reenroll import Door
from agent.update_state import Build, Memory, Timing, Update, decode
from agent.wallet import Wallet
from firmware.signing import PublicKey

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1
PROGRESS_SECONDS = 5.0
STOP_SECONDS = 2.5
PARALLEL_ENROLMENTS = 8
PARALLEL_HANDSHAKES = 16


@dataclass(frozen=True, slots=True)
class Member:
    """A device to be: its maker's serial, and the claim it enrols with unless it has an identity already.

    An empty claim: the certificate in the settings is the claim.
    """

    hardware_id: str
    device_type: str
    claim: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What all devices of the process share. `broker` None: each uses the one named at its enrolment."""

    server: str
    ca_file: Path
    state: Path
    interval: float = 60.0
    seed: int = 1
    broker: Broker | None = None
    claim_certificate: Path | None = None
    """One PEM file with key, certificate and chain."""
    firmware_keys: Mapping[str, PublicKey] = field(default_factory=dict)
    """By fingerprint; without any, devices refuse every image."""
    permit_key: PublicKey | None = None
    timing: Timing = Timing()  # noqa: RUF009 - frozen
    faults: Faults = Faults()  # noqa: RUF009 - frozen
    bad_releases: tuple[BadRelease, ...] = ()


class Swarm:
    """Devices that share a process."""

    def __init__(self, settings: Settings, members: list[Member], journal: Journal) -> None:
        """Raises ValueError for no members at all, or a device type nobody has modelled."""
        if not members:
            raise ValueError("a swarm has at least one device")
        for member in members:
            instruments.make(member.device_type, Random(0))  # noqa: S311 - only asks whether it exists
        self._settings, self._members, self._journal = settings, members, journal
        self._links: list[Link] = []
        self._refused = 0
        self._stop = asyncio.Event()
        self._handshakes, self._doors = asyncio.Semaphore(PARALLEL_HANDSHAKES), asyncio.Semaphore(PARALLEL_ENROLMENTS)
        self._downloads = asyncio.Semaphore(PARALLEL_DOWNLOADS)

    async def run(self) -> bool:
        """Live until `stop`, or until every enrolment was refused. Answers whether any device lived."""
        # aiomqtt shakes hands in the default executor: it needs as many threads as the gate has places
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(PARALLEL_HANDSHAKES + 4, "blocking"))
        clock, progress = asyncio.create_task(self._clock()), asyncio.create_task(self._progress())
        settings = self._settings
        door = (settings.server, settings.ca_file, PARALLEL_ENROLMENTS, settings.claim_certificate)
        async with enroll.client(*door) as http:
            lives = [asyncio.create_task(self._life(member, http)) for member in self._members]
            ends = [asyncio.create_task(asyncio.wait(lives)), asyncio.create_task(self._stop.wait()), clock]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await self._farewell(lives)
        clock.cancel()
        progress.cancel()
        failed, _ = await asyncio.gather(clock, progress, return_exceptions=True)
        await self._journal.commit()  # what was settled during the farewell
        if isinstance(failed, Exception):
            raise failed
        return bool(self._links)

    def stop(self) -> None:
        """Begin to stop: every device says goodbye."""
        self._stop.set()

    async def _farewell(self, lives: list[asyncio.Task[None]]) -> None:
        for link in self._links:
            link.stop()
        _, late = await asyncio.wait(lives, timeout=STOP_SECONDS if self._links else 0)
        for task in late:
            task.cancel()
        if late:
            logger.info("%d devices had no time to say goodbye; their wills speak for them", len(late))
            await asyncio.wait(late, timeout=STOP_SECONDS / 10)

    async def _life(self, member: Member, http: httpx.AsyncClient) -> None:
        try:
            enrolled = await self._enrolled(member, http)
            link = await self._link(member, enrolled)
        except (enroll.EnrolmentError, identity.IdentityError, OSError, ValueError) as error:
            self._refused += 1
            logger.error("%s cannot begin: %s", member.hardware_id, error)
        except Exception:  # one device's misfortune is not the others'
            self._refused += 1
            logger.exception("%s cannot begin", member.hardware_id)
        else:
            self._links.append(link)
            await link.run()

    async def _enrolled(self, member: Member, http: httpx.AsyncClient) -> Wallet:
        directory = self._settings.state / member.hardware_id
        if (known := await asyncio.to_thread(Wallet.load, directory)) is not None:
            return known
        csr = await asyncio.to_thread(identity.request, directory, member.hardware_id)
        application = enroll.Application(member.claim, member.device_type, member.hardware_id, csr)
        answer = await enroll.enroll(http, application, Random())  # noqa: S311 - jitter
        return Wallet([await asyncio.to_thread(identity.store, directory, answer)])

    async def _link(self, member: Member, wallet: Wallet) -> Link:
        settings, enrolment = self._settings, wallet.enrolment
        now = time.time()
        counters = await self._journal.boot(enrolment.device_id, int(now * 1000))
        seed = f"{settings.seed}/{member.hardware_id}"
        rng = Random(seed)  # noqa: S311 - a simulation has to be repeatable
        device = Device(
            tenant=enrolment.tenant,
            device_type=enrolment.device_type,
            device_id=enrolment.device_id,
            boot=Boot(counters.boot_ms, secrets.randbits(40)),
            instrument=instruments.make(enrolment.device_type, rng),
            seed=seed,
            interval=settings.interval,
            session=counters.session,
            next_reading=now + rng.random() * settings.interval,
            dropped=counters.dropped,
            update=Update(self._build(wallet), self._memory(enrolment.device_id)),
        )
        # where a broker is given, the portal may have moved since the enrolment
        https = (not settings.broker and enrolment.endpoints.https) or settings.server
        door = Door(https, settings.ca_file, self._doors)
        broker = settings.broker or enrolment.endpoints.mqtt
        wiring = Wiring(broker, self._journal, self._handshakes, door, downloads=self._downloads)
        return Link(device, wallet, wiring, Luck(seed, settings.faults, settings.bad_releases))

    def _build(self, wallet: Wallet) -> Build:
        settings, enrolment = self._settings, wallet.enrolment
        keys = (settings.firmware_keys, settings.permit_key)
        return Build(enrolment.device_id, enrolment.device_type, *keys, timing=settings.timing)

    def _memory(self, device_id: str) -> Memory:
        try:
            return decode(self._journal.outbox.firmware(device_id))
        except msgspec.MsgspecError as error:
            raise ValueError(f"what {device_id} knew of its firmware update is damaged: {error}") from error

    async def _clock(self) -> None:
        """One clock and one commit for everybody."""
        try:
            while True:
                links, now = list(self._links), time.time()
                for link in () if self._stop.is_set() else links:
                    link.tick(now)
                dropped = await asyncio.shield(self._journal.commit())
                for link in links:
                    link.committed(dropped.get(link.device.device_id))
                await asyncio.sleep(TICK_SECONDS)
        except Exception:
            logger.exception("the clock stopped")
            raise

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            online = sum(link.device.online for link in self._links)
            dropped = sum(link.device.dropped for link in self._links)
            rotated = sum(link.rotated for link in self._links)
            refused = sum(link.refused for link in self._links)
            trouble = next((f", trouble for example {link.trouble}" for link in self._links if link.trouble), "")
            firmware = Counter(link.device.firmware_version for link in self._links)
            versions = "".join(f", {count} run {version}" for version, count in sorted(firmware.items()))
            updating = sum(link.device.update.in_flight for link in self._links)
            text = "online %d/%d, outbox %d, dropped %d, refused %d, rotated %d, refused connections %d, updating %d%s"
            counts = (self._journal.outbox.depth(), dropped, self._refused, rotated, refused)
            logger.info(text, online, len(self._members), *counts, updating, versions + trouble)
