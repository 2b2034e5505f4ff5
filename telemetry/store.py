"""Readings into the database: COPY, then one insert that ignores what is there already."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from django.db import connection


@dataclass(frozen=True, slots=True)
class Row:
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


_FIELDS = [field.name for field in fields(Row)]
# In the order of Row's fields.
_COLUMNS = "device_id, ts, msg_id, received_at, schema_id, metrics, extra, flags"
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
_LATEST = """
    INSERT INTO telemetry_latest (device_id, ts, received_at, schema_id, metrics, extra)
    SELECT DISTINCT ON (device_id) device_id, ts, received_at, schema_id, metrics, extra
      FROM incoming ORDER BY device_id, ts DESC
    ON CONFLICT (device_id) DO UPDATE
       SET ts = excluded.ts, received_at = excluded.received_at, schema_id = excluded.schema_id,
           metrics = excluded.metrics, extra = excluded.extra
     WHERE excluded.ts > telemetry_latest.ts
"""


def store(rows: Iterable[Row]) -> int:
    """Store readings once each, and the newest of each device. Returns how many were new.

    Must run inside a transaction: the staging table is emptied at its end.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        # Django translates the errors of its own methods only; copy is psycopg's.
        with connection.wrap_database_errors, cursor.copy(f"COPY incoming ({_COLUMNS}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([getattr(row, name) for name in _FIELDS])
        cursor.execute(_INSERT)
        stored: int = cursor.rowcount
        cursor.execute(_LATEST)
    return stored
