from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from devices.models import Device, Event
from telemetry.archive import retention, retention_previews
from telemetry.models import ArchivedDay, Hour, Latest, Minute, Reading, Retention
from telemetry.tables import partitions, trees
from tests.factories import DeviceFactory, SchemaFactory, TenantFactory
from tests.fleetportal.workers import workers
from tests.telemetry.days import NOW, forget, put, reading
from tests.telemetry.rows import figures

DAY = timedelta(days=1)
TODAY = NOW.date()


@pytest.fixture
def kind(db):
    return SchemaFactory().device_type


@pytest.fixture
def device(kind):
    return DeviceFactory(device_type=kind)


def fill(device, *ages, count=3):
    """Readings and their figures, so many days old."""
    schema = device.device_type.schemas.get()
    for age in ages:
        day = TODAY - age * DAY
        partitions.make_day(day)
        put([reading(device.pk, schema.pk, day, 60.0 * number) for number in range(count)])
        for number in range(count):
            Minute.objects.create(**figures(device, schema, trees.midnight(day) + timedelta(minutes=number)))
        hour = figures(device, schema, trees.midnight(day))
        Hour.objects.create(**hour | {"readings": count})


def ages(model, device, field="start"):
    """How old (days) what is left of a device is."""
    moments = model.objects.filter(device=device).values_list(field, flat=True)
    return sorted({(TODAY - moment.date()).days for moment in moments})


def rule(days, **about):
    return Retention.objects.create(days=days, reason="contract 7", **about)


def between_batches(monkeypatch, act):
    """Batches of two readings; what somebody does after the first."""
    waiting = [act]
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention.time, "sleep", lambda _: waiting and waiting.pop()())


