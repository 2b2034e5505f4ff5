"""The set of buckets whose figures must be computed anew: added to by ingest, emptied by the rollups."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import connection

from telemetry.store import Row

_NOTE = """
    INSERT INTO telemetry_touched (grain, devices, buckets, created_at) VALUES ('minute', %s::int[], %s::int[], now())
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


def note(rows: Iterable[Row]) -> None:
    """These readings were stored: their minutes count anew. Call it in the transaction that stores them."""
    pairs = {(row.device_pk, (row.ts - _EPOCH) // _MINUTE) for row in rows}
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [_array(device for device, _ in pairs), _array(minute for _, minute in pairs)])


def _array(numbers: Iterable[int]) -> str:
    """As PostgreSQL reads an array: thousands of numbers are dear to hand over one by one."""
    return f"{{{','.join(map(str, numbers))}}}"
