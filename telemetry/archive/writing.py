"""One day into a file of the archive: out of the table, into the storage, and read back from there."""

import hashlib
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

import zstandard
from django.db import connection
from django.db.models import Max

from devices.models import Device
from telemetry.archive import canonical, describing, reading
from telemetry.archive import files as archive_files
from telemetry.archive.digests import Said
from telemetry.archive.files import ArchiveError
from telemetry.exporting import parquet, scratch
from telemetry.models import ArchivedDay
from telemetry.tables import partitions


def write(day: date, said: Said, now: datetime) -> ArchivedDay:
    """Write a part with all readings of a day, and its row once file and manifest are read back and right.

    `said` is what the database says of the day. Raises ArchiveError when what the storage gives back says anything
    else, ParquetError, OSError, django.db.Error, and what a remote storage raises; there is no row then, and no file
    but one that is whole with its manifest, which the next run writes anew.
    """
    part = _free_part(day, said)
    path = archive_files.path_of(day, part)
    try:
        size, digest, content = _write(day, said, part, now)
    except BaseException:
        with suppress(Exception):  # the reason is raised; tried again every hour, files would pile up
            archive_files.storage().delete(path)
        raise
    kept = Device.objects.filter(pk__in=content.devices)
    return ArchivedDay.objects.create(
        day=day,
        part=part,
        path=path,
        rows=said.rows,
        size=size,
        digest=said.digest,
        file_digest=digest,
        first_ts=said.first_ts,
        last_ts=said.last_ts,
        archived_at=now,
        tenants=sorted(set(kept.values_list("tenant_id", flat=True))),
        device_types=sorted(set(kept.values_list("device_type_id", flat=True))),
    )


def _write(day: date, said: Said, part: int, now: datetime) -> tuple[int, str, reading.Content]:
    """File and manifest, read back: the file's size, its digest, and what it holds."""
    path = archive_files.path_of(day, part)
    with scratch.folder("archive") as folder:
        made = folder / "made.parquet"
        _make(day, said, made)
        with made.open("rb") as file:
            archive_files.put(file, path)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = made.stat().st_size
        made.unlink()
        back = folder / "back.parquet"
        if archive_files.fetch(path, back) != digest:
            raise ArchiveError(f"{path}: other bytes came back than were written")
        content = reading.read(back, said.width)
        if content.digest != said.digest:
            raise ArchiveError(f"{path}: reads as {content.digest}, the database said {said.digest}")
    written = describing.Written(day, part, path, size, digest, now)
    manifest = describing.describe(written, said, content)
    archive_files.write_manifest(manifest)
    if archive_files.read_manifest(path) != manifest:
        raise ArchiveError(f"{archive_files.manifest_path(path)}: came back with another content")
    return size, digest, content


def _free_part(day: date, said: Said) -> int:
    """The next number that no row has, and no file of other readings, or of readings that nothing tells of.

    A database that was put back to an earlier moment does not know of files that were written since: they stay. So
    does what a power cut left between a file and its manifest.
    """
    newest = ArchivedDay.objects.filter(day=day).aggregate(newest=Max("part"))["newest"]
    part = (newest or 0) + 1
    while not archive_files.is_free(archive_files.path_of(day, part), said.digest):
        part += 1
    return part


def _make(day: date, said: Said, target: Path) -> None:
    """Table → compressed CSV → Parquet, without ever holding the day."""
    csv = target.with_name("day.csv.zst")
    query = canonical.for_file(partitions.partition(day), said.width)
    with (
        csv.open("wb") as file,
        zstandard.ZstdCompressor(level=1).stream_writer(file) as out,
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy,
    ):
        for block in copy:
            out.write(block)
    rows = parquet.write(csv, canonical.columns(said.width), target)
    csv.unlink()
    if rows != said.rows:
        raise ArchiveError(f"{partitions.partition(day)}: {said.rows} readings were counted, {rows} were written")
