import asyncio
import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from agent import journal as module
from agent.journal import Journal
from agent.ledger import Ledger
from agent.outbox import Batch, Outbox
from devices.contract import Envelope

READING = Envelope(UUID(int=5), 1, 1, {"flow_lpm": 1.0})


def journal(tmp_path: Path) -> Journal:
    return Journal(Outbox(tmp_path / "outbox", 10), Ledger(tmp_path / "ledger"))


def test_what_is_remembered_is_durable_and_in_the_ledger_after_the_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        book = journal(tmp_path)
        book.remember("d-1", READING)
        assert book.outbox.pending("d-1") == []
        await book.commit()
        assert [kept.msg_id for kept in book.outbox.pending("d-1")] == [READING.msg_id.bytes]
        assert str(READING.msg_id) in (tmp_path / "ledger").read_text()
        book.forget("d-1", [READING.msg_id])
        await book.commit()
        assert book.outbox.depth() == 0
        book.close()

    asyncio.run(scenario())


def test_waiting_ends_with_the_commit_that_holds_what_was_said_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        book = journal(tmp_path)
        book.session("d-1", 4)
        waiting = asyncio.create_task(book.committed())
        await asyncio.sleep(0)
        assert not waiting.done()
        await book.commit()
        await waiting
        assert book.outbox.counters("d-1").session == 4

    asyncio.run(scenario())


def test_a_boot_lists_what_a_kill_kept_out_of_the_ledger(tmp_path: Path) -> None:
    async def scenario() -> None:
        first = Journal(Outbox(tmp_path / "outbox", 10))
        first.remember("d-1", READING)
        await first.commit()
        first.close()
        book = journal(tmp_path)
        boot = asyncio.create_task(book.boot("d-1", 1000))
        await asyncio.sleep(0)
        await book.commit()
        assert (await boot).boot_ms == 1000
        assert str(READING.msg_id) in (tmp_path / "ledger").read_text()

    asyncio.run(scenario())


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    book = journal(tmp_path)
    commit, failures = book.outbox.commit, [sqlite3.OperationalError("disk full")] * 3

    def sometimes(batch: Batch) -> dict[str, int]:
        if failures:
            raise failures.pop()
        return commit(batch)

    monkeypatch.setattr(book.outbox, "commit", sometimes)
    book.remember("d-1", READING)
    asyncio.run(book.commit())
    assert book.outbox.depth() == 1
