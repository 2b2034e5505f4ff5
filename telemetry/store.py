"""Readings into the database: COPY, then one insert that ignores what is there already."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

import msgspec
from django.db import connection

from devices import skew


class Row(msgspec.Struct, frozen=True, gc=False):
    """One reading, ready to store."""

    device_pk: int
    ts: datetime
    msg_id: UUID
    received_at: datetime
    schema_pk: int
    metrics: list[float | None]
    extra: str | None
    """JSON."""
    flags: int


# In the order of Row's fields.
_COLUMNS = "device_id, ts, msg_id, received_at, schema_id, metrics, extra, flags"
_COPY = f"COPY incoming ({_COLUMNS}) FROM STDIN (FORMAT binary)"
_STAGE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
        device_id int, ts timestamptz, msg_id uuid, received_at timestamptz,
        schema_id smallint, metrics float8[], extra jsonb, flags smallint
    ) ON COMMIT DELETE ROWS
"""
# In key order: two workers that hold the same messages must not wait for each other in a circle.
_INSERT = f"""
    INSERT INTO telemetry_reading ({_COLUMNS})
    SELECT {_COLUMNS} FROM incoming ORDER BY device_id, ts, msg_id
    ON CONFLICT DO NOTHING
"""  # noqa: S608 (constants)
# One whose clock was ahead must not hide what came after it was mended.
_LATEST = f"""
    INSERT INTO telemetry_latest (device_id, ts, received_at, schema_id, metrics, extra)
    SELECT DISTINCT ON (device_id) device_id, ts, received_at, schema_id, metrics, extra
      FROM incoming ORDER BY device_id, ts DESC
    ON CONFLICT (device_id) DO UPDATE
       SET ts = excluded.ts, received_at = excluded.received_at, schema_id = excluded.schema_id,
           metrics = excluded.metrics, extra = excluded.extra
     WHERE excluded.ts > telemetry_latest.ts
        OR telemetry_latest.ts > now() + interval '{skew.AHEAD.total_seconds()} s'
       AND excluded.received_at > telemetry_latest.received_at
"""  # noqa: S608 (constants)


def store(rows: Iterable[Row]) -> int:
    """Store readings once each, and the newest of each device. Returns how many were new.

    Must run inside a transaction: the staging table is emptied at its end. It should end soon: other workers wait for
    the newest of their devices.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        # Django translates the errors of its own methods only; copy is psycopg's.
        with connection.wrap_database_errors, cursor.copy(_COPY) as copy:
            copy.write(encoded(rows))
        cursor.execute(_INSERT)
        stored: int = cursor.rowcount
        cursor.execute(_LATEST)
    return stored


# --- PostgreSQL's binary COPY: neither end spells numbers and moments out -------------------------------------------

_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FLOAT8 = 701
"""The number of its type."""
_NULL = struct.pack(">i", -1)
_JSONB_VERSION = b"\1"
_BEFORE = struct.Struct(">hiiiqi16siqih")
"""Each value has its length before it: device, time, id, received, schema."""
_AFTER = struct.Struct(">ih")
_NUMBER = struct.Struct(">id")


def encoded(rows: Iterable[Row]) -> bytes:
    """Rows as binary COPY takes them. Raises struct.error for a number no column could hold."""
    parts = [_HEAD]
    add = parts.append
    received_at, received = _EPOCH, 0
    for row in rows:
        if row.received_at is not received_at:  # it is one for a whole batch
            received_at = row.received_at
            received = (received_at - _EPOCH) // _MICROSECOND
        ts = (row.ts - _EPOCH) // _MICROSECOND
        metrics, extra = row.metrics, row.extra
        before = (8, 4, row.device_pk, 8, ts, 16, row.msg_id.bytes, 8, received, 2, row.schema_pk)
        if extra is None and metrics and None not in metrics:
            whole, head = _plain(len(metrics))
            numbers: list[float | None] = [8] * (2 * len(metrics))  # our own: other threads store as well
            numbers[1::2] = metrics
            add(whole.pack(*before, *head, *numbers, -1, 2, row.flags))
        else:
            add(_BEFORE.pack(*before))
            add(_sized(_array(metrics)))
            add(_NULL if extra is None else _sized(_JSONB_VERSION + extra.encode()))
            add(_AFTER.pack(2, row.flags))
    add(_END)
    return b"".join(parts)


@lru_cache
def _plain(count: int) -> tuple[struct.Struct, tuple[int, ...]]:
    """A row with so many numbers, all there, and no extra: its whole format, and what stands before them."""
    whole = struct.Struct(f"{_BEFORE.format}6i{'id' * count}i{_AFTER.format[1:]}")
    return whole, (20 + _NUMBER.size * count, 1, 0, _FLOAT8, count, 1)


def _array(metrics: list[float | None]) -> bytes:
    """A float8[]: dimensions, has it gaps, type; length, first index; each number."""
    if not metrics:
        return struct.pack(">iii", 0, 0, _FLOAT8)
    head = struct.pack(">iiiii", 1, None in metrics, _FLOAT8, len(metrics), 1)
    return head + b"".join(_NULL if each is None else _NUMBER.pack(8, each) for each in metrics)


def _sized(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value
