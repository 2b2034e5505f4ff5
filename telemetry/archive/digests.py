"""What the database says of a day of readings."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection

from telemetry.archive import canonical
from telemetry.archive.files import ArchiveError
from telemetry.tables import partitions


@dataclass(frozen=True, slots=True)
class Said:
    """All readings of a day that has some, told in a few words."""

    rows: int
    width: int
    """Length of the longest array."""
    first_ts: datetime
    last_ts: datetime
    digest: str
    """See canonical.py."""


_FIGURES = """
    SELECT count(*), coalesce(max(cardinality(metrics)), 0), min(ts), max(ts), coalesce(bool_and(
               cardinality(metrics) = 0 OR (array_ndims(metrics) = 1 AND array_lower(metrics, 1) = 1)), true)
      FROM {table}
"""


def ask(day: date) -> Said | None:
    """Read the whole day, streamed; None when it is empty.

    Raises ArchiveError for arrays that are no plain list, django.db.Error.
    """
    table = partitions.partition(day)
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES.format(table=table))
        rows, width, first, last, plain = cursor.fetchone()
        if not plain:
            raise ArchiveError(f"{table}: an array of metrics is not a plain list that begins at 1")
        if not rows:
            return None
        with (
            connection.wrap_database_errors,
            cursor.copy(f"COPY ({canonical.of_table(table, width)}) TO STDOUT (FORMAT binary)") as copy,
        ):
            digest = canonical.digest_of_stream(copy)
    return Said(rows, width, first, last, digest)