class TestARule:
    def test_readings_and_figures_go_after_its_days_and_no_others(self, device, kind):
        other = DeviceFactory(device_type=kind)
        for each in (device, other):
            fill(each, 1, 30, 31, 90)
        rule(30, tenant=device.tenant)
        assert retention.apply(NOW) == 6
        assert ages(Reading, device, "ts") == ages(Minute, device) == ages(Hour, device) == [1, 30]
        assert ages(Reading, other, "ts") == ages(Minute, other) == ages(Hour, other) == [1, 30, 31, 90]

    def test_a_day_that_is_still_written_to_is_never_touched(self, device):
        fill(device, 0, 1, 2)
        rule(1, tenant=device.tenant)
        retention.apply(NOW)
        assert ages(Reading, device, "ts") == [0, 1]

    def test_of_a_type_of_a_tenant_and_of_both_together_the_shortest_holds(self, kind):
        tenant = TenantFactory()
        mine = DeviceFactory(tenant=tenant, device_type=kind)
        same_tenant = DeviceFactory(tenant=tenant, device_type=SchemaFactory().device_type)
        same_type = DeviceFactory(device_type=kind)
        for each in (mine, same_tenant, same_type):
            fill(each, 5, 15, 25, 35)
        rule(10, tenant=tenant)
        rule(20, device_type=kind)
        rule(30, tenant=tenant, device_type=kind)
        retention.apply(NOW)
        left = [ages(Reading, each, "ts") for each in (mine, same_tenant, same_type)]
        assert left == [[5], [5], [5, 15]]

    def test_strays_and_figures_older_than_any_reading_go_too(self, device):
        schema = device.device_type.schemas.get()
        put([reading(device.pk, schema.pk, TODAY - 50 * DAY)])
        Hour.objects.create(**figures(device, schema, trees.midnight(TODAY - 900 * DAY)))
        rule(30, tenant=device.tenant)
        assert retention.apply(NOW) == 1
        assert not Hour.objects.exists()

    def test_so_does_the_newest_value_of_a_device_that_fell_silent(self, device):
        schema = device.device_type.schemas.get()
        for each, age in ((device, 31), (DeviceFactory(tenant=device.tenant), 30)):
            moment = trees.midnight(TODAY - age * DAY)
            Latest.objects.create(device=each, ts=moment, received_at=moment, schema=schema, metrics=[1.0])
        rule(30, tenant=device.tenant)
        retention.apply(NOW)
        assert not Latest.objects.filter(device=device).exists()
        assert Latest.objects.count() == 1

    def test_it_leaves_one_event_with_numbers_where_it_deleted_something(self, device):
        fill(device, 31, 40)
        kept = rule(30, tenant=device.tenant)
        retention.apply(NOW)
        retention.apply(NOW + DAY)
        event = Event.objects.get(kind="retention.applied")
        assert (event.tenant, event.reason) == (device.tenant, "contract 7")
        assert event.detail == {"rule": str(kept), "readings": 6, "before": str(TODAY - 30 * DAY)}

    def test_it_is_done_once_a_day_and_late_readings_go_with_the_next(self, device):
        fill(device, 31)
        rule(30, tenant=device.tenant)
        retention.apply(NOW)
        put([reading(device.pk, device.device_type.schemas.get().pk, TODAY - 31 * DAY)])
        assert retention.apply(NOW + timedelta(hours=1)) == 0
        assert retention.apply(NOW + DAY) == 1

    def test_many_readings_go_in_batches(self, device, monkeypatch):
        monkeypatch.setattr(retention, "BATCH", 2)
        fill(device, 31, count=5)
        rule(30, tenant=device.tenant)
        assert retention.apply(NOW) == 5

    def test_a_crash_costs_the_rest_of_the_run_and_no_number(self, device, monkeypatch):
        fill(device, 31, 40)
        kept = rule(30, tenant=device.tenant)
        real = retention._delete_readings
        calls = []

        def cut(*args):
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            real(*args)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(retention, "_delete_readings", cut)
            retention.apply(NOW)
        kept.refresh_from_db()
        assert (kept.reached, kept.deleted, kept.swept_on) == (TODAY - 39 * DAY, 3, None)
        assert retention.apply(NOW) == 6
        kept.refresh_from_db()
        assert (kept.reached, kept.deleted, kept.swept_on) == (None, 0, TODAY)
        assert Event.objects.get(kind="retention.applied").detail["readings"] == 6

    def test_one_that_was_changed_meanwhile_is_carried_out_anew(self, device, monkeypatch):
        fill(device, 15)
        kept = rule(30, tenant=device.tenant)
        real = retention._end

        def changed(*args):
            Retention.objects.filter(pk=kept.pk).update(days=10)
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(retention, "_end", changed)
            retention.apply(NOW)
        assert ages(Reading, device, "ts") == [15]
        retention.apply(NOW)
        assert ages(Reading, device, "ts") == []

    def test_one_that_is_ended_meanwhile_stops_at_once(self, device, monkeypatch):
        fill(device, 31, 40, count=5)
        kept = rule(30, tenant=device.tenant)
        between_batches(monkeypatch, lambda: retention.end(kept, "wrong tenant", None))
        assert retention.apply(NOW) == 0
        assert Reading.objects.filter(device=device).count() == 8
        assert Event.objects.get(kind="retention.ended").detail["readings"] == 2
        assert ages(Minute, device) == [31, 40]

    def test_one_that_is_lengthened_meanwhile_stops_and_goes_on_as_it_is_now(self, device, monkeypatch):
        fill(device, 31, 40, count=5)
        kept = rule(30, tenant=device.tenant)
        between_batches(monkeypatch, lambda: Retention.objects.filter(pk=kept.pk).update(days=35))
        assert retention.apply(NOW) == 0
        assert Reading.objects.filter(device=device).count() == 8
        assert retention.apply(NOW) == 5
        assert ages(Reading, device, "ts") == [31]

    def test_one_that_is_changed_before_its_turn_is_carried_out_as_it_is_then(self, device, kind, monkeypatch):
        other = DeviceFactory(device_type=kind)
        for each in (device, other):
            fill(each, 40)
        rule(30, tenant=device.tenant)
        second = rule(30, tenant=other.tenant)
        between_batches(monkeypatch, lambda: Retention.objects.filter(pk=second.pk).update(days=300))
        retention.apply(NOW)
        assert (ages(Reading, device, "ts"), ages(Reading, other, "ts")) == ([], [40])

    def test_a_device_that_moves_away_meanwhile_keeps_its_readings(self, device, monkeypatch):
        fill(device, 31, count=5)
        rule(30, tenant=device.tenant)
        elsewhere = TenantFactory()
        between_batches(monkeypatch, lambda: Device.objects.filter(pk=device.pk).update(tenant=elsewhere))
        assert retention.apply(NOW) == 2
        assert Reading.objects.filter(device=device).count() == 3

    def test_before_the_archive_one_that_is_changed_meanwhile_is_asked_again(self, device, monkeypatch):
        fill(device, 40, count=5)
        kept = rule(30, tenant=device.tenant)
        between_batches(monkeypatch, lambda: Retention.objects.filter(pk=kept.pk).update(days=20))
        retention.apply_to_day(TODAY - 40 * DAY, NOW)
        assert ages(Reading, device, "ts") == []

    def test_a_long_one_stops_in_time_and_the_next_run_goes_on(self, device, monkeypatch):
        fill(device, 31, 40)
        kept = rule(30, tenant=device.tenant)
        with monkeypatch.context() as patch:
            patch.setattr(retention, "BUDGET", 0.0)
            between_batches(patch, lambda: None)
            assert retention.apply(NOW) == 0
        kept.refresh_from_db()
        assert kept.swept_on is None
        fill(device, 50)  # what is not clean yet, and what comes late for a day that is
        Retention.objects.update(reached=TODAY - 40 * DAY)
        assert retention.apply(NOW) == 6
        assert ages(Reading, device, "ts") == [50]
        assert retention.apply(NOW + DAY) == 3

    @pytest.mark.django_db
    def test_it_is_refused_where_the_archive_would_be_first(self, settings):
        settings.HOT_DAYS = 400
        Retention(tenant=TenantFactory(), days=400, reason="x").full_clean()
        with pytest.raises(ValidationError) as refused:
            Retention(tenant=TenantFactory(), days=401, reason="x").full_clean()
        assert "400 days" in refused.value.message_dict["days"][0]


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    @pytest.fixture(autouse=True)
    def gone_afterwards(self):
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE telemetry_minute, telemetry_hour")
        forget()

    def test_a_second_worker_leaves_it_to_the_first(self, device):
        fill(device, 31)
        rule(30, tenant=device.tenant)
        with workers(1) as (other,), retention.alone():
            assert other(retention.apply, NOW) == 0
        assert ages(Reading, device, "ts") == [31]

    def test_a_day_that_is_dropped_meanwhile_is_no_mistake(self, device, monkeypatch):
        fill(device, 31, 40)
        rule(30, tenant=device.tenant)
        days = partitions.days()
        partitions.drop_day(TODAY - 40 * DAY, lambda: True)
        monkeypatch.setattr(partitions, "days", lambda: days)
        assert retention.apply(NOW) == 3


