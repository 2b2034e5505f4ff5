"""Days that leave the database: written as Parquet, read back, compared, and only then dropped.

One process at a time works on archive and retention (`alone`). A crash at any line: what has no row is written again,
what has one is compared again and dropped. Nothing adds to such a day, since ingest refuses what is older than
HOT_DAYS; nothing else takes from it, since the rules of retention run under the same lock. That a hand changed it all
the same is seen by the digest, which is asked once more in the transaction that drops, when nobody can write any more.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from devices import findings
from devices.auditing import CRITICAL, Found
from telemetry.archive import files, retention, writing
from telemetry.archive.digests import Said, ask
from telemetry.archive.files import ArchiveError
from telemetry.archive.one_at_a_time import alone
from telemetry.models import ArchivedDay
from telemetry.rolled import rollups
from telemetry.tables import partitions

log = structlog.get_logger(__name__)
FAILED = "archive_failed"
_LAG = 43_200.0
"""Seconds rollups may be behind: what came in last for a day that is due came a whole day ago."""


def archive_due(now: datetime) -> list[date]:
    """Archive and drop each day older than HOT_DAYS. Returns the days dropped. Continues where a crash cut it off.

    A day that cannot be archived stays, is a finding, and is tried again with the next run. Nothing is done while
    another process works on archive or retention. Raises django.db.Error when the database is away.
    """
    dropped: list[date] = []
    failed: list[Found] = []
    with alone() as ours:
        if not ours:
            return []
        if rollups.lag(now) > _LAG:
            log.warning("archive_waits_for_rollups", seconds=rollups.lag(now))
            return []
        partitions.make_ahead(now)  # strays of old days get a partition, and come along
        for day in due(partitions.days(), _kept(now), now):
            try:
                if archive_day(day, now):
                    dropped.append(day)
            except Exception as error:  # whatever a storage of any kind raises
                if _database_is_away(error):
                    raise
                log.exception("archive_failed", day=str(day))
                if not _is_in_use(error):
                    failed.append(Found(FAILED, f"{type(error).__name__}: {error}", CRITICAL, subject=str(day)))
        findings.observe([FAILED], failed)
    return dropped


def due(days: Iterable[date], kept: set[date], now: datetime) -> list[date]:
    """Of these days those that ingest refuses since a whole day and that are not `kept`, the oldest first.

    A batch that was judged before midnight is committed long before.
    """
    first = now.astimezone(UTC).date() - timedelta(days=settings.HOT_DAYS + 1)
    return sorted(day for day in days if day < first and day not in kept)


def _kept(now: datetime) -> set[date]:
    return set(ArchivedDay.objects.filter(keep_until__gt=now).values_list("day", flat=True))


def archive_day(day: date, now: datetime) -> bool:
    """Archive one day and drop it. Returns False when it is not there, or changed meanwhile.

    What a rule of retention says goes first: it must not reach a file that nobody rewrites. Raises ArchiveError,
    ParquetError, OSError, django.db.Error, and what a remote storage raises; the day stays then.
    """
    retention.apply_to_day(day, now)
    said = ask(day)
    if said and not _is_archived(day, said):
        writing.write(day, said, now)

    def unchanged() -> bool:
        if ask(day) != said:
            return False
        ArchivedDay.objects.filter(day=day, dropped_at__isnull=True).update(dropped_at=now)
        return True

    dropped = partitions.drop_day(day, unchanged)
    log.info("day_archived", day=str(day), rows=said.rows if said else 0, dropped=dropped)
    return dropped


def _is_archived(day: date, said: Said) -> bool:
    """Does a part hold exactly this, in a file that is whole? So it is after a crash, and after a restore."""
    for part in ArchivedDay.objects.filter(day=day, digest=said.digest):
        try:
            if files.file_digest(part.path) == part.file_digest:
                return True
        except ArchiveError as error:
            log.warning("archive_part_lost", path=part.path, error=str(error))
    return False


def _is_in_use(error: Exception) -> bool:
    return isinstance(error.__cause__, psycopg.errors.LockNotAvailable)


def _database_is_away(error: Exception) -> bool:
    """A connection that broke. Whatever else the database refuses is about the day."""
    if isinstance(error, InterfaceError):
        return True
    cause = error.__cause__
    return isinstance(error, OperationalError) and isinstance(cause, psycopg.OperationalError) and not cause.sqlstate
