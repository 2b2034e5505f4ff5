"""What an exported file looks like: its columns, and its rows out of PostgreSQL.

Metrics are columns by name, whatever place they have in which schema version: what a device said under version 1 and
under version 2 stands in one column. Where a name has several units, each has a column that says its unit. Numbers
first, then texts, then what open schemas kept without a name for it.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from psycopg import sql

from telemetry.exporting.parquet import Column
from telemetry.models import Export, Metric, Schema

MAX_COLUMNS = 1_000
"""PostgreSQL has 1,664 in a query."""
_ISO = sql.SQL("""to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""")
_TABLES = {
    Export.Resolution.READING: ("telemetry_reading", "ts"),
    Export.Resolution.MINUTE: ("telemetry_minute", "start"),
    Export.Resolution.HOUR: ("telemetry_hour", "start"),
}
_FIGURES = {
    "min": sql.SQL("r.lows[{0}]"),
    "avg": sql.SQL("r.sums[{0}] / nullif(r.counts[{0}], 0)"),
    "max": sql.SQL("r.highs[{0}]"),
    "last": sql.SQL("r.lasts[{0}]"),
    "count": sql.SQL("coalesce(r.counts[{0}], 0)"),
}
Expression = sql.SQL | sql.Composed


@dataclass(frozen=True, slots=True)
class Sheet:
    """The columns of a file, with where each comes from."""

    columns: list[Column]
    expressions: list[Expression]
    table: str
    moment: str

    def header(self) -> bytes:
        """The first line of a CSV file."""
        line = io.StringIO()
        csv.writer(line).writerow([column.name for column in self.columns])
        return line.getvalue().encode()

    def rows(self, devices: Sequence[int], since: datetime, until: datetime) -> Iterator[bytes]:
        """The readings, or figures, of these devices in [since, until) as CSV rows, each ending in a line feed.

        By device and time. An empty field is NULL, `""` an empty text. Raises django.db.Error.
        """
        query = sql.SQL(
            "COPY (SELECT {columns} FROM {table} r JOIN devices_device d ON d.id = r.device_id"
            " WHERE r.device_id = ANY(%s::int[]) AND r.{moment} >= %s AND r.{moment} < %s"
            " ORDER BY r.device_id, r.{moment}, {last}) TO STDOUT (FORMAT csv)"
        ).format(
            columns=sql.SQL(", ").join(self.expressions),
            table=sql.Identifier(self.table),
            moment=sql.Identifier(self.moment),
            last=sql.SQL("r.msg_id" if self.moment == "ts" else "r.schema_id"),
        )
        with (
            connection.cursor() as cursor,
            connection.wrap_database_errors,
            cursor.copy(query, [list(devices), since, until]) as copy,
        ):
            for block in copy:
                yield bytes(block)


def sheet(device_types: Iterable[int], resolution: str, *, for_people: bool) -> Sheet:
    """The columns of a file about devices of these types.

    `for_people` (CSV): a text that begins like a formula gets a `'` in front, so that no spreadsheet runs what a
    device wrote.
    """
    schemas = list(Schema.objects.filter(device_type__in=list(device_types)).prefetch_related("metrics"))
    places = _places(schemas)
    table, moment = _TABLES[Export.Resolution(resolution)]
    made = _Columns()
    made.add("device_id", "VARCHAR", sql.SQL("d.device_id"))
    if moment == "ts":
        made.add("ts", "TIMESTAMPTZ", _ISO.format(sql.SQL("r.ts")))
        made.add("msg_id", "UUID", sql.SQL("r.msg_id"))
        made.add("received_at", "TIMESTAMPTZ", _ISO.format(sql.SQL("r.received_at")))
        made.add("flags", "SMALLINT", sql.SQL("r.flags"))
        _readings(made, places, schemas, for_people=for_people)
    else:
        made.add("start", "TIMESTAMPTZ", _ISO.format(sql.SQL("r.start")))
        made.add("readings", "INTEGER", sql.SQL("r.readings"))
        for where in (each for each in places if each.numbers):
            for word, figure in _FIGURES.items():
                kind = "INTEGER" if word == "count" else "DOUBLE"
                cases = {pk: figure.format(sql.Literal(place)) for pk, place in where.numbers.items()}
                made.add(f"{where.name}_{word}{where.behind}", kind, _case(cases))
    return Sheet(made.columns, made.expressions, table, moment)


@dataclass(slots=True)
class _Where:
    """Where the values of one column are, by schema."""

    name: str
    behind: str = ""
    """The unit, where the name alone does not tell it."""
    numbers: dict[int, int] = field(default_factory=dict)
    """Place in the array, from 1."""
    booleans: set[int] = field(default_factory=set)
    texts: set[int] = field(default_factory=set)


class _Columns:
    """Columns under construction, each with a name of its own."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.expressions: list[Expression] = []

    def add(self, name: str, kind: str, expression: Expression) -> None:
        """One more; a metric that is called like a column of ours gets an underscore behind its name.

        Names that differ only in case (mW, MW) are the same for whoever makes and reads Parquet.
        """
        taken = {column.name.lower() for column in self.columns}
        while name.lower() in taken:
            name += "_"
        self.columns.append(Column(name, kind))
        self.expressions.append(expression)


