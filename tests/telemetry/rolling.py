"""What rollups should say: the aggregate of readings, computed in Python."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any

from django.db import transaction

from telemetry.models import Hour, Minute, Touched
from telemetry.rolled import rollups, touched
from telemetry.store import Row, store

Key = tuple[int, datetime, int]
_MINUTE = timedelta(minutes=1)
_FIGURES = ("readings", "counts", "lows", "highs", "sums", "lasts")


def stored(model: type[Minute] | type[Hour]) -> dict[Key, tuple[Any, ...]]:
    """All rows of a rollup."""
    rows = model.objects.values_list("device_id", "start", "schema_id", *_FIGURES)
    return {row[:3]: row[3:] for row in rows}


def expected(rows: Iterable[Row], seconds: int) -> dict[Key, tuple[Any, ...]]:
    """The figures of these readings; each key once, the first that came."""
    kept: dict[Any, Row] = {}
    for row in rows:
        kept.setdefault((row.device_pk, row.ts, row.msg_id), row)
    buckets = defaultdict(list)
    for key in sorted(kept):
        row = kept[key]
        start = datetime.fromtimestamp(row.ts.timestamp() // seconds * seconds, UTC)
        buckets[row.device_pk, start, row.schema_pk].append(row.metrics)
    return {key: _figures(readings) for key, readings in buckets.items()}


def _figures(readings: list[list[float | None]]) -> tuple[Any, ...]:
    columns = [[value for value in column if value is not None] for column in zip_longest(*readings)]
    return (
        len(readings),
        [len(column) for column in columns],
        [min(column, default=None) for column in columns],
        [max(column, default=None) for column in columns],
        [_sum(column) for column in columns],
        [column[-1] if column else None for column in columns],
    )


def _sum(column: list[float]) -> float | None:
    """As PostgreSQL adds, and not as Python does since 3.12: one after the other."""
    if not column:
        return None
    total = column[0]
    for value in column[1:]:
        total += value
    return total


def take(*rows: Row) -> None:
    """As ingest does."""
    with transaction.atomic():
        store(rows)
        touched.note(rows)


def done(now: datetime) -> None:
    """All that was touched before is computed."""
    rollups.roll_up(now + _MINUTE + rollups.LATE)
    rollups.roll_up(now + 2 * _MINUTE + 2 * rollups.HOURS_AFTER)
    assert not Touched.objects.exists()


def agree(rows: Iterable[Row]) -> None:
    """Minutes and hours say what the readings say."""
    rows = list(rows)
    assert stored(Minute) == expected(rows, 60)
    assert stored(Hour) == expected(rows, 3600)
