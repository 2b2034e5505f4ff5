"""What archived files say, read by DuckDB where they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from telemetry.archive import canonical
from telemetry.exporting import parquet

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, all of it read."""

    digest: str
    """Of its readings, by canonical.py."""
    devices: dict[int, int]
    """Readings of each device row."""
    schemas: list[int]
    """Schema rows."""


def read(file: Path, width: int) -> Content:
    """Read a file with so many columns of values. Raises ParquetError when it is no file of ours."""
    of_devices = f"SELECT device_pk, count(*) FROM {source(file)} GROUP BY 1 ORDER BY 1"  # noqa: S608 (our path)
    of_schemas = f"SELECT DISTINCT schema_id FROM {source(file)} ORDER BY 1"  # noqa: S608 (our path)
    with parquet.opened(file.parent) as connection:
        connection.execute(canonical.of_file(source(file), width))
        digest = canonical.digest(_blobs(connection))
        devices = dict(connection.execute(of_devices).fetchall())
        schemas = [row[0] for row in connection.execute(of_schemas).fetchall()]
    return Content(digest, devices, schemas)


def _blobs(connection: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
    while rows := connection.fetchmany(_ROWS_AT_ONCE):
        yield b"".join(row[0] for row in rows)


def source(*files: Path) -> str:
    """SQL: the readings of these files; values that one does not have are NULL."""
    names = ", ".join(parquet.text(str(file)) for file in files)
    return f"read_parquet([{names}], union_by_name = true)"


def to_csv(file: Path, names: Sequence[str], target: Path) -> None:
    """Write these columns as CSV for PostgreSQL, beside the file: NULL is an empty field."""
    chosen = ", ".join(parquet.name(each) for each in names)
    with parquet.opened(file.parent) as connection:
        connection.execute(
            f"COPY (SELECT {chosen} FROM {source(file)}) TO {parquet.text(str(target))}"  # noqa: S608 (our names)
            " (FORMAT csv, HEADER false, NULLSTR '', DELIMITER ',', QUOTE '\"', ESCAPE '\"')"
        )
