"""Devices kept in this process's memory for as long as the database does not say that they changed.

Each row of devices_device names the transaction that changed it last (`changed_xid`, by triggers); devices_upheaval
names those after which nothing may be believed. A look at the database asks which of them changed *since the last
look*, on the caller's connection, and what it names is forgotten. It is right however transactions overlap, because:

- A look remembers its snapshot's `xmin`, its *horizon*: every transaction below it had ended. The next look asks for
  `changed_xid >= horizon`, so a transaction that still ran then is asked for again, however late it commits. (By the
  snapshot's `xmax`, or by a time, one that began early and committed late would be missed.)
- Two transactions may change a row in another order than that of their numbers, and the row keeps the number of the
  one that committed last. If it is missing from a snapshot, it had not ended then, so its number is not below the
  horizon either: the row is asked for.
- Rows are read after the look, by a snapshot that is not older than it, so the look's horizon holds for them too.
- Threads look at the same time, and no lock is held while the database answers. `begin` hands out what is in memory
  together with its mark, the horizon it is as good as; the look checks exactly that. `end` raises the mark only if
  nobody moved it meanwhile, and lowers it to its own horizon if somebody did: a lower mark asks for more than it must.
- A transaction that has written sees its own changes, which may yet be rolled back: it leaves the memory alone
  (`Look.written`). One that has not written sees only what others committed.
- Another server (restored, failed over) or another table may know other transactions by the same numbers:
  `Look.server` differs then, and everything is forgotten. So it is if the horizon went back on the same server.
- Numbers not below the snapshot's `xmax` cannot be changes that it sees: they came with rows of another server's dump.
  They are left out, or the memory would be useless until the counter has passed them.

A transaction that runs for hours holds the horizon back: what changed since is read again at each look, no more.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

MAX_CHANGED = 1000
"""More changes than this at once, and everything is forgotten: asking for them all would be as dear."""

_LOOK = f"""
    SELECT concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), 'devices_device'::regclass::oid),
           pg_snapshot_xmin(s)::text,
           pg_current_xact_id_if_assigned() IS NOT NULL,
           EXISTS (SELECT FROM devices_upheaval
                    WHERE changed_xid >= %(since)s::text::xid8 AND changed_xid < pg_snapshot_xmax(s)),
           ARRAY(SELECT device_id FROM devices_device
                  WHERE changed_xid >= %(since)s::text::xid8 AND changed_xid < pg_snapshot_xmax(s)
                  ORDER BY changed_xid LIMIT {MAX_CHANGED + 1})
      FROM pg_current_snapshot() AS s
"""  # noqa: S608 (a constant)


@dataclass(frozen=True, slots=True)
class Mark:
    """How good what is in memory is: without the changes of transactions from `horizon` on, on this server."""

    server: str
    horizon: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the database said."""

    mark: Mark
    written: bool
    """The transaction that looks has changed something itself."""
    upheaval: bool
    changed: list[str]
    """Device ids, at most MAX_CHANGED + 1."""

    def spares(self, mark: Mark | None) -> bool:
        """Is what is in memory as of `mark` still good, but for `changed`?"""
        return (
            mark is not None
            and mark.server == self.mark.server
            and mark.horizon <= self.mark.horizon
            and not self.upheaval
            and len(self.changed) <= MAX_CHANGED
        )


def look(since: Mark | None, using: BaseDatabaseWrapper = connection) -> Look:
    """Ask which devices changed since that mark, in the caller's transaction. Raises django.db.Error."""
    with using.cursor() as cursor:
        cursor.execute(_LOOK, {"since": str(since.horizon) if since else None})
        server, horizon, written, upheaval, changed = cursor.fetchone()
    return Look(Mark(server, int(horizon)), written, upheaval, changed)


_Value = TypeVar("_Value")


class Memory(Generic[_Value]):
    """At most `bound` values by device id, for any number of threads."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._values: dict[str, _Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def begin(self, device_ids: Iterable[str]) -> tuple[Mark | None, dict[str, _Value]]:
        """What is in memory of these, and as of when: believe it only after a look since then."""
        with self._lock:
            values = self._values
            return self._mark, {device_id: values[device_id] for device_id in device_ids if device_id in values}

    def end(self, begun: Mark | None, look: Look, loaded: Mapping[str, _Value]) -> None:
        """Forget what the look since `begun` named, and keep what was read after it."""
        with self._lock:
            moved = self._mark != begun
            if moved and (self._mark is None or self._mark.server != look.mark.server):
                return  # emptied meanwhile, or filled from another server
            mark = look.mark
            if not look.spares(begun):
                self._values.clear()
            else:
                for device_id in look.changed:
                    self._values.pop(device_id, None)
                if moved and self._mark is not None and self._mark.horizon < mark.horizon:
                    mark = self._mark
            if len(self._values) + len(loaded) > self._bound:
                self._values.clear()
            self._values.update(loaded)
            self._mark = mark

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._mark = None
            self._values = {}
