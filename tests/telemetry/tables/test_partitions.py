import threading
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from telemetry.models import Hour, Minute, Reading
from telemetry.store import store
from telemetry.tables import partitions, trees
from telemetry.tables.partitions import READINGS
from telemetry.tasks import heal_strays, make_partitions
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry.messages import row
from tests.telemetry.rows import figures

FAR = datetime(2041, 7, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def exists(day: date) -> bool:
    return trees.exists(partitions.partition(day))


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
    days = ["20410714", "20410715", "20410716", "20410717", "20410718"]
    tables = [f"telemetry_{kind}_{day}" for kind in ("reading", "minute") for day in days]
    assert made == [*tables, "telemetry_hour_204107", "telemetry_hour_204108"]
    assert all(trees.exists(name) for name in made)
    assert partitions.make_ahead(FAR) == []
    assert partitions.days()[-5:] == [FAR.date() + n * DAY for n in range(-1, 4)]


@pytest.mark.django_db
def test_days_begin_at_midnight_utc_wherever_we_are():
    local = datetime(2041, 7, 15, 1, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))
    assert partitions.make_ahead(local)[0] == partitions.partition(date(2041, 7, 14))


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
    assert partitions.partition(FAR.date()) in heal_strays()
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
    assert partitions.partition(timezone.now().date() + 40 * DAY) in made


@pytest.mark.django_db
def test_the_command_makes_them_too(capsys, settings):
    settings.PARTITION_DAYS_AHEAD = 40
    call_command("make_partitions")
    told = capsys.readouterr().out
    assert partitions.partition(timezone.now().date() + 40 * DAY) in told
    assert "41 days from today on" in told


@pytest.mark.django_db
def test_a_part_has_its_storage_parameters_and_no_constraint_left():
    partitions.make_ahead(FAR)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE oid = ANY(%s::regclass[]) ORDER BY relname",
            [[tree.part(FAR.date()) for tree in partitions.TREES]],
        )
        assert [row[0][0].split("=")[0] for row in cursor.fetchall()] == [
            "autovacuum_vacuum_scale_factor",
            "autovacuum_freeze_min_age",
            "autovacuum_freeze_min_age",
        ]
        cursor.execute("SELECT count(*) FROM pg_constraint WHERE conname = 'inside'")
        assert cursor.fetchone() == (0,)


# --- rollups ----------------------------------------------------------------------------------------------------------


def test_rollups_stray_and_are_healed_too(device):
    schema = device.device_type.schemas.get()
    Minute.objects.create(**figures(device, schema, FAR))
    Hour.objects.create(**figures(device, schema, FAR))
    assert sorted(partitions.heal()) == ["telemetry_hour_204107", "telemetry_minute_20410715"]
    assert (Minute.objects.count(), Hour.objects.count()) == (1, 1)
    assert rows_in("telemetry_minute_20410715") == rows_in("telemetry_hour_204107") == 1


@pytest.mark.django_db
def test_a_month_of_hours_has_the_whole_month():
    trees.make(partitions.HOURS, date(2041, 12, 31))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'telemetry_hour_204112'")
        bounds = cursor.fetchone()[0]
    assert "2041-12-01 00:00:00+00" in bounds
    assert "2042-01-01 00:00:00+00" in bounds


@pytest.mark.django_db
def test_rollups_are_dropped_when_too_old_and_readings_never(settings):
    settings.MINUTE_DAYS, settings.HOUR_DAYS = 10, 45
    today = FAR.date()
    for ago in (9, 10, 11):
        trees.make(partitions.MINUTES, today - ago * DAY)
        partitions.make_day(today - ago * DAY)
    months = [date(2041, 5, 1), date(2041, 6, 1)]  # 45 days before 15 July is 31 May
    for month in months:
        trees.make(partitions.HOURS, month)
    at_first = partitions.days()
    dropped = partitions.drop_old(FAR)
    assert "telemetry_minute_20410704" in dropped
    assert trees.parts(partitions.MINUTES)[0] == today - 10 * DAY
    assert months[0] in trees.parts(partitions.HOURS)
    assert "telemetry_hour_204105" in partitions.drop_old(FAR + DAY)
    assert trees.parts(partitions.HOURS)[0] == months[1]
    assert partitions.days() == at_first


# --- what the archive needs -------------------------------------------------------------------------------------------


class TestDropping:
    @pytest.fixture(autouse=True)
    def day(self, device):
        partitions.make_day(FAR.date())
        put(device, FAR)

    def test_a_day_goes_when_the_check_agrees_and_sees_it(self):
        assert partitions.drop_day(FAR.date(), lambda: Reading.objects.count() == 1) is True
        assert not exists(FAR.date())
        assert not Reading.objects.exists()

    def test_a_day_stays_when_the_check_does_not(self):
        assert partitions.drop_day(FAR.date(), lambda: False) is False
        assert Reading.objects.count() == 1

    def test_a_day_stays_when_the_check_breaks(self):
        with pytest.raises(ZeroDivisionError):
            partitions.drop_day(FAR.date(), lambda: bool(1 / 0))
        assert Reading.objects.count() == 1

    def test_a_day_that_is_gone_is_not_dropped_and_not_checked(self):
        assert partitions.drop_day(FAR.date() + DAY, lambda: bool(1 / 0)) is False


