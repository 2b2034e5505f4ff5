"""Carries out what `update.step` decides, in order, and nothing before it is durable."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from agent.client import end
from agent.faults import Fate
from agent.journal import Journal
from agent.update_messages import Abort, Discard, DownloadProgress, Effect, Keep, Message, NotDone, Report, Work
from agent.workshop import Workshop
from devices.contract import UpdateReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ties:
    """What the work on updates does to the rest of the device."""

    tell: Callable[[Message], None]
    publish: Callable[[UpdateReport], None]
    """Now, or never: only while online."""
    reboot: Callable[[], None]
    cut: Callable[[], None]
    """The power goes."""
    hang_up: Callable[[], None]
    """The line breaks."""


class Updating:
    """The work of one device's updates."""

    def __init__(self, workshop: Workshop, journal: Journal, ties: Ties) -> None:
        self.workshop = workshop
        self._journal, self._ties, self._luck = journal, ties, workshop.luck
        self._name = workshop.build.device_id
        self._queue: deque[tuple[int, Effect]] = deque()
        self._said = self._durable = 0
        self._worker: asyncio.Task[None] | None = None
        self._job: asyncio.Task[None] | None = None
        self._held: UpdateReport | None = None

    def act(self, effect: Effect) -> None:
        """Carry out an effect: at once if all that was said before is durable, else as soon as it is."""
        match effect:
            case Keep(memory):
                self._said += 1
                self._journal.firmware(self._name, memory)
            case Abort():
                self.abort()
            case _ if self._queue or self._durable < self._said:
                self._queue.append((self._said, effect))
                if self._worker is None or self._worker.done():
                    self._worker = asyncio.create_task(self._work_off())
            case _:
                self._carry_out(effect)

    def abort(self) -> None:
        """Whatever is under way ends, and nobody hears of it."""
        self._queue = deque(item for item in self._queue if not isinstance(item[1], Work))
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def forget(self) -> None:
        """The power is gone: so is everything that was only planned."""
        self.abort()
        self._queue.clear()
        self._held = None

    async def close(self) -> None:
        """End what is still being done."""
        await end([task for task in (self._worker, self._job) if task is not None])

    async def _work_off(self) -> None:
        while self._queue:
            stamp, _ = self._queue[0]
            if self._durable < stamp:
                said = self._said
                await self._journal.committed()
                self._durable = said
            while self._queue and self._queue[0][0] <= self._durable:
                self._carry_out(self._queue.popleft()[1])

    def _carry_out(self, effect: Effect) -> None:
        if self._luck.cut():
            self._ties.cut()
            return
        match effect:
            case Report(report):
                self._publish(report)
            case Discard():
                self._discard()
            case _:
                self._job = asyncio.create_task(self._begin(cast("Work", effect)))

    async def _begin(self, work: Work) -> None:
        me = asyncio.current_task()
        try:
            message: Message | None = await self.workshop.do(work, lambda done: self._ties.tell(DownloadProgress(done)))
        except Exception as error:  # whatever it was: the device lives on, and tries again
            message = NotDone(repr(error))
        if self._job is not me:  # aborted, and the cancellation got lost
            return
        self._job = None
        if self._luck.cut():
            self._ties.cut()
        elif message is None:
            self._ties.reboot()
        else:
            self._ties.tell(message)

    def _publish(self, report: UpdateReport) -> None:
        loop, held, self._held = asyncio.get_running_loop(), self._held, None
        match self._luck.fate():
            case Fate.DROP:
                self._ties.hang_up()
            case Fate.DELAY:
                loop.call_later(self._luck.delay(), self._ties.publish, report)
            case Fate.REORDER:
                self._held = report
                loop.call_later(self._luck.delay(), self._release, report)
            case fate:
                for _ in range(2 if fate is Fate.DUPLICATE else 1):
                    self._ties.publish(report)
        if held is not None:
            self._ties.publish(held)

    def _release(self, report: UpdateReport) -> None:
        if self._held is report:  # no other came to overtake it
            self._held = None
            self._ties.publish(report)

    def _discard(self) -> None:
        try:
            self.workshop.discard()
        except OSError as error:  # it is in nobody's way
            logger.info("%s: firmware: cannot delete a download: %s", self._name, error)
