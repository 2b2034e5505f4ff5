import time
import uuid
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry import ingest
from telemetry.models import Hour, Minute, Reading, Touched
from telemetry.rolled import rollups, touched
from telemetry.store import store
from telemetry.tables import partitions
from telemetry.tasks import roll_up
from tests.factories import DeviceFactory, SchemaFactory
from tests.fleetportal.workers import workers
from tests.telemetry.messages import envelope, message, noon, row
from tests.telemetry.rolling import agree, done, expected, stored, take

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=each) for each in (1, 60, 3600, 86400))


@pytest.fixture
def schema(db):
    return SchemaFactory()


@pytest.fixture
def device(schema, days):
    return DeviceFactory(device_type=schema.device_type)


def test_what_devices_say_ends_in_minutes_and_hours(device, schema):
    now = timezone.now()
    for value in (1.5, 4, -2):
        ts = now.isoformat(timespec="milliseconds")
        ingest.store_batch([message(device, envelope(ts=ts, values={"temperature_c": value, "door_open": True}))])
    done(now)
    minute = Minute.objects.get()
    assert (minute.device, minute.schema) == (device, schema)
    assert minute.start == now.replace(second=0, microsecond=0)
    assert (minute.readings, minute.counts) == (3, [3, 0, 3])
    assert (minute.lows, minute.highs, minute.sums) == ([-2, None, 1], [4, None, 1], [3.5, None, 3])
    agree([_row(reading) for reading in Reading.objects.all()])


def _row(reading):
    return row(reading.device, reading.schema, reading.ts, msg_id=reading.msg_id, metrics=reading.metrics)


# --- rollup == aggregate of readings, whatever the order, duplication or lateness of arrival --------------------------

_TODAY = noon().replace(hour=0)
_OFFSETS = st.sampled_from([0, 0.001, 30, 59.999, 60, 119.999, 3599.999, 3600, 43_200, 86_399.999])
_moments = st.builds(lambda day, offset: _TODAY - day * DAY + timedelta(seconds=offset), st.integers(1, 5), _OFFSETS)
_values = st.none() | st.integers(-50, 50).map(float)
_readings = st.tuples(st.integers(0, 1), st.integers(0, 1), _moments, st.lists(_values, max_size=4), st.integers(0, 3))


@pytest.mark.django_db
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(_readings, min_size=1, max_size=12), min_size=1, max_size=5),
    again=st.lists(st.integers(0, 30), max_size=8),
    rolled=st.sets(st.integers(0, 5)),
    healed=st.booleans(),
)
def test_rollups_equal_the_aggregate_of_readings(batches, again, rolled, healed):
    """Five days of which two keep no minutes; two devices; two schemas; metrics appended later; what comes again."""
    now = _TODAY
    with override_settings(MINUTE_DAYS=3), transaction.atomic():
        schemas = [SchemaFactory(), SchemaFactory()]
        devices = [DeviceFactory(device_type=schemas[0].device_type) for _ in range(2)]
        ids = [uuid.uuid4() for _ in range(4)]
        told = []
        for number, batch in enumerate(batches):
            rows = [
                row(devices[device], schemas[schema], ts, metrics=metrics, msg_id=ids[name])
                for device, schema, ts, metrics, name in batch
            ]
            rows += [told[place % len(told)] for place in again[number::5] if told]
            take(*rows)
            told += rows
            if number in rolled:
                rollups.roll_up(now)
            if healed and number == 1:
                partitions.heal()
        done(now)
        kept = [_row(reading) for reading in Reading.objects.select_related("device", "schema")]
        assert len(kept) == len({(each.device_pk, each.ts, each.msg_id) for each in told})
        assert stored(Hour) == expected(kept, 3600)
        assert stored(Minute) == expected([each for each in kept if each.ts >= _TODAY - 3 * DAY], 60)
        transaction.set_rollback(True)