@pytest.mark.django_db
def test_strays_deleted_since_they_were_copied_are_not_brought_back(device):
    put(device, FAR, FAR + timedelta(hours=1))

    def wrapper(execute, sql, params, many, context):
        if sql.startswith("LOCK TABLE ONLY"):
            Reading.objects.filter(ts=FAR).delete()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper), pytest.raises(OperationalError):
        partitions.make_day(FAR.date())
    assert rows_in(partitions.STRAYS) == 2  # all of it was undone, and so was what this test deleted in between
    assert not exists(FAR.date())
    assert partitions.make_day(FAR.date())


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
            made = maker.begin(lambda: partitions._make(partitions.READINGS, [FAR.date()]))
            with transaction.atomic():
                put(device, FAR)  # waits two seconds at most
            assert made.result(10) == []
            done.set()
            reading.result(10)
            name = partitions.partition(FAR.date())
            assert maker(lambda: partitions._make(partitions.READINGS, [FAR.date()])) == [name]
            assert writer(lambda: rows_in(partitions.partition(FAR.date()))) == 1

    def test_who_reads_the_strays_for_long_holds_up_no_ingest_and_is_waited_for_once(self, monkeypatch):
        monkeypatch.setattr(trees, "PATIENCE", "300ms")
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        partitions.make_ahead(timezone.now())
        put(device, FAR, FAR + DAY, FAR + 2 * DAY)
        met = []

        def wrapper(execute, sql, params, many, context):
            if sql.startswith("LOCK TABLE ONLY") or "ACCESS EXCLUSIVE" in sql:
                met.append(sql)
            return execute(sql, params, many, context)

        def heal():
            with connection.execute_wrapper(wrapper):
                return partitions.heal()

        with workers(1) as (maker,):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {READINGS.table}, {partitions.STRAYS} IN ACCESS SHARE MODE")  # as pg_dump
                assert maker(heal) == []
            assert met == [f"LOCK TABLE {partitions.STRAYS} IN ACCESS EXCLUSIVE MODE"]
            assert maker(heal) == [partitions.partition(FAR.date() + n * DAY) for n in range(3)]
        for n in range(3):
            trees.drop(READINGS, FAR.date() + n * DAY)

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

    def test_full_ingest_into_default_while_its_day_is_made_loses_and_refuses_nothing(self):
        """Two writers without a pause; how long one waits at most is bounded by what is moved under the lock."""
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        schema = device.device_type.schemas.get()
        made = threading.Event()

        def write(start):
            waits, stored, after = [], 0, 0
            while after < 5:
                rows = [row(device, schema, start + timedelta(milliseconds=stored + n)) for n in range(200)]
                began = time.monotonic()
                with transaction.atomic():
                    stored += store(rows)
                waits.append(time.monotonic() - began)
                after += made.is_set()
                begun.release()
            return stored, max(waits)

        begun = threading.Semaphore(0)
        with workers(2) as (one, two):
            writing = [one.begin(write, FAR), two.begin(write, FAR + timedelta(hours=6))]
            for _ in range(20):
                assert begun.acquire(timeout=30)
            assert partitions.make_day(FAR.date()) is True
            made.set()
            done = [each.result(60) for each in writing]
        assert sum(stored for stored, _ in done) == rows_in(partitions.partition(FAR.date()))
        assert rows_in(partitions.STRAYS) == 0
        assert max(wait for _, wait in done) < 10

    def test_what_comes_while_strays_are_copied_is_copied_after_them(self, monkeypatch):
        monkeypatch.setattr(trees, "_LITTLE", 1)
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        put(device, FAR, FAR + DAY)
        copied = []

        def wrapper(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if sql.startswith("INSERT INTO telemetry_reading_2"):
                if not copied:
                    writer(put, device, *[FAR + timedelta(hours=1 + n) for n in range(3)])
                copied.append(context["cursor"].rowcount)
            return result

        with workers(1) as (writer,), connection.execute_wrapper(wrapper):
            assert partitions.make_day(FAR.date())
        assert copied == [1, 3, 0]
        assert (rows_in(partitions.partition(FAR.date())), rows_in(partitions.STRAYS)) == (4, 1)

    def test_nobody_writes_to_a_day_while_it_is_checked_and_people_still_read_it(self):
        device = DeviceFactory(device_type=SchemaFactory().device_type)
        partitions.make_day(FAR.date())
        put(device, FAR)
        seen = []

        def waiting(worker):
            with connection.cursor() as cursor:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [worker])
                return cursor.fetchone()[0]

        with workers(2) as (reader, writer):
            pid = writer.pid()

            def check():
                seen.append(reader(Reading.objects.count))
                late.append(writer.begin(put, device, FAR + timedelta(hours=1)))
                peers.eventually(lambda: waiting(pid), what="the writer waits")
                return False

            late = []
            assert partitions.drop_day(FAR.date(), check) is False
            assert late[0].result(30) == 1
        assert seen == [1]


def rows_under_way(pid: int) -> bool:
    """Does this server process hold the lock of an insert into the readings?"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = %s AND granted AND mode = 'RowExclusiveLock'"
            " AND relation = %s::regclass",
            [pid, partitions.STRAYS],
        )
        return cursor.fetchone()[0] > 0
