import random
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from telemetry import ingest, partitions
from telemetry.models import Latest, Reading
from telemetry.store import store
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
