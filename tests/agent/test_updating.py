"""What carries an update's effects out, with a real journal: nothing is said with a number that is not durable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from agent.faults import Luck
from agent.journal import Journal
from agent.outbox import Outbox
from agent.update import step
from agent.update_messages import Booted, Message, OfferReceived, Online
from agent.update_state import Update, decode
from agent.updating import Ties, Updating
from agent.workshop import Workshop
from devices.contract import UpdateReport
from tests.agent.plant import BUILD, NOW, offer


class Idle:
    """A workshop in which every piece of work takes for ever."""

    build, luck = BUILD, Luck()

    async def do(self, *_: object) -> Message | None:
        await asyncio.get_running_loop().create_future()
        return None

    def discard(self) -> None:
        """There is nothing."""


class Rig:
    """One device's updates on a real journal; `said` is what it published, with the number that was durable then."""

    def __init__(self, tmp_path: Path) -> None:
        self.journal = Journal(Outbox(tmp_path / "outbox", 10))
        self.said: list[tuple[UpdateReport, int]] = []
        self.online = False
        ties = Ties(self.hear, self._publish, lambda: None, lambda: None, lambda: None)
        self.updating = Updating(cast("Workshop", Idle()), self.journal, ties)
        self.state = Update(BUILD)
        self.hear(Booted("a", "1.0.0", "boot 1"))

    @property
    def durable(self) -> int:
        """The newest number that survives."""
        return decode(self.journal.outbox.firmware(BUILD.device_id)).seq

    def hear(self, message: Message) -> None:
        self.state, effects = step(self.state, message, NOW)
        for effect in effects:
            self.updating.act(effect)

    def _publish(self, report: UpdateReport) -> None:
        if self.online:
            self.said.append((report, self.durable))

    async def turn(self) -> None:
        """Whoever can go on does."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.updating.forget()
        await self.journal.commit()
        await self.updating.close()
        self.journal.close()


def test_what_is_said_again_on_a_connection_waits_for_numbers_that_are_not_durable_yet(tmp_path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(tmp_path)
        rig.hear(OfferReceived(offer(3, "0.9.0")))
        rig.hear(OfferReceived(offer(1)))
        await rig.turn()
        rig.online = True
        rig.hear(Online())
        await rig.turn()
        assert (rig.said, rig.durable) == ([], 0)
        await rig.journal.commit()
        await rig.turn()
        assert [report.seq for report, _ in rig.said][-2:] == [1, 2]
        assert all(report.seq <= durable for report, durable in rig.said)
        await rig.close()

    asyncio.run(scenario())


def test_a_number_made_while_another_is_being_written_waits_for_the_next_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        rig = Rig(tmp_path)
        rig.online = True
        rig.hear(OfferReceived(offer(3, "0.9.0")))
        await rig.turn()
        writing = asyncio.create_task(rig.journal.commit())
        await asyncio.sleep(0)  # it has begun, and takes nothing more along
        rig.hear(OfferReceived(offer(1)))
        rig.hear(Online())
        await writing
        await rig.turn()
        assert [report.seq for report, _ in rig.said] == [1]
        await rig.journal.commit()
        await rig.turn()
        assert [report.seq for report, _ in rig.said][-2:] == [1, 2]
        assert all(report.seq <= durable for report, durable in rig.said)
        await rig.close()

    asyncio.run(scenario())
