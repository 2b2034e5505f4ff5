"""Days of readings that are over and quiet: their indexes packed once, their rows frozen.

Readings come in the order of devices' clocks and ids, so an index that grows with them is a third air. Built anew it
stays packed, since hardly anything is added to such a day. What is sealed says so in the comment of its table, and so
forgets it with the table. Nobody waits: all of it goes on beside ingest and queries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper

from telemetry.archive.one_at_a_time import alone
from telemetry.tables import partitions

log = structlog.get_logger(__name__)
QUIET = 2
"""Days that a day must be over."""
PATIENCE = "60s"
"""Building anew waits for every older transaction to end; who reads for longer costs the day an hour."""
_SEALED = "sealed"
_OPEN = """
    SELECT name FROM unnest(%s::text[]) AS name
     WHERE obj_description(to_regclass(name), 'pg_class') IS DISTINCT FROM %s ORDER BY name DESC LIMIT 1
"""
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND NOT indisvalid"


def seal_next(now: datetime) -> str:
    """Seal the newest day that is over for two days and open; older ones leave the database before it.

    Returns its table's name; "" when there is none, when the archive or retention are at work, and when somebody reads
    for too long. After a crash at any line it is done once more, without what that left. Not inside a transaction.
    Raises django.db.Error when the database is away.
    """
    with alone() as ours:
        name = _next(now) if ours else ""
        if not name:
            return ""
        try:
            _seal(name)
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            log.warning("partition_busy", partition=name, error=str(error).strip())
            return ""
    log.info("day_sealed", partition=name)
    return name


def is_due(day: date, now: datetime) -> bool:
    """Is this day (UTC) over for two days?"""
    return day + timedelta(days=1 + QUIET) <= now.astimezone(UTC).date()


def _next(now: datetime) -> str:
    names = [partitions.partition(day) for day in partitions.days() if is_due(day, now)]
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [names, _SEALED])
        row = cursor.fetchone()
    return row[0] if row else ""


def _seal(name: str) -> None:
    with _patient() as cursor:
        cursor.execute(_INVALID, [name])  # what a run that was cut off left, by PostgreSQL named …_ccnew or …_ccold
        for (index,) in cursor.fetchall():
            cursor.execute(f"DROP INDEX CONCURRENTLY {index}")
        cursor.execute(f"REINDEX TABLE CONCURRENTLY {name}")
        cursor.execute(f"VACUUM (FREEZE, ANALYZE) {name}")
        cursor.execute(f"COMMENT ON TABLE {name} IS '{_SEALED}'")


@contextmanager
def _patient() -> Iterator[CursorWrapper]:
    """A cursor whose locks are waited for so long; for the session, as each of these statements has transactions."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{PATIENCE}'")
        try:
            yield cursor
        finally:
            if connection.is_usable():
                cursor.execute("RESET lock_timeout")
