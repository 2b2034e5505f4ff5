"""Days of readings that are old enough to leave the database."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection

from telemetry.store import Row
from telemetry.tables import partitions, trees

NOW = datetime(2015, 6, 15, 3, 30, tzinfo=UTC)
"""Long before the days that other tests use: none of them is due then."""
OLD = NOW.date() - timedelta(days=402)
"""The newest day that is due with HOT_DAYS = 400."""


def reading(device_pk: int, schema_pk: int, day: date, second: float = 0.0, **changes: Any) -> Row:
    """A reading of that day."""
    ts = datetime.combine(day, time(), UTC) + timedelta(seconds=second)
    told = {
        "msg_id": uuid.uuid4(),
        "received_at": ts + timedelta(milliseconds=40),
        "metrics": [4.5, None, 1.0],
        "extra": None,
        "flags": 0,
    }
    return Row(device_pk=device_pk, ts=ts, schema_pk=schema_pk, **told | changes)


def put(rows: list[Row]) -> None:
    """Store readings of days that have their partitions, without the latest values."""
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(
                "INSERT INTO telemetry_reading VALUES (%s, %s, %s, %s, %s, %s, %s::float8[], %s::jsonb)",
                [row.device_pk, row.ts, row.msg_id, row.received_at, row.schema_pk, row.flags, row.metrics, row.extra],
            )


def all_of(day: date) -> list[tuple[Any, ...]]:
    """All readings of a day, exactly: numbers as their bits, JSON as PostgreSQL prints it. Empty for a dropped day."""
    if day not in partitions.days():
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, ts, msg_id, received_at, schema_id, flags, extra::text,"
            "       ARRAY(SELECT float8send(m) FROM unnest(metrics) WITH ORDINALITY AS u(m, n) ORDER BY n)"
            f"  FROM {partitions.partition(day)} ORDER BY 1, 2, 3"
        )
        return [(*row[:-1], [each and bytes(each) for each in row[-1]]) for row in cursor.fetchall()]


def forget() -> None:
    """Drop the partitions of those years; for tests that commit."""
    for tree in partitions.TREES:
        for day in [day for day in trees.parts(tree) if day.year <= NOW.year]:
            trees.drop(tree, day)