class TestPreview:
    def test_it_tells_what_would_go(self, device, kind):
        fill(device, 5, 31, 40)
        DeviceFactory(tenant=device.tenant, device_type=kind)
        told = retention_previews.preview(Retention(tenant=device.tenant, days=30), NOW)
        assert (told.readings, told.exact, told.oldest) == (6, True, TODAY - 40 * DAY)
        assert (told.first_kept, told.devices) == (TODAY - 30 * DAY, 2)
        assert [(fleet.tenant, fleet.device_type) for fleet in told.fleets] == [(device.tenant.name, kind.name)]
        assert ages(Reading, device, "ts") == [5, 31, 40]

    def test_nothing_to_delete(self, device):
        told = retention_previews.preview(Retention(tenant=device.tenant, days=30), NOW)
        assert (told.readings, told.exact, told.oldest) == (0, True, None)

    def test_what_takes_too_long_to_count_is_told_by_the_hours(self, device, monkeypatch):
        fill(device, 31, count=4)
        slow = retention_previews._READINGS.replace("count(*)", "count(pg_sleep(1))")
        monkeypatch.setattr(retention_previews, "_READINGS", slow)
        monkeypatch.setattr(retention_previews, "_PATIENCE", "300ms")
        told = retention_previews.preview(Retention(tenant=device.tenant, days=30), NOW)
        assert (told.readings, told.exact, told.oldest) == (4, False, TODAY - 31 * DAY)

    def test_it_names_archived_days_that_may_hold_more(self, device, kind):
        for number, (tenants, types) in enumerate(
            [([device.tenant_id], [kind.pk]), ([device.tenant_id], []), ([], [])]
        ):
            ArchivedDay.objects.create(
                day=TODAY - (500 + number) * DAY, path=f"{number}", rows=1, size=1, digest="", file_digest="",
                first_ts=NOW, last_ts=NOW, archived_at=timezone.now(), tenants=tenants, device_types=types,
            )  # fmt: skip
        of_both = retention_previews.preview(Retention(tenant=device.tenant, device_type=kind, days=30), NOW)
        of_tenant = retention_previews.preview(Retention(tenant=device.tenant, days=30), NOW)
        assert (len(of_both.archived), len(of_tenant.archived)) == (1, 2)
