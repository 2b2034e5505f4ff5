"""The durable, bounded outbox in SQLite: what is in here survives kill -9 and power cuts until the portal settles it.

One file holds many devices; the swarm commits once for all of them. Counters that must never go back live here too.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from devices import contract

MAX_BATCH = contract.MAX_ENVELOPES
"""Envelopes read at once: as many as a message may hold."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS envelope (
    device_id TEXT, msg_id BLOB, body BLOB NOT NULL, PRIMARY KEY (device_id, msg_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device (
    device_id TEXT PRIMARY KEY, boot_ms INTEGER NOT NULL, session INTEGER NOT NULL, dropped INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS firmware (device_id TEXT PRIMARY KEY, memory BLOB NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """An unsettled envelope: its JSON, byte for byte as first sent. Ids sort in the order they were made."""

    device_id: str
    msg_id: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Counters:
    """What a device carries over a restart."""

    boot_ms: int = 0
    session: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Batch:
    """Changes for one transaction. Nothing may be settled in the batch that adds it."""

    added: list[Kept] = field(default_factory=list)
    settled: list[tuple[str, bytes]] = field(default_factory=list)
    boots: dict[str, int] = field(default_factory=dict)
    """Devices that begin a run, and the epoch ms they believe it is."""
    sessions: dict[str, int] = field(default_factory=dict)
    firmware: dict[str, bytes] = field(default_factory=dict)
    """What devices know of their firmware updates."""


class Outbox:
    """Reads belong to one thread and commits to one other: two connections, and WAL lets neither wait."""

    def __init__(self, path: Path, bound: int) -> None:
        """Open or make the file; `bound` is the most envelopes kept for one device. Raises sqlite3.Error."""
        if bound < 1:
            raise ValueError("an outbox holds at least one envelope")
        self.bound = bound
        self._writer = _connect(path)
        self._writer.executescript(_SCHEMA)
        self._reader = _connect(path)
        counts = self._reader.execute("SELECT device_id, count(*) FROM envelope GROUP BY device_id")
        self._counts: Counter[str] = Counter(dict(counts.fetchall()))

    def commit(self, batch: Batch) -> dict[str, int]:
        """Write a batch durably. Answers, for each device whose oldest had to go, its total dropped so far.

        Raises sqlite3.Error; then nothing of the batch was written, and it can be committed again.
        """
        counts = self._counts.copy()
        with self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            self._settle(batch.settled, counts)
            touched = self._add(batch.added, counts)
            full = [device_id for device_id in touched if counts[device_id] > self.bound]
            dropped = {device_id: self._drop(device_id, counts) for device_id in full}
            for device_id, now_ms in batch.boots.items():  # ascends even when the clock was set back
                self._count(device_id, "boot_ms = max(boot_ms + 1, ?)", now_ms)
            for device_id, session in batch.sessions.items():
                self._count(device_id, "session = max(session, ?)", session)
            self._writer.executemany("INSERT OR REPLACE INTO firmware VALUES (?, ?)", batch.firmware.items())
        self._counts = counts
        return dropped

    def pending(
        self, device_id: str, after: bytes = b"", upto: bytes | None = None, limit: int = MAX_BATCH
    ) -> list[Kept]:
        """The oldest unsettled envelopes of a device with `after` < msg_id <= `upto`, in the order they were made."""
        rows = self._reader.execute(
            "SELECT device_id, msg_id, body FROM envelope WHERE device_id = ? AND msg_id > ? AND msg_id <= ?"
            " ORDER BY msg_id LIMIT ?",
            (device_id, after, upto if upto is not None else b"\xff" * 16, limit),
        )
        return [Kept(*row) for row in rows.fetchall()]

    def counters(self, device_id: str) -> Counters:
        """A device's counters; zeros before its first boot."""
        return _counters(self._reader, device_id)

    def firmware(self, device_id: str) -> bytes:
        """What a device knows of its firmware update; empty before the first."""
        row = self._reader.execute("SELECT memory FROM firmware WHERE device_id = ?", (device_id,)).fetchone()
        return bytes(row[0]) if row else b""

    def depth(self, device_id: str | None = None) -> int:
        """Envelopes kept, for one device or all."""
        counts = self._counts
        return counts.total() if device_id is None else counts[device_id]

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._reader.close()
        self._writer.close()

    def _settle(self, settled: Iterable[tuple[str, bytes]], counts: Counter[str]) -> None:
        for key in settled:
            deleted = self._writer.execute("DELETE FROM envelope WHERE device_id = ? AND msg_id = ?", key)
            counts[key[0]] -= deleted.rowcount

    def _add(self, added: Iterable[Kept], counts: Counter[str]) -> set[str]:
        for kept in added:
            inserted = self._writer.execute(
                "INSERT OR IGNORE INTO envelope VALUES (?, ?, ?)", (kept.device_id, kept.msg_id, kept.body)
            )
            counts[kept.device_id] += inserted.rowcount
        return {kept.device_id for kept in added}

    def _drop(self, device_id: str, counts: Counter[str]) -> int:
        excess = counts[device_id] - self.bound
        self._writer.execute(
            "DELETE FROM envelope WHERE device_id = ?1 AND msg_id IN"
            " (SELECT msg_id FROM envelope WHERE device_id = ?1 ORDER BY msg_id LIMIT ?2)",
            (device_id, excess),
        )
        counts[device_id] = self.bound
        self._count(device_id, "dropped = dropped + ?", excess)
        return _counters(self._writer, device_id).dropped

    def _count(self, device_id: str, change: str, value: int) -> None:
        self._writer.execute("INSERT OR IGNORE INTO device VALUES (?, 0, 0, 0)", (device_id,))
        self._writer.execute(f"UPDATE device SET {change} WHERE device_id = ?", (value, device_id))  # noqa: S608


def _counters(connection: sqlite3.Connection, device_id: str) -> Counters:
    query = "SELECT boot_ms, session, dropped FROM device WHERE device_id = ?"
    row = connection.execute(query, (device_id,)).fetchone()
    return Counters(*row) if row else Counters()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL would lose the last commits in a power cut
    return connection
