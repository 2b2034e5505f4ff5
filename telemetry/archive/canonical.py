"""The canonical form of readings, whose SHA-256 is a day's digest: what PostgreSQL's binary COPY says of them. Pure.

It is told of a table by PostgreSQL and of a Parquet file by DuckDB: two paths that meet only in the digest. Numbers are
their bits, so -0.0, denormals and the largest are exact, and nothing depends on how somebody prints or packs them.
`width` is the length of the longest array among these readings; it is part of what is told.
"""

import hashlib
from collections.abc import Iterable
from itertools import chain

from telemetry.exporting.parquet import Column

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_EPOCH_US = 946_684_800_000_000  # PostgreSQL counts from 2000-01-01 UTC
_NULL = "unhex('ffffffff')"


def columns(width: int) -> list[Column]:
    """Columns of an archived file. `device` is for people, all others are what was stored."""
    fixed = [
        Column("device", "VARCHAR"),
        Column("device_pk", "INTEGER"),
        Column("ts", "TIMESTAMPTZ"),
        Column("msg_id", "UUID"),
        Column("received_at", "TIMESTAMPTZ"),
        Column("schema_id", "SMALLINT"),
        Column("flags", "SMALLINT"),
        Column("metrics", "SMALLINT"),
    ]
    return [*fixed, *(Column(name, "DOUBLE") for name in metric_columns(width)), Column("extra", "VARCHAR")]


def metric_columns(width: int) -> list[str]:
    """Columns of the values: the first, the second, … of the stored array."""
    return [f"m{place}" for place in range(1, width + 1)]


def of_table(table: str, width: int) -> str:
    """PostgreSQL's SELECT whose binary COPY is the canonical form."""
    return f"SELECT {_stored(width)} FROM {table} r {_IN_ORDER}"  # noqa: S608 (our names)


def for_file(table: str, width: int) -> str:
    """PostgreSQL's SELECT of all columns of the file, in its order."""
    name = "(SELECT d.device_id FROM devices_device d WHERE d.id = r.device_id)"
    return f"SELECT {name}, {_stored(width)} FROM {table} r {_IN_ORDER}"  # noqa: S608 (our names)


_IN_ORDER = "ORDER BY r.device_id, r.ts, r.msg_id"


def _stored(width: int) -> str:
    values = "".join(f", metrics[{place}]" for place in range(1, width + 1))
    return (
        f"r.device_id, ts, msg_id, received_at, schema_id, flags, cardinality(metrics)::smallint{values}, extra::text"
    )


def of_file(source: str, width: int) -> str:
    """DuckDB's SELECT of one BLOB a reading: the same bytes as PostgreSQL's, in the file's own order."""
    parts = [
        f"unhex('{8 + width:04x}')",  # how many fields follow, each after its length
        _bits("device_pk", 4),
        _bits(f"epoch_us(ts) - {_EPOCH_US}", 8),
        "unhex('00000010') || unhex(replace(msg_id::VARCHAR, '-', ''))",
        _bits(f"epoch_us(received_at) - {_EPOCH_US}", 8),
        *(_bits(name, 2) for name in ("schema_id", "flags", "metrics")),
        *(_or_null(name, _bits(name, 8)) for name in metric_columns(width)),
        _or_null("extra", "strlen(extra)::INTEGER::BIT::BLOB || encode(extra)"),
    ]
    return f"SELECT {' || '.join(parts)} FROM {source}"  # noqa: S608 (our names)


def _bits(expression: str, size: int) -> str:
    return f"unhex('{size:08x}') || ({expression})::BIT::BLOB"


def _or_null(name: str, told: str) -> str:
    return f"CASE WHEN {name} IS NULL THEN {_NULL} ELSE {told} END"


def digest(readings: Iterable[bytes]) -> str:
    """SHA-256 (hex) of readings told one by one, as `of_file` does."""
    return digest_of_stream(chain([HEADER], readings, [TRAILER]))


def digest_of_stream(blocks: Iterable[bytes | bytearray | memoryview]) -> str:
    """SHA-256 (hex) of the canonical form in pieces of any size, as PostgreSQL sends it."""
    told = hashlib.sha256()
    for block in blocks:
        told.update(block)
    return told.hexdigest()
