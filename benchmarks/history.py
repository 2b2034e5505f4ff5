"""Years of readings made in SQL, with their rollups: `python -m benchmarks.history '{"devices": …}'`.

To be run in a portal's environment. Nothing goes through ingest or the touched set: days are written straight into
their partitions, in key order, and the figures of minutes and hours are computed for a whole day at a time.
Prints one line of JSON.
"""

import json
import os
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402 (Django had to be set up)
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from devices.models import DeviceType, Membership, Tenant  # noqa: E402
from telemetry.models import Metric, Schema  # noqa: E402
from telemetry.tables import partitions, trees  # noqa: E402

DAY = timedelta(days=1)
_DEVICES = """
    INSERT INTO devices_device (device_id, hardware_id, name, tenant_id, device_type_id, state, attested, tags,
                                created_at)
    SELECT format('d-%%s-%%s', %(name)s::text, n), format('%%s-%%s', %(name)s::text, n),
           format('%%s %%s', (ARRAY['Freezer', 'Cold room', 'Counter', 'Truck'])[1 + n %% 4], n),
           %(tenant)s, %(type)s, 'active', false, '{}', %(now)s
      FROM generate_series(1, %(count)s) AS n
"""
_PRESENCE = """
    INSERT INTO devices_presence (device_id, online, ended, session, boot_id, firmware_version, agent, rssi_dbm,
                                  changed_at, last_seen_at)
    SELECT id, true, '', 1, 'boot-1', '1.4.0', 'generated', -60 - id %% 30, %(now)s, %(now)s
      FROM devices_device WHERE device_type_id = %(type)s
"""
# A wave over the day and the year, a level of each device's own, noise; 20 % fewer doors at night. On one day of 32 a
# device is silent from nine to three, and one reading of a hundred is lost.
_READINGS = """
    INSERT INTO {table} (device_id, ts, msg_id, received_at, schema_id, flags, metrics)
    SELECT d.id, t.ts + d.shift, gen_random_uuid(), t.ts + d.shift + interval '80 ms', %(schema)s, 0,
           ARRAY[round((d.level + 2.5 * t.wave + t.season + random() - 0.5)::numeric, 2)::float8,
                 round((62 - 9 * t.wave + 3 * random())::numeric, 1)::float8,
                 (random() < 0.05 + 0.04 * t.wave)::int::float8]
      FROM (SELECT id, -18 + id %% 24 AS level, (id * 7919 %% 1000) * interval '1 ms' AS shift,
                   (hashint8(id::bigint * 100000 + %(number)s) & 31) = 0 AS gap
              FROM devices_device WHERE device_type_id = %(type)s ORDER BY id OFFSET 0) AS d,
           (SELECT ts, extract(hour FROM ts AT TIME ZONE 'UTC') AS hour,
                   sin((extract(epoch FROM ts) / 86400 - 0.35) * 2 * pi()) AS wave,
                   3 * sin(extract(epoch FROM ts) / 86400 / 365.25 * 2 * pi()) AS season
              FROM generate_series(%(since)s, %(until)s - interval '1 s', %(every)s) AS ts) AS t
     WHERE NOT (d.gap AND t.hour BETWEEN 9 AND 14) AND random() > 0.01
"""
_ROLLUP = """
    INSERT INTO {table} (device_id, start, schema_id, readings, counts, lows, highs, sums, lasts)
    SELECT device_id, date_trunc(%(grain)s, ts, 'UTC') AS start, schema_id, count(*), ARRAY[{counts}], ARRAY[{lows}],
           ARRAY[{highs}], ARRAY[{sums}], ARRAY[{lasts}]
      FROM {readings} WHERE schema_id = %(schema)s GROUP BY 1, 2, 3 ORDER BY 1, 2
"""
_LATEST = """
    INSERT INTO telemetry_latest (device_id, ts, received_at, schema_id, metrics, extra)
    SELECT DISTINCT ON (device_id) device_id, ts, received_at, schema_id, metrics, extra
      FROM telemetry_reading WHERE schema_id = %(schema)s AND ts >= %(since)s ORDER BY device_id, ts DESC
    ON CONFLICT DO NOTHING
"""
METRICS = [("temperature_c", "Temperature", "°C", "number"), ("humidity_pct", "Humidity", "%", "number"),
           ("door_open", "Door open", "", "boolean")]  # fmt: skip