def _places(schemas: list[Schema]) -> list[_Where]:
    """Every name with its unit that any of these schemas has, in the order of the first that has it."""
    places: dict[tuple[str, str], _Where] = {}
    for schema in sorted(schemas, key=lambda each: (each.device_type_id, each.version)):
        number = 0
        for metric in sorted(schema.metrics.all(), key=lambda each: each.position):
            where = places.setdefault((metric.name, metric.unit), _Where(metric.name))
            if metric.kind == Metric.Kind.TEXT:
                where.texts.add(schema.pk)
                continue
            number += 1
            where.numbers[schema.pk] = number
            if metric.kind == Metric.Kind.BOOLEAN:
                where.booleans.add(schema.pk)
    times = Counter(name for name, _unit in places)
    for (name, unit), where in places.items():
        if times[name] > 1:
            where.behind = f" ({unit or 'no unit'})"
    return list(places.values())


def _readings(made: _Columns, places: list[_Where], schemas: list[Schema], *, for_people: bool) -> None:
    for where in places:
        if where.texts:
            continue
        cases = {pk: sql.SQL("r.metrics[{}]").format(sql.Literal(place)) for pk, place in where.numbers.items()}
        if where.booleans == set(where.numbers):
            made.add(where.name + where.behind, "BOOLEAN", sql.SQL("({} <> 0)::text").format(_case(cases)))
        else:
            made.add(where.name + where.behind, "DOUBLE", _case(cases))
    for where in places:
        if not where.texts:
            continue
        told: dict[int, Expression] = {
            pk: sql.SQL("r.metrics[{}]::text").format(sql.Literal(place)) for pk, place in where.numbers.items()
        }
        text = _harmless(sql.SQL("(r.extra ->> {})").format(sql.Literal(where.name)), for_people=for_people)
        made.add(where.name + where.behind, "VARCHAR", _case(told | dict.fromkeys(where.texts, text)))
    if any(schema.open for schema in schemas):
        made.add("extra", "VARCHAR", _case({schema.pk: _unnamed(schema) for schema in schemas if schema.open}))


def _unnamed(schema: Schema) -> Expression:
    """What an open schema kept without a name for it, as JSON."""
    names = [metric.name for metric in schema.metrics.all() if metric.kind == Metric.Kind.TEXT]
    rest = sql.SQL("nullif(r.extra - {}::text[], '{{}}'::jsonb)::text")
    return rest.format(sql.Literal(names))


def _harmless(text: Expression, *, for_people: bool) -> Expression:
    return sql.SQL(r"regexp_replace({}, '^([-=+@\t\r\n])', '''\1')").format(text) if for_people else text


def _case(cases: Mapping[int, Expression]) -> Expression:
    """By the schema of the row."""
    parts = [sql.SQL("WHEN {} THEN {}").format(sql.Literal(pk), told) for pk, told in sorted(cases.items())]
    return sql.SQL("(CASE r.schema_id {} END)").format(sql.SQL(" ").join(parts))
