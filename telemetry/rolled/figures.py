"""Figures of minutes and hours, computed in SQL from what is in the database now, and written where they differ.

All take one day (UTC), so that the planner looks at that day's partition alone, and its buckets as two arrays. A bucket
in which nothing is found is left as it is: its readings may have gone to the archive.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from django.db import connection

from telemetry.tables import trees

MINUTE, HOUR = 60, 3600
"""Seconds of a bucket."""

# One row for each metric of each reading; a reading without any has one, too, so that it counts. What is added up is
# held within ±1e298, so that no sum of them is too great for a float, which would be an error.
_FROM_READINGS = """
    SELECT schema_id, place, count(*) AS readings, count(value) AS count, min(value) AS low, max(value) AS high,
           sum(CASE WHEN abs(value) > 1e298 THEN sign(value) * 1e298 ELSE value END ORDER BY ts, msg_id) AS sum,
           (array_agg(value ORDER BY ts, msg_id) FILTER (WHERE value IS NOT NULL))[count(value)] AS last
      FROM telemetry_reading LEFT JOIN LATERAL unnest(metrics) WITH ORDINALITY AS metric (value, place) ON true
     WHERE device_id = device AND ts >= begin AND ts < begin + %(width)s
       AND ts >= %(since)s AND ts < %(until)s
     GROUP BY schema_id, place
"""
_FROM_MINUTES = """
    SELECT schema_id, place, sum(readings) AS readings, sum(count) AS count, min(low) AS low, max(high) AS high,
           sum(sum ORDER BY start) AS sum,
           (array_agg(last ORDER BY start) FILTER (WHERE last IS NOT NULL))[count(last)] AS last
      FROM telemetry_minute
           LEFT JOIN LATERAL unnest(counts, lows, highs, sums, lasts) WITH ORDINALITY
           AS metric (count, low, high, sum, last, place) ON true
     WHERE device_id = device AND start >= begin AND start < begin + %(width)s
       AND start >= %(since)s AND start < %(until)s
     GROUP BY schema_id, place
"""
_COLUMNS = ("readings", "counts", "lows", "highs", "sums", "lasts")


def _in_order(figure: str) -> str:
    return f"coalesce(array_agg({figure} ORDER BY place) FILTER (WHERE place IS NOT NULL), '{{}}')"


def _statement(table: str, source: str) -> str:
    """Each bucket is one short range of a primary key; a row that says the same already is not written again."""
    new, old = (", ".join(f"{where}.{name}" for name in _COLUMNS) for where in ("excluded", table))
    return f"""
        INSERT INTO {table} (device_id, start, schema_id, {", ".join(_COLUMNS)})
        SELECT device, begin, figures.*
          FROM (SELECT device, to_timestamp(bucket * %(seconds)s::float8) AS begin
                  FROM unnest(%(devices)s::int[], %(buckets)s::int[]) AS pair (device, bucket)) AS touched
               CROSS JOIN LATERAL (
               SELECT schema_id, sum(readings) FILTER (WHERE place IS NULL OR place = 1), {_in_order("count")},
                      {_in_order("low")}, {_in_order("high")}, {_in_order("sum")}, {_in_order("last")}
                 FROM ({source}) AS metrics GROUP BY schema_id) AS figures
        ON CONFLICT (device_id, start, schema_id) DO UPDATE SET {", ".join(f"{c} = excluded.{c}" for c in _COLUMNS)}
         WHERE ({new}) IS DISTINCT FROM ({old})
    """  # noqa: S608 (constants)


_MINUTES = _statement("telemetry_minute", _FROM_READINGS)
_HOURS = _statement("telemetry_hour", _FROM_MINUTES)
_HOURS_FROM_READINGS = _statement("telemetry_hour", _FROM_READINGS)


# What the minutes lack was stored before there were any, or when MINUTE_DAYS was smaller. Where they know of more, the
# readings are gone.
_LACKING = """
    SELECT device, bucket
      FROM (SELECT device, bucket, to_timestamp(bucket * %(seconds)s::float8) AS begin
              FROM unnest(%(devices)s::int[], %(buckets)s::int[]) AS pair (device, bucket)) AS asked
     WHERE (SELECT count(*) FROM telemetry_reading
             WHERE device_id = device AND ts >= begin AND ts < begin + %(width)s AND ts >= %(since)s AND ts < %(until)s)
         > (SELECT coalesce(sum(readings), 0) FROM telemetry_minute
             WHERE device_id = device AND start >= begin AND start < begin + %(width)s
               AND start >= %(since)s AND start < %(until)s)
"""


def minutes(day: date, devices: Sequence[int], buckets: Sequence[int]) -> None:
    """Compute minutes (since 1970) of a day from its readings, one for each of `devices`."""
    _compute(_MINUTES, MINUTE, day, devices, buckets)


def hours(day: date, devices: Sequence[int], buckets: Sequence[int], *, from_minutes: bool) -> None:
    """Compute hours (since 1970) of a day from its minutes or, where these are gone, from its readings."""
    _compute(_HOURS if from_minutes else _HOURS_FROM_READINGS, HOUR, day, devices, buckets)


def lacking(day: date, devices: Sequence[int], buckets: Sequence[int]) -> set[tuple[int, int]]:
    """Those of these devices' hours (since 1970) of a day that have readings of which their minutes do not know."""
    if not buckets:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_LACKING, _values(HOUR, day, devices, buckets))
        return set(cursor.fetchall())


def _compute(statement: str, seconds: int, day: date, devices: Sequence[int], buckets: Sequence[int]) -> None:
    if not buckets:
        return
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(seconds, day, devices, buckets))


def _values(seconds: int, day: date, devices: Sequence[int], buckets: Sequence[int]) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "width": timedelta(seconds=seconds),
        "since": trees.midnight(day),
        "until": trees.midnight(day + timedelta(days=1)),
        "devices": list(devices),
        "buckets": list(buckets),
    }
