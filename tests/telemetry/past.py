"""A past for charts: readings as ingest leaves them, and hours of many days written set-wise."""

from datetime import datetime, timedelta

from django.db import connection, transaction

from devices.models import Device
from telemetry.models import Schema
from telemetry.rolled import touched
from telemetry.store import store
from telemetry.tables import trees
from telemetry.tables.partitions import READINGS
from tests.telemetry.messages import row

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=each) for each in (1, 60, 3600, 86400))
_HOURS = """
    INSERT INTO telemetry_hour (device_id, start, schema_id, readings, counts, lows, highs, sums, lasts)
    SELECT %(device)s, at, %(schema)s, 60, ARRAY[60, 0, 0], ARRAY[v - 1, NULL, NULL], ARRAY[v + 1, NULL, NULL],
           ARRAY[60 * v, NULL, NULL], ARRAY[v, NULL, NULL]
      FROM (SELECT at, 20 + 5 * sin(extract(epoch FROM at) / 86400 * 2 * pi()) AS v
              FROM generate_series(%(since)s, %(until)s - interval '1 hour', interval '1 hour') AS at) AS wave
"""


def say(device: Device, schema: Schema, values: list[tuple[datetime, float | list | None]], **changes) -> None:
    """Readings as ingest leaves them: stored, their minutes touched. A value is the first metric's, or all of them."""
    for day in {moment.date() for moment, _ in values}:
        trees.make(READINGS, day)
    lists = [(at, value if isinstance(value, list) else [value, None, None]) for at, value in values]
    rows = [row(device, schema, at, **{"metrics": metrics} | changes) for at, metrics in lists]
    with transaction.atomic():
        store(rows)
        touched.note(rows)


def wave(device: Device, schema: Schema, since: datetime, until: datetime) -> None:
    """Hours of a wave over the day, 20 ± 5 °C, each ± 1. Without readings: these went to the archive."""
    with connection.cursor() as cursor:
        cursor.execute(_HOURS, {"device": device.pk, "schema": schema.pk, "since": since, "until": until})
