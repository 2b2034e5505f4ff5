"""Parquet files: made of CSV that PostgreSQL writes, by DuckDB. It loads nothing from any network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

MEMORY = "512MB"
"""What one connection may hold; it spills beside the file it works on."""
ROWS_A_GROUP = 122_880
"""A reader takes a file apart by these: large enough to compress well, small enough to be held in memory."""


class ParquetError(Exception):
    """DuckDB refused: its words, with the file it was about."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file: its name, and its type in DuckDB's words (`DOUBLE`, `TIMESTAMPTZ`, `UUID`, …)."""

    name: str
    type: str


@contextmanager
def opened(folder: Path, *others: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that sees files of these folders only, spills into the first, and prints times in UTC.

    Raises ParquetError for whatever DuckDB refuses inside the block.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": MEMORY,
        "temp_directory": str(folder / ".duckdb"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    }
    try:
        with duckdb.connect(":memory:", config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            allowed = ", ".join(text(str(each)) for each in (folder, *others))
            connection.execute(f"SET allowed_directories = [{allowed}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
    except duckdb.Error as error:
        raise ParquetError(f"{folder}: {error}") from error


def write(csv: Path, columns: Sequence[Column], target: Path) -> int:
    """Make `target` (zstd) of a CSV file without a header, in its order. Returns the rows.

    An empty field is NULL, a quoted one (`""`) is an empty text, as PostgreSQL writes both. A CSV whose name ends with
    `.zst` or `.gz` is read as such. CSV and target lie in one folder, which has room for what is spilt. Raises
    ParquetError when a field is not of its column's type, or the disk is full; `target` is not there then.
    """
    names = ", ".join(name(column.name) for column in columns)
    types = ", ".join(f"{text(column.name)}: {text(column.type)}" for column in columns)
    source = (
        f"SELECT {names} FROM read_csv({text(str(csv))}, columns = {{{types}}}, header = false, auto_detect = false,"  # noqa: S608
        " delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false, strict_mode = true,"
        " new_line = '\\n', max_line_size = 16777216)"
    )
    options = f"FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {ROWS_A_GROUP}"
    try:
        with opened(target.parent) as connection:
            told = connection.execute(f"COPY ({source}) TO {text(str(target))} ({options})").fetchone()
    except ParquetError:
        target.unlink(missing_ok=True)
        raise
    return int(told[0]) if told else 0


def name(identifier: str) -> str:
    """An identifier, quoted."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text, quoted."""
    return "'" + value.replace("'", "''") + "'"
