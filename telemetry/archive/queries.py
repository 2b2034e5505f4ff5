"""Questions to archived days, answered by DuckDB where the files lie, without the database's readings.

`readings` is a view of one device type's readings, with its metrics by name, told by the manifests alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from telemetry.archive import files as archive_files
from telemetry.archive import reading as archive_reading
from telemetry.archive.files import ArchiveError
from telemetry.archive.manifests import Manifest, Vocabulary
from telemetry.exporting import parquet, scratch
from telemetry.exporting.parquet import name, text
from telemetry.models import ArchivedDay

_PART = r"regexp_extract(filename, '([0-9]+)\.parquet$', 1)::INTEGER"
_NEWEST_PART = f" QUALIFY row_number() OVER (PARTITION BY device_pk, ts, msg_id ORDER BY {_PART} DESC) = 1"
_FIXED = ("device", "ts", "received_at", "msg_id", "schema_version", "flags", "extra")


@contextmanager
def opened(
    since: datetime | None, until: datetime | None, device_type: str = "", device: str = ""
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with the view `readings`: of this type, or of this device's. `until` is not part of the range.

    A reading that several parts of a day hold is there once, as in the newest. Raises ArchiveError when nothing is
    archived there, a file is missing, or the type must be told; inside the block ParquetError, in DuckDB's words.
    """
    parts = list(ArchivedDay.objects.filter(**_days(since, until)).order_by("day", "-part"))
    if not parts:
        raise ArchiveError("archive: no day of that range is archived")
    manifests = [archive_files.read_manifest(part.path) for part in parts]
    kind = device_type or _only_type(manifests, device)
    wanted = {pk: each for told in manifests for pk, each in told.schemas.items() if each.device_type == kind}
    if not wanted:
        raise ArchiveError(f"archive: no readings of type {kind!r} there; there are {', '.join(_types(manifests))}")
    chosen = [part for part, told in zip(parts, manifests, strict=True) if wanted.keys() & told.schemas.keys()]
    width = max(told.width for told in manifests)
    with scratch.folder("query") as folder:
        files = [archive_files.local(part.path, folder) for part in chosen]
        with parquet.opened(folder, *{file.parent for file in files}) as connection:
            sql = view(files, wanted, width, _bounds(since, until))
            if len({part.day for part in chosen}) < len(chosen):
                sql += _NEWEST_PART
            connection.execute(f"CREATE VIEW readings AS {sql}")
            yield connection


def check_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises ArchiveError unless this is one SELECT: anything else may write, and the files are there to write to."""
    found = [statement.type for statement in connection.extract_statements(sql)]
    if found != [duckdb.StatementType.SELECT]:
        raise ArchiveError("archive: one SELECT, and nothing else")


def _days(since: datetime | None, until: datetime | None) -> dict[str, date]:
    days: dict[str, date] = {}
    if since:
        days["day__gte"] = since.astimezone(UTC).date()
    if until:
        days["day__lte"] = until.astimezone(UTC).date()
    return days


def _bounds(since: datetime | None, until: datetime | None) -> list[str]:
    bounds = ((">=", since), ("<", until))
    return [f"ts {sign} TIMESTAMPTZ {text(str(moment.astimezone(UTC)))}" for sign, moment in bounds if moment]


def _types(manifests: Sequence[Manifest]) -> list[str]:
    return sorted({each.device_type for told in manifests for each in told.schemas.values()})


def _only_type(manifests: Sequence[Manifest], device: str) -> str:
    if device:
        for told in reversed(manifests):
            for each in told.devices.values():
                if each.device == device:
                    return each.device_type
        raise ArchiveError(f"archive: no readings of {device} there")
    types = _types(manifests)
    if len(types) != 1:
        raise ArchiveError(f"archive: say which type: {', '.join(types)}")
    return types[0]


def view(files: Sequence[Path], schemas: dict[int, Vocabulary], width: int, where: Sequence[str]) -> str:
    """SQL of the view: fixed columns, then each metric by its name, over all versions of the type's schema."""
    version = _by_schema({pk: str(each.version) for pk, each in schemas.items()})
    columns = ["device", "ts", "received_at", "msg_id", f"{version} AS schema_version", "flags"]
    told: dict[str, dict[int, str]] = {}
    kinds: dict[str, set[str]] = {}
    for pk, vocabulary in schemas.items():
        numbers = {each.name: f"m{place}" for place, each in enumerate(vocabulary.numbers[:width], start=1)}
        texts = {each.name: f"extra ->> {text('$.' + each.name)}" for each in vocabulary.texts}
        for metric in [*vocabulary.numbers, *vocabulary.texts]:
            kinds.setdefault(metric.name, set()).add(metric.kind)
        for metric_name, sql in (numbers | texts).items():
            told.setdefault(metric_name, {})[pk] = sql
    called = _called(told)
    columns += [f"{_typed(each, kinds[metric])} AS {name(called[metric])}" for metric, each in told.items()]
    conditions = [f"schema_id IN ({', '.join(map(str, schemas))})", *where]
    return (
        f"SELECT {', '.join(columns)}, extra FROM {archive_reading.source(*files)}"  # noqa: S608 (names of our own)
        f" WHERE {' AND '.join(conditions)}"
    )


def _called(metrics: Iterable[str]) -> dict[str, str]:
    """What each metric's column is called: as the metric, but for a `_` or more where another has that name.

    Those whose names are free keep them. DuckDB does not tell names apart by case.
    """
    taken, called = set(_FIXED), {}
    for metric in sorted(metrics, key=lambda each: each.lower() in _FIXED):
        column = metric
        while column.lower() in taken:
            column += "_"
        taken.add(column.lower())
        called[metric] = column
    return called


def _typed(told: dict[int, str], kinds: set[str]) -> str:
    """A metric's value; where the versions disagree about its kind, as a number, or as a text if one says so."""
    if kinds == {"boolean"}:
        return f"({_by_schema(told)}) <> 0"
    if "text" in kinds:
        return _by_schema({pk: f"({sql})::VARCHAR" for pk, sql in told.items()})
    return _by_schema(told)


def _by_schema(told: dict[int, str]) -> str:
    return "CASE schema_id " + " ".join(f"WHEN {pk} THEN {sql}" for pk, sql in told.items()) + " END"