def test_floats_are_added_in_the_order_of_time_whatever_order_they_came_in(device, schema):
    values = [0.1, 1e16, -1e16, 0.3, 7e-5, 1 / 3]
    rows = [row(device, schema, noon() + timedelta(seconds=n), value) for n, value in enumerate(values)]
    for each in reversed(rows):
        take(each)
    done(noon())
    agree(rows)


def test_a_sum_too_great_for_a_float_is_held_and_stops_nobody(device, schema):
    take(
        *(row(device, schema, noon() + timedelta(seconds=n), 1.7e308) for n in range(3)), row(device, schema, noon(), 1)
    )
    done(noon())
    minute = Minute.objects.get()
    assert (minute.highs[0], minute.lasts[0], minute.sums[0]) == (1.7e308, 1.7e308, 3e298)
    assert Hour.objects.get().sums[0] == 3e298


def test_readings_without_any_number_count(device, schema):
    rows = [row(device, schema, noon(), metrics=[]) for _ in range(3)]
    take(*rows)
    done(noon())
    agree(rows)
    assert Minute.objects.get().readings == 3


# --- when ------------------------------------------------------------------------------------------------------------


def test_a_minute_waits_until_it_is_over_and_its_hour_for_company(device, schema):
    take(row(device, schema, noon()))
    assert rollups.roll_up(noon() + timedelta(seconds=64)) == 0
    assert (Touched.objects.count(), Minute.objects.count()) == (1, 0)
    over = noon() + timedelta(seconds=65)
    assert rollups.roll_up(over) == 1
    assert Touched.objects.get().grain == "hour"
    assert rollups.roll_up(over + timedelta(minutes=4)) == 0
    assert (Minute.objects.count(), Hour.objects.count()) == (1, 0)
    assert rollups.roll_up(over + timedelta(minutes=5)) == 1
    assert (Hour.objects.count(), Touched.objects.count()) == (1, 0)


