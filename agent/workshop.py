"""The pieces of work of an update, one after the other: files and questions, off the event loop."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

from agent import image, portal_door, slots
from agent.faults import Luck
from agent.image import Header, Health, ImageError
from agent.judgement import is_signed
from agent.reenroll import Door, tls_context
from agent.update_messages import (
    AskWanted,
    Bad,
    CheckImage,
    CheckSelf,
    CommitSlot,
    Download,
    Look,
    Message,
    Reboot,
    RevertSlot,
    Seen,
    SelfChecked,
    SetTrySlot,
    SlotCommitted,
    SlotReverted,
    TrySlotSet,
    Verified,
    Work,
    WriteSlot,
    Written,
)
from agent.update_state import Build
from agent.wallet import Wallet
from devices.contract import Offer

MAINS = ("pump", "energy-meter")
"""Device types that hang on the mains."""


class Workshop:
    """Does the work of one device's updates. `downloads` bounds how many devices of the process download at once."""

    def __init__(self, wallet: Wallet, door: Door, downloads: asyncio.Semaphore, build: Build, luck: Luck) -> None:
        self._wallet, self._door, self._downloads = wallet, door, downloads
        self.build, self.luck = build, luck
        self.header: Header | None = None
        """Of the image that runs; None before the first boot."""
        self._context: tuple[str, ssl.SSLContext] | None = None

    async def do(self, work: Work, progress: Callable[[int], None]) -> Message | None:  # noqa: C901, PLR0911 - one case a piece
        """The answer to a piece of work; None for a reboot, when it is time. Raises whatever goes wrong.

        `progress` hears how many bytes of a download are there.
        """
        build, directory = self.build, self._wallet.directory
        match work:
            case Look():
                free = (await asyncio.to_thread(shutil.disk_usage, directory)).free
                return Seen(self.luck.battery_percent, build.device_type in MAINS, free)
            case AskWanted(update_id):
                return await portal_door.ask(self._door, await self._tls(), update_id)
            case Download():
                return await self._download(work, progress)
            case CheckImage(offer):
                return await asyncio.to_thread(check, directory, offer, build)
            case WriteSlot(slot, sha256):
                return Written() if await asyncio.to_thread(slots.write, directory, slot, sha256) else Bad("slot")
            case SetTrySlot(slot, ticket):
                await asyncio.to_thread(slots.set_try, directory, slot, ticket)
                return TrySlotSet()
            case Reboot(after):
                await asyncio.sleep(after)
                return None
            case CheckSelf():
                await asyncio.sleep(build.timing.self_check)
                return SelfChecked(self.header is not None and self.luck.health(self.header) is Health.GOOD)
            case CommitSlot(slot):
                await asyncio.to_thread(slots.commit, directory, slot)
                return SlotCommitted()
            case RevertSlot(ticket):
                await asyncio.to_thread(slots.revert, directory, ticket)
                return SlotReverted()

    def discard(self) -> None:
        """The update is over: delete what was downloaded. Raises OSError."""
        self._context = None
        slots.discard(self._wallet.directory)

    async def _download(self, work: Download, progress: Callable[[int], None]) -> Message:
        part, told = slots.part(self._wallet.directory, work.image.sha256), 0

        def tell(done: int) -> None:
            nonlocal told
            if 100 * (done - told) >= work.image.size:  # a percent
                told = done
                progress(done)

        async with self._downloads:
            return await portal_door.download(self._door, await self._tls(), work.image, part, tell, self.luck.pace)

    async def _tls(self) -> ssl.SSLContext:
        """Made once an update: that costs more than what it is used for. Raises OSError."""
        using = self._wallet.using
        if self._context is None or self._context[0] != using.serial:
            made = await asyncio.to_thread(tls_context, self._door.ca_file, using.credentials)
            self._context = (using.serial, made)
        return self._context[1]


def check(directory: Path, offer: Offer, build: Build) -> Verified | Bad:
    """Is the downloaded file what was offered? Blocks. Raises OSError."""
    wanted = offer.image
    if wanted is None or not is_signed(wanted, build):
        return Bad("signature")
    part = slots.part(directory, wanted.sha256)
    if not part.exists() or image.sha256(part) != wanted.sha256:
        return Bad("hash")
    try:
        header = image.read(part)
    except ImageError:
        return Bad("incompatible")
    fits = header.version == offer.version and build.device_type in header.device_types
    return Verified() if fits else Bad("incompatible")
