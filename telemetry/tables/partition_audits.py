"""Audits of partitions: readings that lie in none, and days that have none yet."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.db import connection

from devices.auditing import CRITICAL, WARNING, Audit, Found
from telemetry.tables import partitions

_AHEAD = 2
"""Days after today that should have a partition."""
_COUNTED = 100_000
"""Strays are counted up to here."""
_STRAYS = f"""
    SELECT count(*), min(ts), max(ts) FROM (SELECT ts FROM {partitions.STRAYS} LIMIT %s) AS counted
"""  # noqa: S608 (our names)


def strays(_: datetime) -> Iterator[Found]:
    """Readings that are stored, and read, but in no day's partition: they cannot be archived, and slow down all."""
    with connection.cursor() as cursor:
        cursor.execute(_STRAYS, [_COUNTED])
        count, first, last = cursor.fetchone()
    if count:
        number = f"{count:,}" if count < _COUNTED else f"{_COUNTED:,} or more"
        detail = f"{number} readings from {first:%Y-%m-%d} to {last:%Y-%m-%d} (UTC) lie in no partition."
        yield Found("reading_stray", detail, WARNING)


def missing(now: datetime) -> Iterator[Found]:
    """Fewer than two days after today have a partition; critical where tomorrow has none."""
    present = partitions.days_ahead(now)
    if present < 1 + min(_AHEAD, settings.PARTITION_DAYS_AHEAD):
        detail = f"{present} of the days from today on have a partition for readings."
        yield Found("partitions_missing", detail, CRITICAL if present < 2 else WARNING)


AUDITS = (
    Audit("strays", ("reading_stray",), strays, often=True),
    Audit("partitions", ("partitions_missing",), missing, often=True),
)
RUNBOOKS = dict.fromkeys(("reading_stray", "partitions_missing"), "partitions.md")
"""For devices/runbooks.py: the page of each kind."""
