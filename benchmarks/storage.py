"""Bytes a reading: in the database with its index, rolled up, archived; beside a table with one row for each value.

A day of simulated cold loggers (four metrics, one reading in 30 s) comes in arrival order, once with message ids as the
reference agent makes them, once with random ones. Both days are archived, and one is restored. The PostgreSQL is one of
its own, and gone at the end.
"""

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import tests.servers  # noqa: F401 (the first: it starts the servers that the settings name)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from agent import instruments  # noqa: E402
from agent.boot import Boot  # noqa: E402
from benchmarks.result import report  # noqa: E402
from devices.models import Device, DeviceType, Tenant  # noqa: E402
from telemetry.archive import archives, restores  # noqa: E402
from telemetry.models import ArchivedDay, Metric, Schema  # noqa: E402
from telemetry.rolled import rollups  # noqa: E402
from telemetry.tables import partitions  # noqa: E402

MUST = {"hot": 240, "archived": 30}
AIM = {"hot": 180, "archived": 15}
METRICS = ("temperature_c", "humidity_pct", "battery_v", "door_open")
STEP = 30
FIRST = datetime(2025, 3, 3, tzinfo=UTC)
_NARROW = """
    CREATE TABLE narrow (
        device_id int NOT NULL, metric_id smallint NOT NULL, ts timestamptz NOT NULL, value float8 NOT NULL,
        PRIMARY KEY (device_id, metric_id, ts)
    )
"""
Reading = tuple[int, datetime, uuid.UUID, datetime, list[float]]


def main(devices: int) -> int:
    """Fill, roll up, archive, restore; tell."""
    call_command("migrate", verbosity=0)
    schema, pks = registry(devices)
    figures: dict[str, Any] = {"devices": devices}
    days = {"sequence": FIRST, "random": FIRST + timedelta(days=1)}
    for ids, day in days.items():
        figures[f"hot_{ids}"] = hot(schema, pks, day, ids == "random")
    figures["narrow"] = narrow(figures["hot_sequence"]["readings"])
    figures["rolled_up"] = rolled_up(pks, FIRST)
    began = time.monotonic()
    archives.archive_due(FIRST + timedelta(days=1000))
    figures["archive_s"] = round(time.monotonic() - began, 1)
    for ids, day in days.items():
        part = ArchivedDay.objects.get(day=day.date())
        figures[f"archived_{ids}"] = {"readings": part.rows, "bytes": round(part.size / part.rows, 1)}
    began = time.monotonic()
    restored = restores.restore(FIRST.date(), FIRST + timedelta(days=1000))  # compares the digest
    figures["restore_s"] = round(time.monotonic() - began, 1)
    if restored.put != figures["hot_sequence"]["readings"]:
        raise RuntimeError(f"not everything came back: {restored}")
    return tell(figures)


def tell(figures: dict[str, Any]) -> int:
    """Ratios, and the line that counts."""
    per_reading = {name: told["bytes"] for name, told in figures.items() if isinstance(told, dict) and "bytes" in told}
    sys.stdout.write(json.dumps(per_reading) + "\n")
    hottest = max(per_reading["hot_sequence"], per_reading["hot_random"])
    largest = max(per_reading["archived_sequence"], per_reading["archived_random"])
    ratios = {
        "narrow_to_hot": round(per_reading["narrow"] / per_reading["hot_sequence"], 2),
        "hot_to_archived": round(per_reading["hot_sequence"] / per_reading["archived_sequence"], 1),
    }
    must = hottest <= MUST["hot"] and largest <= MUST["archived"]
    aim = per_reading["hot_sequence"] <= AIM["hot"] and per_reading["archived_sequence"] <= AIM["archived"]
    return report("storage", figures, ratios, must=must, aim=must and aim)


def registry(count: int) -> tuple[Schema, list[int]]:
    """Devices of one tenant and type, with their schema."""
    tenant = Tenant.objects.create(slug="storage", name="Storage")
    kind = DeviceType.objects.create(slug="cold-logger", name="Cold logger")
    schema = Schema.objects.create(device_type=kind, version=1)
    for position, name in enumerate(METRICS):
        Metric.objects.create(schema=schema, position=position, name=name, label=name)
    common = {"tenant": tenant, "device_type": kind}
    rows = [Device(device_id=f"d-{number:020x}", hardware_id=f"hw-{number}", **common) for number in range(count)]
    return schema, [row.pk for row in Device.objects.bulk_create(rows)]


