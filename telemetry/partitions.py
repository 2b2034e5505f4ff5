"""Daily partitions of the readings: made ahead, and made late without losing what fell into the DEFAULT one."""

from datetime import UTC, date, datetime, timedelta

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction

log = structlog.get_logger(__name__)

TABLE = "telemetry_reading"
STRAYS = "telemetry_reading_default"
_LOCK = 0x9A57  # advisory lock: two workers make a day once


def partition(day: date) -> str:
    """Table name of a day (UTC)."""
    return f"{TABLE}_{day:%Y%m%d}"


def make_day(day: date) -> bool:
    """Make the partition of a day, moving its strays in. Returns False when it is there already.

    Raises OperationalError when somebody reads the table for longer than two seconds meanwhile.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    name = partition(day)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return False
        # A long read holds these tables: better no partition today than no ingest while we wait behind it.
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        # Made beside the tree, filled, then attached: PostgreSQL refuses a day whose rows lie in DEFAULT.
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL)")
        # Who inserts meanwhile must wait before it chose DEFAULT, else it would be refused there a moment later.
        cursor.execute(f"LOCK TABLE ONLY {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"LOCK TABLE {STRAYS} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {STRAYS} WHERE ts >= %s AND ts < %s RETURNING *) "  # noqa: S608 (our names)
            f"INSERT INTO {name} SELECT * FROM moved",
            [start, end],
        )
        cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
    return True


def make_ahead(now: datetime) -> list[date]:
    """Make yesterday's to the coming days' partitions, and those of all strays. Returns the days made."""
    today = now.astimezone(UTC).date()
    days = [today + timedelta(days=ahead) for ahead in range(-1, settings.PARTITION_DAYS_AHEAD + 1)]
    return [day for day in [*days, *stray_days()] if _made(day)]


def _made(day: date) -> bool:
    try:
        return make_day(day)
    except OperationalError as error:
        log.warning("partition_not_made", day=str(day), error=str(error).strip())
        return False  # tried again every hour; there are days of room


def stray_days() -> list[date]:
    """Days (UTC) that have readings in the DEFAULT partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT (ts AT TIME ZONE 'UTC')::date FROM {STRAYS} ORDER BY 1")  # noqa: S608
        return [row[0] for row in cursor.fetchall()]


def days_ahead(now: datetime) -> int:
    """How many days from today on have a partition without a gap; 0 means today's is missing."""
    today = now.astimezone(UTC).date()
    with connection.cursor() as cursor:
        names = [partition(today + timedelta(days=ahead)) for ahead in range(settings.PARTITION_DAYS_AHEAD + 1)]
        cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [names])
        present = {row[0] for row in cursor.fetchall()}
    for ahead, name in enumerate(names):
        if name not in present:
            return ahead
    return len(names)
