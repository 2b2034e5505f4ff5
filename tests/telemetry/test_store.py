import json
import random
import struct
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from telemetry import ingest
from telemetry.models import Latest, Reading
from telemetry.store import _plain, store
from telemetry.tables import partitions
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import kill, workers
from tests.telemetry.messages import envelope, message, noon, row


@pytest.fixture
def schema(db):
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    return DeviceFactory(device_type=schema.device_type)


def put(*rows):
    with transaction.atomic():
        return store(rows)


def test_a_reading_is_stored_as_it_is(device, schema):
    told = row(device, schema, noon(), extra='{"note": "ä"}', flags=1, metrics=[None, 1e308, -0.5])
    assert put(told) == 1
    kept = Reading.objects.get()
    assert (kept.ts, kept.msg_id, kept.received_at) == (told.ts, told.msg_id, told.received_at)
    assert (kept.metrics, kept.extra, kept.flags, kept.schema_id) == ([None, 1e308, -0.5], {"note": "ä"}, 1, schema.pk)


@pytest.mark.parametrize(
    "metrics", [[], [None], [None, None], [0.0], [-0.0, 5e-324, 1.7e308], [1.5, None, 3], [1, True]]
)
@pytest.mark.parametrize("extra", [None, "{}", '{"note": "\N{SNOWMAN}\\n"}'])
def test_what_stands_in_a_row_is_what_comes_out_of_the_database(device, schema, metrics, extra):
    """Whatever way it was spelt for COPY."""
    moments = [datetime(1999, 12, 31, 23, 59, 59, 999000, UTC), noon(), datetime(2100, 1, 1, tzinfo=UTC)]
    told = [row(device, schema, ts, metrics=metrics, extra=extra, received_at=ts, flags=ts.year) for ts in moments]
    assert put(*told) == 3
    kept = Reading.objects.order_by("ts")
    assert [(each.ts, each.received_at, each.flags) for each in kept] == [(ts, ts, ts.year) for ts in moments]
    assert {tuple(each.metrics) for each in kept} == {tuple(metrics)}
    assert [each.extra for each in kept] == [extra and json.loads(extra)] * 3


def test_the_same_key_is_stored_once_whatever_else_it_says(device, schema):
    told = row(device, schema, noon())
    again = row(device, schema, noon(), value=9.9, msg_id=told.msg_id)
    assert (put(told, told, again), put(again)) == (1, 0)
    assert Reading.objects.get().metrics[0] == 4.5


@pytest.mark.parametrize("part", ["device", "ts", "msg_id"])
def test_another_device_time_or_id_is_another_reading(device, schema, part):
    first = row(device, schema, noon())
    other = {
        "device": lambda: row(DeviceFactory(device_type=schema.device_type), schema, noon(), msg_id=first.msg_id),
        "ts": lambda: row(device, schema, noon() + timedelta(milliseconds=1), msg_id=first.msg_id),
        "msg_id": lambda: row(device, schema, noon()),
    }[part]()
    assert put(first, other) == 2


def test_the_latest_is_the_newest_by_the_devices_clock(device, schema):
    minutes = [3, 1, 5, 2, 4]
    for minute in minutes:
        put(row(device, schema, noon() + timedelta(minutes=minute), value=minute))
    latest = Latest.objects.get()
    assert (latest.ts, latest.metrics[0]) == (noon() + timedelta(minutes=5), 5.0)


def test_the_latest_of_a_clock_ahead_gives_way_to_what_was_received_after_it(device, schema):
    now = timezone.now()
    ahead, right = now + timedelta(hours=20), now - timedelta(minutes=5)
    later = now + timedelta(seconds=1)
    for ts, received_at, newest in [(ahead, now, ahead), (right, now, ahead), (right, later, right)]:
        put(row(device, schema, ts, received_at=received_at))
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE incoming")  # as the end of a batch's own transaction does
        assert Latest.objects.get().ts == newest


def test_the_latest_of_a_clock_a_little_ahead_stays(device, schema):
    ahead = timezone.now() + timedelta(seconds=50)
    put(row(device, schema, ahead))
    put(row(device, schema))
    assert Latest.objects.get().ts == ahead


def test_what_all_threads_share_of_a_row_cannot_be_changed():
    """A list that two of them filled would give one device the numbers of another."""
    assert [type(each) for each in _plain(3)] == [struct.Struct, tuple]


def test_two_batches_in_one_transaction_do_not_see_each_others_rows(device, schema):
    with transaction.atomic():
        assert store([row(device, schema, noon())]) == 1
    with transaction.atomic():
        assert store([row(device, schema, noon() + timedelta(seconds=1))]) == 1


@pytest.mark.django_db(transaction=True)
def test_a_database_that_dies_in_the_middle_of_a_copy_is_told_as_any_other_time(schema):
    """The pump waits for a database that is away; anything else it takes for the message's fault."""
    device = DeviceFactory(device_type=schema.device_type)

    with workers(1) as (other,):
        pid = connection.connection.info.backend_pid

        def dying():
            yield row(device, schema, noon())
            other(kill, pid)
            for _ in range(10_000):
                yield row(device, schema, noon())

        with pytest.raises(OperationalError), transaction.atomic():
            store(dying())
    connection.close()
    assert not Reading.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_that_store_the_same_messages_in_any_order_store_each_once_without_deadlock(schema):
    partitions.make_ahead(timezone.now())
    devices = [DeviceFactory(device_type=schema.device_type) for _ in range(20)]
    turns = [[message(device, envelope()) for device in devices for _ in range(20)] for _ in range(8)]
    together = threading.Barrier(3)

    def take(seed):
        connection.ensure_connection()
        stored = 0
        for number, told in enumerate(turns):
            order = random.Random(seed * 100 + number).sample(told, len(told))
            together.wait(20)
            stored += ingest.store_batch(order).stored
        return stored

    with workers(3) as team:
        stored = [each.result(60) for each in [worker.begin(take, seed) for seed, worker in enumerate(team)]]
    assert sum(stored) == Reading.objects.count() == sum(map(len, turns))
    assert Latest.objects.count() == len(devices)