def test_minutes_that_wait_are_put_back_as_one_row(device, schema):
    for second in range(20):
        take(row(device, schema, noon() + timedelta(seconds=second)))
    rollups.roll_up(noon() + timedelta(seconds=30))
    kept = Touched.objects.get()
    assert (kept.devices, kept.buckets) == ([device.pk], [int(noon().timestamp()) // 60])


def test_a_clock_ahead_does_not_wait_for_its_time(device, schema):
    take(row(device, schema, noon() + 10 * HOUR))
    assert rollups.roll_up(noon()) == 1


def test_much_is_done_in_several_transactions(device, schema, monkeypatch):
    monkeypatch.setattr(rollups, "_MOST_PAIRS", 2)
    rows = [row(device, schema, noon() - n * MINUTE) for n in range(10)]
    for each in rows:
        take(each)
    done(noon())
    agree(rows)


def test_what_is_too_much_for_one_transaction_waits_and_keeps_its_age(device, schema, monkeypatch):
    monkeypatch.setattr(rollups, "_MOST_BUCKETS", {rollups.MINUTE: 3, rollups.HOUR: 3})
    rows = [row(device, schema, noon() - n * MINUTE) for n in range(10)]
    take(*rows)
    (since,) = Touched.objects.values_list("created_at", flat=True)
    done_so_far, newest = rollups._step(rollups.MINUTE, 2**40, noon() + HOUR)
    waiting = Touched.objects.get(grain="minute")
    assert (done_so_far, newest, len(waiting.buckets), waiting.created_at) == (3, waiting.pk, 7, since)
    done(noon())
    agree(rows)


def test_when_its_time_is_up_it_leaves_the_rest_to_the_next(device, schema, monkeypatch):
    take(row(device, schema, noon() - HOUR))
    monkeypatch.setattr(rollups, "BUDGET", 0)
    assert rollups.roll_up(noon()) == 0
    assert Touched.objects.count() == 1


def test_a_row_that_says_the_same_already_is_not_written_again(device, schema):
    def place():
        with connection.cursor() as cursor:
            cursor.execute("SELECT ctid FROM telemetry_minute")
            return cursor.fetchall()

    told = row(device, schema, noon())
    take(told)
    done(noon())
    before = place()
    take(told)
    done(noon())
    assert place() == before


def test_the_lag_is_the_age_of_what_waits(device, schema):
    now = timezone.now()
    assert rollups.lag(now) == 0
    take(row(device, schema, now - HOUR))
    (since,) = Touched.objects.values_list("created_at", flat=True)
    assert rollups.lag(since + MINUTE) == 60
    assert rollups.lag(since - HOUR) == 0  # another machine's clock
    assert roll_up() == 1
    assert rollups.LAG._value.get() == 0


# --- what is gone stays told -----------------------------------------------------------------------------------------


def test_a_bucket_whose_readings_are_gone_keeps_its_figures(device, schema):
    told = row(device, schema, noon())
    take(told)
    done(noon())
    Reading.objects.all().delete()
    touched.note([told])
    done(noon())
    agree([told])


def test_a_day_that_left_the_database_is_passed_over(device, schema):
    old = noon() - 100 * DAY
    partitions.make_day(old.date())
    rows = [row(device, schema, old), row(device, schema, noon())]
    take(*rows)
    done(noon())
    assert partitions.drop_day(old.date(), lambda: True)
    touched.note(rows)
    done(noon())
    assert stored(Hour) == expected(rows, 3600)
    assert stored(Minute) == expected(rows[1:], 60)  # 90 days are kept


def test_hours_of_days_without_minutes_come_from_readings(device, schema):
    old = noon() - 100 * DAY
    rows = [row(device, schema, old + n * MINUTE, n) for n in range(30)]
    take(*rows[:15])
    done(noon())
    take(*rows[15:])
    done(noon())
    assert stored(Hour) == expected(rows, 3600)
    assert not Minute.objects.exists()


def test_an_hour_whose_minutes_were_never_kept_comes_from_readings(device, schema, settings):
    """MINUTE_DAYS was raised: the late reading's minute is the only one of its hour."""
    old = noon() - 5 * DAY
    rows = [row(device, schema, old + n * MINUTE, n) for n in range(4)]
    settings.MINUTE_DAYS = 2
    take(*rows)
    done(noon())
    settings.MINUTE_DAYS = 90
    rows.append(row(device, schema, old + 90 * SECOND))
    take(rows[-1])
    done(noon())
    assert stored(Hour) == expected(rows, 3600)


def test_readings_from_before_there_were_rollups_count_in_an_hour_that_is_touched(device, schema):
    old = noon() - 5 * DAY
    rows = [row(device, schema, old + n * MINUTE, n) for n in range(4)]
    store(rows[:3])
    take(rows[3])
    done(noon())
    assert stored(Hour) == expected(rows, 3600)


def test_an_hour_that_is_whole_in_its_minutes_comes_from_these(device, schema):
    """Of an old hour, too: figures of readings that are gone stay."""
    old = noon() - 5 * DAY
    rows = [row(device, schema, old, 7), row(device, schema, old + MINUTE, 1)]
    take(*rows)
    done(noon())
    Reading.objects.filter(ts=old).delete()
    touched.note(rows)
    done(noon())
    assert stored(Hour) == expected(rows, 3600)


def test_hours_that_are_not_kept_make_no_month_to_be_dropped_again(device, schema, settings):
    settings.HOUR_DAYS = 45
    old = noon() - 100 * DAY
    take(row(device, schema, old))
    done(noon())
    assert not Hour.objects.exists()
    assert partitions.HOURS.part(old.date()) not in partitions.heal()
    assert Reading.objects.count() == 1


# --- a crash at any line, two at once --------------------------------------------------------------------------------


class DiedError(Exception):
    """As if the process had ended here."""


def at(number, act):
    """Something happens just before the n-th statement."""
    left = iter(range(number - 1, -1, -1))

    def wrapper(execute, sql, params, many, context):
        if next(left, None) == 0:
            act()
        return execute(sql, params, many, context)

    return connection.execute_wrapper(wrapper)


def die():
    raise DiedError


def rows_now():
    return stored(Minute), stored(Hour), list(Touched.objects.order_by("pk").values_list("grain", "devices", "buckets"))


def test_a_buffer_that_is_emptied_is_in_the_hours_with_the_first_run(device, schema):
    now = noon()
    rows = [row(device, schema, now - n * 10 * HOUR, n) for n in range(1, 6)]
    take(*rows)
    rollups.roll_up(now)
    agree(rows)


def test_a_crash_at_any_sql_statement_loses_no_touch(device, schema):
    """What is committed then is whole transactions; the next run ends where one without a crash ends."""
    now = noon()
    rows = [row(device, schema, now - n * 10 * HOUR, n) for n in range(6)]
    take(*rows)
    died = 0
    for number in range(1, 100):
        with transaction.atomic():
            try:
                with at(number, die):
                    rollups.roll_up(now)
                    rollups.roll_up(now + rollups.HOURS_AFTER)
                break
            except DiedError:
                died += 1
            done(now)
            agree(rows)
            transaction.set_rollback(True)
    done(now)
    agree(rows)
    assert died > 20


@pytest.mark.django_db(transaction=True)
class TestTwo:
    @pytest.fixture(autouse=True)
    def rooms(self, schema):
        partitions.make_ahead(timezone.now())
        self.schema = schema
        self.device = DeviceFactory(device_type=schema.device_type)

    def test_a_batch_that_commits_before_any_statement_is_not_lost(self):
        """The rows' own proof: they are only added and deleted, and read before the readings are."""
        told = []

        def comes(minute):
            told.append(row(self.device, self.schema, minute + timedelta(seconds=1), 2))
            other(take, told[-1])

        with workers(1) as (other,):
            for number in range(1, 40):
                minute, before = noon() - number * MINUTE, len(told)  # of its own: no later one has it computed again
                told.append(row(self.device, self.schema, minute, 1))
                take(told[-1])
                with at(number, partial(comes, minute)):
                    rollups.roll_up(noon() + HOUR)
                if len(told) == before + 1:
                    break
            assert number > 8
        done(noon() + HOUR)
        agree(told)

    def test_a_batch_that_is_under_way_is_counted_when_it_commits(self):
        first, second = (row(self.device, self.schema, noon() + timedelta(seconds=n), n) for n in (2, 1))
        with workers(1) as (other,):

            def begin():
                transaction.set_autocommit(False)
                take(first)

            def commit():
                transaction.commit()
                transaction.set_autocommit(True)

            take(second)
            other(begin)
            assert rollups.roll_up(noon() + HOUR) == 1
            assert stored(Minute) == expected([second], 60)
            other(commit)
        done(noon() + HOUR)
        agree([first, second])

    def test_one_process_at_a_time(self):
        take(row(self.device, self.schema, noon() - HOUR))
        met = []
        with workers(1) as (other,), at(4, lambda: met.append(other(rollups.roll_up, noon()))):
            assert rollups.roll_up(noon()) == 1
        assert met == [0]

    def test_ingest_does_not_wait_for_it(self):
        """Whatever it holds at its last statement, a batch for the same minute is stored meanwhile."""
        take(row(self.device, self.schema, noon() - HOUR))
        seconds = []

        def store_one():
            began = time.monotonic()
            other(take, row(self.device, self.schema, noon() - HOUR))
            seconds.append(time.monotonic() - began)

        def wrapper(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if "INSERT INTO telemetry_minute" in sql:
                store_one()
            return result

        with workers(1) as (other,), connection.execute_wrapper(wrapper):
            other(connection.ensure_connection)
            rollups.roll_up(noon())
        assert len(seconds) == 1
        assert seconds[0] < 1
