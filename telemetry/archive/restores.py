"""Archived days back into the database, for a while: until `keep_until`, when the archive drops them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest

from telemetry.archive import canonical, reading, retention
from telemetry.archive import files as archive_files
from telemetry.archive.digests import ask
from telemetry.archive.files import ArchiveError
from telemetry.archive.one_at_a_time import alone
from telemetry.exporting import scratch
from telemetry.models import ArchivedDay
from telemetry.tables import partitions

KEEP_DAYS = 30
_BLOCK = 1 << 20
_KEPT = "device_id, ts, msg_id, received_at, schema_id, flags, metrics, extra"


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a day."""

    day: date
    rows: int
    """Readings that its files hold."""
    put: int
    """Of these, readings that were not in the database."""
    taken: int
    """Readings that rules of retention took from the day at once."""


def restore(day: date, now: datetime, keep_days: int = KEEP_DAYS) -> Restored:
    """Put a day's readings back as they were. What is in the database already stays as it is there.

    All parts in one transaction, the newest first. A day that was empty before must say afterwards, to the bit, what
    it said when it was dropped. Its figures of minutes and hours were never gone, so nothing is rolled up anew. What
    rules of retention say goes in the same transaction: nobody sees it again. A day that was to stay longer does.

    Raises ArchiveError (a file is missing, or not what its manifest and its row say; the archive is busy; the day was
    never archived), ParquetError, OSError, django.db.Error: the day is as before then.
    """
    with alone() as ours:
        if not ours:
            raise ArchiveError("archive: another process works on archive or retention; try again when it is done")
        parts = list(ArchivedDay.objects.filter(day=day).order_by("-part"))
        if not parts:
            raise ArchiveError(f"{day}: never archived")
        with scratch.folder("restore") as folder:
            files = [_checked(part, folder) for part in parts]
            partitions.make_day(day)
            with transaction.atomic():
                before = _rows_of(day)
                put = sum(_put(file, width, day) for file, width in files)
                if not before and len(parts) == 1:
                    _check(day, parts[0])
                taken = retention.apply_to_day(day, now)
                until = Greatest(F("keep_until"), Value(now + timedelta(days=keep_days)))  # of PostgreSQL: NULL is less
                ArchivedDay.objects.filter(day=day).update(restored_at=now, keep_until=until, dropped_at=None)
    return Restored(day, sum(part.rows for part in parts), put, taken)


def _checked(part: ArchivedDay, folder: Path) -> tuple[Path, int]:
    """A copy of a part's file that is what its manifest and its row say, and how many columns of values it has."""
    file = folder / f"{part.part}.parquet"
    found = archive_files.fetch(part.path, file)
    told = archive_files.read_manifest(part.path)
    for name, digest in (("its row", part.file_digest), ("its manifest", told.file_digest)):
        if found != digest:
            raise ArchiveError(f"{part.path}: its bytes are not those that {name} tells of ({found}, not {digest})")
    if told.digest != part.digest or told.rows != part.rows:
        raise ArchiveError(
            f"{archive_files.manifest_path(part.path)}: says otherwise than the database of its readings"
        )
    return file, told.width


def _put(file: Path, width: int, day: date) -> int:
    """Insert a file's readings. Returns how many were not there."""
    names = [column.name for column in canonical.columns(width)][1:]
    csv = file.with_suffix(".csv")
    reading.to_csv(file, names, csv)
    metrics = canonical.metric_columns(width)
    array = f"(ARRAY[{', '.join(metrics)}]::float8[])[1:metrics]" if width else "'{}'::float8[]"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS restoring")
        cursor.execute(f"CREATE TEMPORARY TABLE restoring ({_typed(names)}) ON COMMIT DROP")
        with (
            csv.open("rb") as source,
            connection.wrap_database_errors,
            cursor.copy("COPY restoring FROM STDIN (FORMAT csv)") as copy,
        ):
            while block := source.read(_BLOCK):
                copy.write(block)
        csv.unlink()
        cursor.execute(
            f"INSERT INTO {partitions.partition(day)} ({_KEPT})"  # noqa: S608 (our names)
            f" SELECT device_pk, ts, msg_id, received_at, schema_id, flags, {array}, extra FROM restoring"
            " ON CONFLICT DO NOTHING"
        )
        return int(cursor.rowcount)


def _typed(names: Sequence[str]) -> str:
    fixed = {
        "device_pk": "int", "ts": "timestamptz", "msg_id": "uuid", "received_at": "timestamptz",
        "schema_id": "smallint", "flags": "smallint", "metrics": "smallint", "extra": "jsonb",
    }  # fmt: skip
    return ", ".join(f"{name} {fixed.get(name, 'float8')}" for name in names)


def _rows_of(day: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {partitions.partition(day)})")  # noqa: S608 (our names)
        return bool(cursor.fetchone()[0])


def _check(day: date, part: ArchivedDay) -> None:
    told = ask(day)
    if told is None or told.digest != part.digest:
        raise ArchiveError(f"{part.path}: restored, the day says {told}, and {part.digest} when it was dropped")
