"""Figures of buckets, aggregated in the database: rollups where they are complete, readings where they are not."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from django.db import OperationalError, connection, transaction

from devices.errors import DomainError
from telemetry.charting.resolutions import EPOCH, Plan, Source
from telemetry.charting.vocabulary import Drawn
from telemetry.rolled import pending

PATIENCE = "10s"
"""As long as the database may take for a chart: a week of readings a second has millions of them."""


class TooMuch(DomainError):
    """A chart that takes longer than `PATIENCE`."""

    code = "too_much"


class Cell(NamedTuple):
    """A metric in a bucket."""

    values: int
    """How many; 0 for none."""
    mean: float | None
    low: float | None
    high: float | None
    last: float | None


NOTHING = Cell(0, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Row:
    """A device in a bucket."""

    device: int
    time: int
    """Epoch ms, its start."""
    schemas: list[int]
    """Of its readings; empty where all of them mean the same."""
    cells: list[Cell]
    """In the order of the metrics asked for."""


_READINGS = """
    SELECT device_id, ts AS at, schema_id, {readings} FROM telemetry_reading
     WHERE device_id = ANY(%(devices)s) AND ts >= %(since)s AND ts < %(until)s
"""
_ROLLUPS = """
    SELECT device_id, start AS at, schema_id, {rollups} FROM telemetry_{source}
     WHERE device_id = ANY(%(devices)s) AND start >= %(since)s AND start < %(until)s
"""
# The bounds are told as constants, too, so that days without such readings are left out while planning.
_SETTLED = """
       AND NOT (start >= %(first)s AND (device_id, start) IN (
               SELECT * FROM unnest(%(late_devices)s::int[], %(late)s::timestamptz[])))
    UNION ALL
    SELECT r.device_id, r.ts, r.schema_id, {readings}
      FROM unnest(%(late_devices)s::int[], %(late)s::timestamptz[]) AS late(device, start)
      JOIN telemetry_reading r ON r.device_id = late.device AND r.ts >= late.start AND r.ts < late.start + %(grain)s
     WHERE r.ts >= %(first)s AND r.ts < %(end)s
"""
_BUCKETS = """
    SELECT device_id, (extract(epoch FROM date_bin(%(step)s, at, %(epoch)s)) * 1000)::bigint, {schemas}, {figures}
      FROM ({source}) AS figures GROUP BY 1, 2 ORDER BY 2
"""
# Of each metric its number of values, sum, low, high and last. A sum of numbers beyond 1e298 would be an error.
_READING = """
    ({value} IS NOT NULL)::int AS n{number},
    CASE WHEN abs({value}) > 1e298 THEN sign({value}) * 1e298 ELSE {value} END AS s{number},
    {value} AS l{number}, {value} AS h{number}, {value} AS z{number}
"""
_ROLLUP = (("n", "counts"), ("s", "sums"), ("l", "lows"), ("h", "highs"), ("z", "lasts"))
_FIGURES = """
    coalesce(sum(n{number}), 0), sum(s{number}), min(l{number}), max(h{number}),
    (array_agg(z{number} ORDER BY at DESC) FILTER (WHERE z{number} IS NOT NULL))[1]
"""


def read(devices: Collection[int], metrics: list[Drawn], plan: Plan, now: datetime) -> list[Row]:
    """Buckets of these devices that have readings, in order of time. Two queries at most.

    `now` is the moment the rollups' lag is judged by. Raises TooMuch.
    """
    if not metrics:
        return []
    asked: dict[str, Any] = {"devices": list(devices), "since": plan.since, "until": plan.until}
    asked |= {"step": plan.step, "epoch": EPOCH}
    source = _READINGS
    if plan.source is not Source.READING:
        source = _ROLLUPS
        late = pending.buckets(devices, plan.source, plan.since, plan.until, now)
        if late:
            source += _SETTLED
            starts = [start for _, start in late]
            asked |= {"late_devices": [device for device, _ in late], "late": starts, "grain": plan.source.grain}
            asked |= {"first": min(starts), "end": max(starts) + plan.source.grain}
    return [_row(row) for row in _patiently(_query(source, metrics, plan.source), asked)]


def _patiently(query: str, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Its rows, or TooMuch when they take too long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'")
            cursor.execute(query, asked)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")  # there may be a transaction around this one
            return rows
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise TooMuch("This takes too long to draw: choose a shorter range or a coarser resolution.") from error
        raise


def _row(row: tuple[Any, ...]) -> Row:
    device, time, schemas, *figures = row
    each = [figures[place : place + 5] for place in range(0, len(figures), 5)]
    cells = [
        Cell(count, _short(total / count), low, high, last) if count else NOTHING
        for count, total, low, high, last in each
    ]
    return Row(device, time, schemas, cells)


def _short(mean: float) -> float:
    """A quotient has 17 digits, of which no instrument knows more than nine."""
    return float(f"{mean:.9g}")


def _query(source: str, metrics: list[Drawn], grain: Source) -> str:
    """Of names of our making: columns are numbered, places and schemas are integers."""
    several = any(metric.others for metric in metrics)
    readings = [_READING.format(number=number, value=_value("metrics", each)) for number, each in enumerate(metrics)]
    rollups = [
        f"{_value(column, each)} AS {short}{number}" for number, each in enumerate(metrics) for short, column in _ROLLUP
    ]
    return _BUCKETS.format(
        source=source.format(readings=", ".join(readings), rollups=", ".join(rollups), source=grain.value),
        figures=", ".join(_FIGURES.format(number=number) for number in range(len(metrics))),
        schemas="array_agg(DISTINCT schema_id)" if several else "'{}'::int[]",
    )


def _value(column: str, metric: Drawn) -> str:
    """An element of the array; arrays stored before the metric was added are shorter, which reads as NULL."""
    cases = " ".join(f"WHEN {schema:d} THEN {column}[{place:d}]" for schema, place in metric.places.items())
    return f"CASE schema_id {cases} END"
