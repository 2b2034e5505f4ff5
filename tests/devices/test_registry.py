"""Devices in memory: believed for as long as nothing changed, and never what somebody may yet roll back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from devices import registry, skew
from devices.contract import ContractError, Topic
from devices.models import Device, DeviceType, Finding, Presence, Tenant
from devices.registry import Known
from tests.devices.peers import eventually
from tests.factories import DeviceFactory, DeviceTypeFactory
from tests.fleetportal.workers import workers

pytestmark = pytest.mark.django_db(transaction=True)


class Undone(Exception):
    """What is done inside is rolled back."""


def settled():
    """Nothing older runs: a transaction of another test's worker would have our rows looked at once more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(bool_and(changed_xid < pg_snapshot_xmin(pg_current_snapshot())), true) FROM devices_device"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def device():
    made = DeviceFactory()
    eventually(settled, what="older transactions ended")
    return made


def look(device):
    return registry.look_up([device.device_id]).get(device.device_id)


def queries(*device_ids):
    with CaptureQueriesContext(
        connection,
    ) as told:
        registry.look_up(device_ids)
    return len(told)


def change(**fields):
    Device.objects.update(**fields)


def test_a_device_is_known_with_all_that_ingestion_needs(device, settings):
    settings.TELEMETRY_PER_MINUTE, settings.TENANT_TELEMETRY_PER_MINUTE = 7, 8
    assert look(device) == Known(
        device.pk, device.device_id, device.tenant.slug, device.device_type.slug, device.device_type_id, "active",
        device.tenant_id, 7, 8, skew.Clock.RIGHT,
    )  # fmt: skip


