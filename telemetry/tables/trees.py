"""A table partitioned by time: its parts are made late without losing what fell into DEFAULT, listed and dropped."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

LOCK = 0x9A57
"""Advisory lock: two workers make a part once. Who holds it shared sees no row move meanwhile."""
_DROPPING = 0x9A58  # one dropper at a time
_LITTLE = 10_000  # rows that may be copied while everybody waits
PATIENCE = "2s"
"""A long read holds these tables: better no part today than no ingest while we wait behind it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A table whose parts hold a day or a month (UTC) each, and what is in none of them in DEFAULT."""

    table: str
    column: str
    """The time that decides."""
    storage: str
    """Storage parameters of a part; they are not inherited."""
    monthly: bool = False

    @property
    def strays(self) -> str:
        """Name of the DEFAULT partition."""
        return f"{self.table}_default"

    def first(self, day: date) -> date:
        """The day on which the part with this day begins."""
        return day.replace(day=1) if self.monthly else day

    def after(self, day: date) -> date:
        """The day on which the next part begins."""
        return (self.first(day) + timedelta(days=32)).replace(day=1) if self.monthly else day + timedelta(days=1)

    def part(self, day: date) -> str:
        """Name of the part with this day."""
        return f"{self.table}_{day:%Y%m}" if self.monthly else f"{self.table}_{day:%Y%m%d}"


def midnight(day: date) -> datetime:
    """The first moment (UTC) of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def exists(name: str) -> bool:
    """Is there such a table?"""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        return bool(cursor.fetchone()[0])


def parts(tree: Tree) -> list[date]:
    """First days of the parts there are, the oldest first."""
    digits = 6 if tree.monthly else 8
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(relname, %s) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = %s::regclass AND relname ~ %s ORDER BY 1",
            [digits, tree.table, rf"^{tree.table}_\d{{{digits}}}$"],
        )
        return [date.fromisoformat(f"{row[0]}01"[:8]) for row in cursor.fetchall()]


def stray_days(tree: Tree) -> list[date]:
    """Days (UTC) that have rows in the DEFAULT partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT ({tree.column} AT TIME ZONE 'UTC')::date FROM {tree.strays} ORDER BY 1")  # noqa: S608
        return [row[0] for row in cursor.fetchall()]


def make(tree: Tree, day: date) -> bool:
    """Make the part with this day, moving its strays in. Returns False when it is there already.

    Who inserts waits only while what came after the copy is copied, and strays are deleted.
    Raises OperationalError when somebody reads the table for longer than two seconds meanwhile.
    """
    start, end = midnight(tree.first(day)), midnight(tree.after(day))
    name, strays = tree.part(day), tree.strays
    inside = f"{tree.column} >= '{start}' AND {tree.column} < '{end}'"
    copy = f"INSERT INTO {name} SELECT * FROM {strays} WHERE {inside}"  # noqa: S608 (our names)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if exists(name):
            return False
        cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        _nobody_reads(cursor, strays)
        # Made beside the tree, filled, then attached: PostgreSQL refuses a part whose rows lie in DEFAULT. Constrained,
        # so that attaching need not look at its rows again.
        cursor.execute(
            f"CREATE TABLE {name} (LIKE {tree.table} INCLUDING ALL, CONSTRAINT inside CHECK ({inside}))"
            f" WITH ({tree.storage})"
        )
        oldest, put = _copy(cursor, copy)
        _nobody_reads(cursor, strays)
        # Who inserts meanwhile must wait before it chose DEFAULT, else it would be refused there a moment later.
        cursor.execute(f"LOCK TABLE ONLY {tree.table} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"LOCK TABLE {strays} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"{copy} {_SINCE}", [oldest])
        put += cursor.rowcount
        cursor.execute(f"SELECT count(*), count(*) FILTER (WHERE {inside}) FROM {strays}")  # noqa: S608 (our names)
        total, found = cursor.fetchone()
        if found != put:  # somebody deleted strays since the copy; it must not bring them back
            raise OperationalError(f"{strays} changed meanwhile: {put} were copied, {found} are there")
        # Deleting a million rows takes seconds in which everybody waits.
        cursor.execute(f"TRUNCATE {strays}" if found == total else f"DELETE FROM {strays} WHERE {inside}")  # noqa: S608
        cursor.execute(f"ALTER TABLE {tree.table} ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
        cursor.execute(f"ALTER TABLE {name} DROP CONSTRAINT inside")
    return True


def _nobody_reads(cursor: CursorWrapper, strays: str) -> None:
    """Wait until nobody has the strays, and let go of them again. Raises OperationalError after two seconds.

    While we wait here only strays wait behind us. Waiting with the tree locked would hold up all ingest; holding the
    strays while we wait for the tree would be a deadlock with who inserts, and so has locked the tree before a stray.
    """
    with transaction.atomic():
        cursor.execute(f"LOCK TABLE {strays} IN ACCESS EXCLUSIVE MODE")
        transaction.set_rollback(True)  # a savepoint: what was locked in it is free again


# What a copy could not see is of a transaction that had not ended then: no older than the oldest of those.
_SINCE = "AND age(xmin) <= age(%s::xid) ON CONFLICT DO NOTHING"


def _copy(cursor: CursorWrapper, copy: str) -> tuple[str, int]:
    """Copy while ingest goes on, then what came meanwhile, as long as that gets less.

    Returns the oldest transaction that the last copy did not see, and how many rows were copied.
    """
    oldest, put, before = "", 0, math.inf
    while True:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint & 4294967295")
        seen = str(cursor.fetchone()[0])
        cursor.execute(*((f"{copy} {_SINCE}", [oldest]) if oldest else (copy,)))
        oldest, some = seen, cursor.rowcount
        put += some
        if some < _LITTLE or some > before / 2:
            return oldest, put
        before = some


def drop(tree: Tree, day: date, check: Callable[[], bool] = lambda: True) -> bool:
    """Drop the part with this day, if `check` agrees. Returns False when it is not there or the check says no.

    The check runs in the transaction that drops, when nobody writes to the part any more; people still read it. What
    it raises keeps the part. Raises OperationalError when somebody reads the table for longer than two seconds.
    """
    name = tree.part(day)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_DROPPING])
        if not exists(name):
            return False
        cursor.execute(f"LOCK TABLE {name} IN SHARE MODE")
        if not check():
            return False
        # Takes the whole tree for a moment. DETACH CONCURRENTLY would not, but is refused where there is a DEFAULT.
        cursor.execute(f"DROP TABLE {name}")
    return True