def registry(name: str, count: int, now: datetime, owner: str = "") -> Schema:
    """So many active devices of a tenant and a type of their own, which `owner` may see. Returns their schema."""
    tenant = Tenant.objects.create(slug=name, name=name.capitalize())
    device_type = DeviceType.objects.create(slug=name, name=f"{name.capitalize()} logger", silence_seconds=10**6)
    schema = Schema.objects.create(device_type=device_type, version=1)
    for position, (metric, label, unit, kind) in enumerate(METRICS):
        Metric.objects.create(schema=schema, position=position, name=metric, label=label, unit=unit, kind=kind)
    for user in User.objects.filter(username=owner):
        Membership.objects.create(user=user, tenant=tenant, role=Membership.Role.OWNER)
    asked: dict[str, Any] = {"name": name, "tenant": tenant.pk, "type": device_type.pk, "now": now, "count": count}
    with connection.cursor() as cursor:
        cursor.execute(_DEVICES, asked)
        cursor.execute(_PRESENCE, asked)
    return schema


def fill(schema: Schema, since: date, until: datetime, every_seconds: float, *, minutes: bool = True) -> int:
    """Readings of all devices of the schema's type, one in `every_seconds`, with their hours and, if wanted, minutes.

    From the day `since` (UTC) to before `until`; these devices must have none there yet. Returns how many readings.
    """
    stored, start = 0, datetime(since.year, since.month, since.day, tzinfo=UTC)
    while start < until:
        stored += _day(schema, start, min(start + DAY, until), every_seconds, minutes=minutes)
        start += DAY
    return stored


def _day(schema: Schema, start: datetime, until: datetime, every_seconds: float, *, minutes: bool) -> int:
    day = start.date()
    for tree in partitions.TREES:
        trees.make(tree, day)
    readings = partitions.partition(day)
    asked: dict[str, Any] = {"schema": schema.pk, "type": schema.device_type_id, "since": start, "until": until}
    asked |= {"every": timedelta(seconds=every_seconds), "number": day.toordinal()}
    with connection.cursor() as cursor:
        cursor.execute(_READINGS.format(table=readings), asked)
        stored: int = cursor.rowcount
        for grain in ("minute", "hour") if minutes else ("hour",):
            cursor.execute(_rollup(grain, readings), asked | {"grain": grain})
    return stored


def _rollup(grain: str, readings: str) -> str:
    places = range(1, len(METRICS) + 1)
    figures = {
        "counts": "count(metrics[{0}])",
        "lows": "min(metrics[{0}])",
        "highs": "max(metrics[{0}])",
        "sums": "sum(metrics[{0}])",
        "lasts": "(array_agg(metrics[{0}] ORDER BY ts DESC) FILTER (WHERE metrics[{0}] IS NOT NULL))[1]",
    }
    lists = {name: ", ".join(figure.format(place) for place in places) for name, figure in figures.items()}
    return _ROLLUP.format(table=f"telemetry_{grain}", readings=readings, **lists)


def finish(schema: Schema, now: datetime) -> None:
    """The newest values of each device (from the last two days), and statistics for the planner."""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, {"schema": schema.pk, "since": now - 2 * DAY})
        cursor.execute("VACUUM (ANALYZE) telemetry_reading, telemetry_minute, telemetry_hour, telemetry_latest")
        cursor.execute("VACUUM (ANALYZE) devices_device, devices_presence")


def sizes() -> dict[str, int]:
    """Bytes on disk with indexes, by table."""
    query = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(%s)"
    found = {}
    with connection.cursor() as cursor:
        for table in ("telemetry_reading", "telemetry_minute", "telemetry_hour"):
            cursor.execute(query, [table])
            found[table] = int(cursor.fetchone()[0])
    return found


def make(name: str, devices: int, stretches: list[tuple[int, float]], minute_days: int, owner: str) -> dict[str, Any]:
    """Devices and their past: `stretches` are (days back, seconds between two readings), the longest back first.

    Minutes are made for as many days as they are kept.
    """
    began, now = time.monotonic(), timezone.now()
    schema = registry(name, devices, now, owner)
    bounds = [now.date() - timedelta(days=back) for back, _ in stretches]
    kept = now.date() - timedelta(days=minute_days)
    readings = 0
    for since, ends, (_, every) in zip(bounds, [*bounds[1:], None], stretches, strict=True):
        until = now if ends is None else datetime(ends.year, ends.month, ends.day, tzinfo=UTC)
        middle = min(max(kept, since), until.date())
        border = datetime(middle.year, middle.month, middle.day, tzinfo=UTC)
        readings += fill(schema, since, border, every, minutes=False)
        readings += fill(schema, middle, until, every)
    finish(schema, now)
    return {"readings": readings, "made_s": round(time.monotonic() - began, 1), "bytes": sizes()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(make(**json.loads(sys.argv[1]))) + "\n")