def test_trespasses_are_counted_and_told_once(device):
    known, trespasses = registry.look_up([device.device_id]), registry.Trespasses()
    wrong = Topic("x", "y", device.device_id, "telemetry")
    with CaptureQueriesContext(connection) as asked:
        for each in (wrong, wrong, Topic(device.tenant.slug, device.device_type.slug, device.device_id, "event", "c")):
            with pytest.raises(ContractError):
                registry.check(each, known, trespasses)
    assert len(asked) == 0
    with CaptureQueriesContext(connection) as asked:
        trespasses.tell()
        registry.Trespasses().tell()
    assert len(asked) == 1
    told = {("topic_mismatch", device.pk, 2), ("unknown_child", device.pk, 1)}
    assert set(Finding.objects.values_list("kind", "device", "count")) == told


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        ("/t/y/d-1/telemetry", "d-1"),
        ("/UPPER//d-1/child/c/telemetry", "d-1"),
        ("/t/y/D\0/telemetry", ""),
        ("/t/y/d-1", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_the_device_in_a_topic_is_found_whatever_else_is_wrong(text, claimed):
    assert registry.claimed(text) == claimed


def test_what_is_in_memory_costs_one_query_and_what_is_not_one_more(device):
    other = DeviceFactory()
    eventually(settled, what="older transactions ended")
    assert queries() == 0
    assert queries(device.device_id) == 2
    assert queries(device.device_id) == 1
    assert queries(device.device_id, other.device_id) == 2
    assert queries(device.device_id, other.device_id, device.device_id) == 1


def test_a_device_that_is_not_there_is_asked_for_each_time():
    assert registry.look_up(["d-late"]) == {}
    device = DeviceFactory(device_id="d-late")
    assert look(device).pk == device.pk


CHANGES = {
    "state": lambda _: change(state="quarantined"),
    "tenant": lambda _: change(tenant=DeviceFactory().tenant),
    "type": lambda _: change(device_type=DeviceTypeFactory()),
    "tenant's slug": lambda device: Tenant.objects.filter(pk=device.tenant_id).update(slug="renamed"),
    "tenant's budget": lambda device: Tenant.objects.filter(pk=device.tenant_id).update(telemetry_per_minute=3),
    "type's slug": lambda device: DeviceType.objects.filter(pk=device.device_type_id).update(slug="renamed"),
    "type's budget": lambda device: DeviceType.objects.filter(pk=device.device_type_id).update(telemetry_per_minute=3),
    "clock": lambda device: (Presence.objects.update(skew_ms=10**9), registry.touch([device.pk])),
    "deleted": lambda _: (Presence.objects.all().delete(), Device.objects.all().delete()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen_at_the_next_look(device, what):
    before = look(device)
    with workers(1) as (other,):
        other(CHANGES[what], device)
    after = look(device)
    assert after != before
    registry.forget_all()
    assert look(device) == after


def test_what_ingestion_does_not_ask_for_makes_nobody_forget(device):
    look(device)
    change(name="another", tags=["x"])
    Tenant.objects.update(name="another")
    DeviceType.objects.update(silence_seconds=77)
    Presence.objects.update(online=True)
    assert queries(device.device_id) == 1


def test_a_change_that_was_open_during_the_look_is_seen_once_it_is_committed(device):
    """By time, or by the newest transaction, it would be older than the look."""
    begun, go = threading.Event(), threading.Event()

    def slowly():
        with transaction.atomic():
            change(state="quarantined")
            begun.set()
            assert go.wait(20)

    with workers(2) as (writer, other):
        writing = writer.begin(slowly)
        assert begun.wait(20)
        other(lambda: Tenant.objects.create(slug="later", name="later"))  # others begin and commit meanwhile
        assert look(device).state == "active"
        assert look(device).state == "active"
        go.set()
        writing.result(20)
    assert look(device).state == "quarantined"


def test_a_transaction_sees_its_own_changes_and_others_do_not(device):
    look(device)
    with workers(1) as (other,):
        with transaction.atomic():
            change(state="quarantined")
            assert look(device).state == "quarantined"
            assert other(look, device).state == "active"
        assert other(look, device).state == "quarantined"


@pytest.mark.parametrize("savepoint", [False, True], ids=["transaction", "savepoint"])
def test_what_was_rolled_back_was_never_known(device, savepoint):
    with suppress(Undone), transaction.atomic():
        if savepoint:
            with suppress(Undone), transaction.atomic():
                change(state="quarantined")
                assert look(device).state == "quarantined"
                raise Undone
            assert look(device).state == "active"
        change(state="decommissioned")
        assert look(device).state == "decommissioned"
        raise Undone
    assert look(device).state == "active"


def test_a_look_before_the_first_write_of_a_transaction_that_is_rolled_back_is_kept(device):
    with suppress(Undone), transaction.atomic():
        look(device)
        change(state="quarantined")
        raise Undone
    assert queries(device.device_id) == 1
    assert look(device).state == "active"


def test_a_device_that_was_deleted_and_came_back_is_another(device):
    device_id = device.device_id
    look(device)
    Presence.objects.all().delete()
    device.delete()
    again = DeviceFactory(device_id=device_id)
    assert look(again).pk == again.pk


def test_an_emptied_table_is_seen(device):
    look(device)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE devices_device CASCADE")
    assert look(device) is None


def test_many_threads_look_while_devices_change():
    """What a look answers was true at some moment between its beginning and its end."""
    rows = [DeviceFactory() for _ in range(20)]
    budgets = dict.fromkeys((row.device_type_id for row in rows), 1)
    stop = threading.Event()

    def watch():
        looks = 0
        try:
            while not stop.is_set():
                least = dict(budgets)  # committed before the look begins
                for known in registry.look_up(row.device_id for row in rows).values():
                    assert known.telemetry_per_minute >= least[known.device_type_pk]
                looks += 1
            return looks
        finally:
            connection.close()

    DeviceType.objects.update(telemetry_per_minute=1)
    with ThreadPoolExecutor(4) as threads:
        watching = [threads.submit(watch) for _ in range(4)]
        try:
            for count in range(2, 60):
                row = rows[count % len(rows)]
                DeviceType.objects.filter(pk=row.device_type_id).update(telemetry_per_minute=count)
                budgets[row.device_type_id] = count
        finally:
            stop.set()
        assert all(each.result(30) for each in watching)