def hot(schema: Schema, pks: list[int], day: datetime, random_ids: bool) -> dict[str, Any]:
    """A day in the order of arrival. Returns readings, and bytes of each with the index."""
    partitions.make_day(day.date())
    table = partitions.partition(day.date())
    fill(
        f"COPY {table} (device_id, ts, msg_id, received_at, schema_id, metrics) FROM STDIN",
        (
            [pk, ts, msg_id, came, schema.pk, metrics]
            for pk, ts, msg_id, came, metrics in readings(pks, day, random_ids)
        ),
    )
    total, heap, rows = sizes(table)
    with connection.cursor() as cursor:
        cursor.execute(f"REINDEX TABLE {table}")  # as a sealed day
    packed = sizes(table)[0]
    return {
        "readings": rows,
        "bytes": round(total / rows, 1),
        "bytes_without_index": round(heap / rows, 1),
        "bytes_if_reindexed": round(packed / rows, 1),
    }


def readings(pks: list[int], day: datetime, random_ids: bool) -> Iterator[Reading]:
    """In the order of arrival: each device every 30 s, at a moment of its own, milliseconds late."""
    rng = Random(7)  # noqa: S311 (a simulation)
    phases = sorted((rng.random() * (STEP - 1), pk) for pk in pks)
    started = {pk: Boot(int((day.timestamp() - rng.random() * 86400 * 20) * 1000), rng.getrandbits(40)) for pk in pks}
    made = {pk: rng.randrange(50_000) for pk in pks}
    devices = {pk: instruments.make("cold-logger", rng) for pk in pks}
    for tick in range(0, 86_400, STEP):
        for phase, pk in phases:
            moment = day.timestamp() + tick + phase + rng.random() * 0.02
            devices[pk], values = devices[pk].read(moment, rng)
            made[pk] += 1
            msg_id = uuid.UUID(int=rng.getrandbits(128), version=4) if random_ids else started[pk].msg_id(made[pk])
            ts = datetime.fromtimestamp(int(moment * 1000) / 1000, UTC)
            came = ts + timedelta(microseconds=5000 + int(rng.expovariate(1 / 40_000)))
            yield pk, ts, msg_id, came, [float(values[name]) for name in METRICS]


def fill(copy_sql: str, rows: Iterator[list[Any]]) -> None:
    """COPY as they come."""
    with connection.cursor() as cursor, cursor.copy(copy_sql) as copy:
        for row in rows:
            copy.write_row(row)


def narrow(count: int) -> dict[str, Any]:
    """The first day once more, a row for each value, with nothing but what a value needs."""
    with connection.cursor() as cursor:
        cursor.execute(_NARROW)
        cursor.execute(
            "INSERT INTO narrow SELECT device_id, n, ts, value"  # noqa: S608 (our names)
            f" FROM {partitions.partition(FIRST.date())}, unnest(metrics) WITH ORDINALITY AS u (value, n)"
            " ORDER BY ctid, n"
        )
    total, heap, rows = sizes("narrow")
    return {"rows": rows, "bytes": round(total / count, 1), "bytes_without_index": round(heap / count, 1)}


def rolled_up(pks: list[int], day: datetime) -> dict[str, Any]:
    """Figures of the first day: bytes of a bucket with the index."""
    partitions.make_ahead(day)
    now = day + timedelta(days=2)
    list(rollups.recompute(pks, day, day + timedelta(days=1), now))
    found = {}
    for name, tree in (("minute", partitions.MINUTES), ("hour", partitions.HOURS)):
        total, heap, rows = sizes(tree.part(day.date()))
        found[name] = {"buckets": rows, "bytes_a_bucket": round(total / rows, 1)}
        found[name] |= {"bytes_a_bucket_without_index": round(heap / rows, 1)}
    return found


def sizes(table: str) -> tuple[int, int, int]:
    """Bytes with and without indexes, and rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT pg_total_relation_size(%s), pg_table_size(%s), (SELECT count(*) FROM {table})",  # noqa: S608
            [table, table],
        )
        total, heap, rows = cursor.fetchone()
        return total, heap, rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=350, help="each sends 2,880 readings a day")
    sys.exit(main(parser.parse_args().devices))
