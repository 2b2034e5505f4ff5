"""Whether a device is on: it is switched on, it reboots, the power goes; the bootloader chooses what comes up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from pathlib import Path

from agent import slots
from agent.boot import Boot
from agent.device import Device
from agent.faults import Luck
from agent.image import Header, Health
from agent.journal import Journal
from agent.messages import PoweredOn
from agent.update_state import FACTORY_VERSION

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class Power:
    """One device's power. `wake` is set when the connection has to end, `stop` when everything has."""

    def __init__(self, directory: Path, journal: Journal, luck: Luck, wake: asyncio.Event, stop: asyncio.Event) -> None:
        self._directory, self._journal, self._luck, self._wake, self._stop = directory, journal, luck, wake, stop
        self.on = self.broken = self.rebooting = False
        """The device hears and decides; the line has to break; the device says goodbye and reboots."""
        self.header: Header | None = None
        """Of the image that runs, or ran last."""
        self.hurry = asyncio.Event()
        """Do not wait for the next try to connect."""

    def reboot(self) -> None:
        """In good order."""
        self.on, self.rebooting = False, True
        self._end()

    def cut(self) -> None:
        """Nobody hears of it."""
        self.on, self.broken = False, True
        self._end()

    def hang_up(self) -> None:
        """Only the line breaks."""
        self.broken = True
        self._wake.set()

    def _end(self) -> None:
        self.hurry.set()
        self._wake.set()

    async def switch_on(self, device: Device) -> PoweredOn | None:
        """A run begins: the first, or another after a while in the dark. None if it is to stop instead."""
        boot = device.boot
        if self.header is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._luck.dark())
            if self._stop.is_set():
                return None
            counters = await self._journal.boot(device.device_id, int(time.time() * 1000))
            boot = Boot(counters.boot_ms, secrets.randbits(40))
        start = await self._start(device)
        self.on, self.broken, self.rebooting, self.header = True, False, False, start.header
        self.hurry.clear()
        return PoweredOn(boot, start.slot, start.header.version, start.trial, start.failed)

    async def _start(self, device: Device) -> slots.Start:
        """Tried again for ever: a disk may be full."""
        factory = Header(FACTORY_VERSION, [device.device_type])
        while True:
            try:
                return await asyncio.to_thread(slots.boot, self._directory, factory, self._comes_up)
            except (slots.SlotError, OSError) as error:
                logger.error("%s does not boot: %s", device.device_id, error)
                await asyncio.sleep(RETRY_SECONDS)

    def _comes_up(self, header: Header) -> bool:
        return self._luck.health(header) is not Health.BOOT_LOOP
