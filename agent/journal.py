"""Group commit: what all devices of the process want kept goes to disk in one transaction, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from agent.ledger import Ledger
from agent.outbox import Batch, Counters, Kept, Outbox
from devices import contract
from devices.contract import Envelope

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Journal:
    """Collects changes; `commit` makes them durable. Nothing may be published before."""

    def __init__(self, outbox: Outbox, ledger: Ledger | None = None) -> None:
        self.outbox = outbox
        self._ledger = ledger
        self._batch = Batch()
        self._done = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "outbox")

    def remember(self, device_id: str, envelope: Envelope) -> None:
        """Keep a reading."""
        self._batch.added.append(Kept(device_id, envelope.msg_id.bytes, contract.encode(envelope)))

    def forget(self, device_id: str, msg_ids: Iterable[UUID]) -> None:
        """These readings are settled."""
        self._batch.settled += [(device_id, msg_id.bytes) for msg_id in msg_ids]

    def session(self, device_id: str, session: int) -> None:
        """Keep a session number."""
        self._batch.sessions[device_id] = session

    def firmware(self, device_id: str, memory: bytes) -> None:
        """Keep what a device knows of its firmware update."""
        self._batch.firmware[device_id] = memory

    async def committed(self) -> None:
        """Wait until everything said before is durable."""
        await self._done.wait()

    async def boot(self, device_id: str, now_ms: int) -> Counters:
        """Begin a run of a device; returns its counters when that is durable."""
        self._batch.boots[device_id] = now_ms
        await self.committed()
        self._write_ledger(self.outbox.pending(device_id, limit=self.outbox.bound))  # a kill may have come before
        return self.outbox.counters(device_id)

    async def commit(self) -> dict[str, int]:
        """Write everything collected so far. Answers the devices that lost readings, and how many in their life.

        A full or broken disk is waited for: nothing is lost meanwhile, and the caller makes no new readings.
        """
        batch, self._batch = self._batch, Batch()
        done, self._done = self._done, asyncio.Event()
        dropped = await self._write(batch) if batch != Batch() else {}
        self._write_ledger(batch.added)
        done.set()
        return dropped

    def close(self) -> None:
        """Close the files after a last commit."""
        self._thread.shutdown()
        self.outbox.close()

    async def _write(self, batch: Batch) -> dict[str, int]:
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, self.outbox.commit, batch)
            except sqlite3.Error as error:
                logger.error("cannot write the outbox: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def _write_ledger(self, readings: Iterable[Kept]) -> None:
        if self._ledger is not None:
            self._ledger.write(readings)
