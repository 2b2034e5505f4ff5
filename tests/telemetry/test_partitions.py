import threading
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone

from telemetry import partitions
from telemetry.models import Reading
from telemetry.store import store
from telemetry.tasks import make_partitions
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry.messages import row

FAR = datetime(2041, 7, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def exists(day: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [partitions.partition(day)])
        return cursor.fetchone()[0] is not None


def rows_in(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


@pytest.fixture
def device(db):
    return DeviceFactory(device_type=SchemaFactory().device_type)


def put(device, *moments):
    schema = device.device_type.schemas.get()
    with transaction.atomic():
        return store([row(device, schema, moment) for moment in moments])


@pytest.mark.django_db
def test_days_are_made_ahead_and_once(settings):
    settings.PARTITION_DAYS_AHEAD = 3
    made = partitions.make_ahead(FAR)
    assert made == [FAR.date() + n * DAY for n in range(-1, 4)]
    assert all(exists(day) for day in made)
    assert partitions.make_ahead(FAR) == []


@pytest.mark.django_db
def test_days_begin_at_midnight_utc_wherever_we_are():
    local = datetime(2041, 7, 15, 1, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))
    assert partitions.make_ahead(local)[0] == date(2041, 7, 14)


@pytest.mark.parametrize("second", [0, 86399.999])
def test_a_reading_lies_in_its_day(device, second):
    partitions.make_day(FAR.date())
    moment = FAR.replace(hour=0) + timedelta(seconds=second)
    put(device, moment)
    assert rows_in(partitions.partition(FAR.date())) == 1
    assert rows_in(partitions.STRAYS) == 0


def test_a_stray_is_stored_and_found_and_its_day_is_made_with_it_inside(device):
    other = FAR + 40 * DAY
    put(device, FAR, FAR + timedelta(hours=1), other)
    assert rows_in(partitions.STRAYS) == 3
    assert partitions.stray_days() == [FAR.date(), other.date()]
    assert partitions.make_day(FAR.date()) is True
    assert (rows_in(partitions.partition(FAR.date())), rows_in(partitions.STRAYS)) == (2, 1)
    assert Reading.objects.count() == 3


def test_the_sweep_heals_strays_of_any_day(device):
    put(device, FAR)
    assert FAR.date() in partitions.make_ahead(timezone.now())
    assert partitions.stray_days() == []
    assert put(device, FAR) == 1  # the day takes readings like any other


def test_a_resend_is_recognised_after_its_day_was_healed(device):
    schema = device.device_type.schemas.get()
    told = row(device, schema, FAR)
    with transaction.atomic():
        store([told])
    partitions.make_day(FAR.date())
    with transaction.atomic():
        assert store([told]) == 0
    assert Reading.objects.count() == 1


@pytest.mark.django_db
def test_days_ahead_counts_to_the_first_gap(settings):
    settings.PARTITION_DAYS_AHEAD = 4
    assert partitions.days_ahead(FAR) == 0
    partitions.make_ahead(FAR)
    assert partitions.days_ahead(FAR) == 5
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.partition(FAR.date() + 2 * DAY)}")
    assert partitions.days_ahead(FAR) == 2


@pytest.mark.django_db
def test_the_task_tells_what_it_made(settings):
    settings.PARTITION_DAYS_AHEAD = 40
    made = make_partitions()
    assert str(timezone.now().date() + 40 * DAY) in made


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.fixture(autouse=True)
    def gone_afterwards(self):
        yield
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {partitions.partition(FAR.date())}")

    def test_workers_make_a_day_once(self):
        together = threading.Barrier(3)

        def make():
            connection.ensure_connection()
            together.wait(10)
            return partitions.make_day(FAR.date())

        with workers(3) as team:
            made = [each.result(30) for each in [worker.begin(make) for worker in team]]
        assert sorted(made) == [False, False, True]

    def test_a_long_read_costs_a_partition_its_hour_and_not_ingest_its_breath(self):
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        begun, done = threading.Event(), threading.Event()

        def read():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM telemetry_reading")
                begun.set()
                done.wait(30)

        with workers(3) as (reader, maker, writer):
            reading = reader.begin(read)
            assert begun.wait(10)
            made = maker.begin(lambda: partitions._made(FAR.date()))
            with transaction.atomic():
                put(device, FAR)  # waits two seconds at most
            assert made.result(10) is False
            done.set()
            reading.result(10)
            assert maker(lambda: partitions._made(FAR.date())) is True
            assert writer(lambda: rows_in(partitions.partition(FAR.date()))) == 1

    def test_readings_that_come_while_their_day_is_made_are_stored_in_it(self):
        """They must not choose the DEFAULT partition first, and be refused there when the day is made."""
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        go = threading.Event()

        def stray():
            with transaction.atomic():
                put(device, FAR)
                go.wait(30)

        def waiting(worker):
            with connection.cursor() as cursor:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [worker])
                return cursor.fetchone()[0]

        with workers(3) as (first, maker, second):
            pids = [each.pid() for each in (first, maker, second)]
            holding = first.begin(stray)
            peers.eventually(lambda: rows_under_way(pids[0]), what="the stray is there, not committed")
            made = maker.begin(partitions.make_day, FAR.date())
            peers.eventually(lambda: waiting(pids[1]), what="the maker waits for it")
            stored = second.begin(put, device, FAR + timedelta(hours=1))
            peers.eventually(lambda: waiting(pids[2]), what="the next reading waits for the maker")
            go.set()
            assert (holding.result(30), made.result(30), stored.result(30)) == (None, True, 1)
        assert rows_in(partitions.partition(FAR.date())) == 2


def rows_under_way(pid: int) -> bool:
    """Does this server process hold the lock of an insert into the readings?"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = %s AND granted AND mode = 'RowExclusiveLock'"
            " AND relation = %s::regclass",
            [pid, partitions.STRAYS],
        )
        return cursor.fetchone()[0] > 0
