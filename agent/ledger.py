"""A list of every reading made, so that a test can prove that what is stored is exactly what was made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import msgspec

from agent.outbox import Kept


class Ledger:
    """One JSON line `{"device_id", "msg_id", "ts"}` a reading. Lines may repeat after a restart: it is a set."""

    def __init__(self, path: Path) -> None:
        """Open for appending; a line torn by a kill is cut off (its reading is in the outbox and comes again)."""
        self._file = path.open("ab+")
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)

    def write(self, readings: Iterable[Kept]) -> None:
        """Append readings that are committed and not yet published, and hand them to the operating system."""
        for kept in readings:
            ts = msgspec.json.decode(kept.body)["ts"]
            line = {"device_id": kept.device_id, "msg_id": UUID(bytes=kept.msg_id), "ts": ts}
            self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
