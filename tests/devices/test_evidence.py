import threading
from datetime import timedelta

import pytest
import structlog
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from devices import evidence
from devices.auditing import Found
from devices.models import Event, Finding, Suppression
from tests.factories import DeviceFactory, StaffFactory, TenantFactory
from tests.fleetportal.workers import workers


@pytest.mark.django_db
class TestEvents:
    def test_an_event_tells_who_what_and_about_whom(self):
        device, staff = DeviceFactory(), StaffFactory()
        row = evidence.record("device.tested", device=device, user=staff, reason="to see", detail={"a": 1})
        row = Event.objects.get(pk=row.pk)
        assert (row.tenant, row.device, row.user, row.actor) == (device.tenant, device, staff, staff.username)
        assert (row.reason, row.detail) == ("to see", {"a": 1})
        assert abs((row.recorded_at - timezone.now()).total_seconds()) < 60

    def test_the_portal_itself_is_an_actor_without_a_user(self):
        row = evidence.record("started", tenant=TenantFactory())
        assert (row.actor, row.user, row.device) == ("portal", None, None)

    def test_it_carries_the_correlation_id_of_the_request(self):
        with structlog.contextvars.bound_contextvars(request_id="r-1"):
            assert evidence.record("asked").correlation_id == "r-1"
        assert evidence.record("asked").correlation_id == ""

    def test_what_is_too_long_is_cut_rather_than_lost(self):
        row = evidence.record("k", actor="a" * 150, reason="r" * 600)
        row.refresh_from_db()
        assert (len(row.actor), len(row.reason)) == (100, 500)

    @pytest.mark.parametrize(
        "sql",
        ["UPDATE devices_event SET kind = 'other'", "DELETE FROM devices_event", "UPDATE devices_event SET id = id"],
    )
    def test_the_database_refuses_to_change_or_delete_one_whoever_asks(self, sql):
        evidence.record("kept")
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
        assert Event.objects.filter(kind="kept").count() == 1

    def test_it_goes_with_the_transaction_of_what_it_tells(self):
        with transaction.atomic():
            evidence.record("never happened")
            transaction.set_rollback(True)
        assert not Event.objects.filter(kind="never happened").exists()


@pytest.mark.django_db
class TestFindings:
    def test_the_same_thing_seen_again_counts_up(self):
        device = DeviceFactory()
        evidence.find("flood", "first", device_pk=device.pk)
        evidence.find("flood", "second", device_pk=device.pk, count=5)
        assert Finding.objects.values_list("detail", "count").get() == ("second", 6)

    def test_another_kind_device_or_subject_is_another_finding(self):
        one, other = DeviceFactory(), DeviceFactory()
        for kind, pk, subject in [
            ("a", one.pk, ""),
            ("b", one.pk, ""),
            ("a", other.pk, ""),
            ("a", None, "x"),
            ("a", None, "y"),
        ]:
            evidence.find(kind, "d", device_pk=pk, subject=subject)
            evidence.find(kind, "d", device_pk=pk, subject=subject)
        assert list(Finding.objects.values_list("count", flat=True)) == [2] * 5

    def test_after_it_was_resolved_a_new_one_opens(self):
        evidence.find("a", "d")
        Finding.objects.update(resolved_at=timezone.now())
        evidence.find("a", "d")
        assert sorted((row.resolved_at is None, row.count) for row in Finding.objects.all()) == [(False, 1), (True, 1)]

    def test_one_that_grew_worse_says_so(self):
        evidence.find("a", "d", severity="warning")
        evidence.find("a", "d", severity="critical")
        assert Finding.objects.values_list("severity", "count").get() == ("critical", 2)

    def test_one_statement_and_no_more_is_spent_on_it(self, django_assert_num_queries):
        device = DeviceFactory()
        with django_assert_num_queries(1):
            evidence.find("flood", "x", device_pk=device.pk)
        with django_assert_num_queries(1):
            evidence.find("flood", "x", device_pk=device.pk)

    def test_each_counts_up_by_its_own_count(self):
        one, other = DeviceFactory(), DeviceFactory()
        for _ in range(2):
            evidence.find_all(
                [Found("a", "d", device_pk=one.pk, count=3), Found("a", "d", device_pk=other.pk)], again=1
            )
        assert dict(Finding.objects.values_list("device", "count")) == {one.pk: 6, other.pk: 2}

    def test_one_about_a_device_that_is_gone_does_not_spoil_its_neighbours(self):
        assert evidence.find_all([Found("a", "d", device_pk=2**31 - 1), Found("b", "d")]) == 1
        assert Finding.objects.get().kind == "b"

    def test_long_texts_are_cut(self):
        evidence.find("a", "d" * 600, subject="s" * 300)
        row = Finding.objects.get()
        assert (len(row.detail), len(row.subject)) == (500, 200)


@pytest.mark.django_db
class TestSuppressed:
    @pytest.fixture
    def device(self):
        return DeviceFactory()

    @pytest.fixture
    def suppress(self):
        def make(kind="flood", hours=1, **of):
            until = timezone.now() + timedelta(hours=hours)
            return Suppression.objects.create(kind=kind, reason="known", expires_at=until, **of)

        return make

    def raised(self, device_pk=None, subject=""):
        evidence.find("flood", "x", device_pk=device_pk, subject=subject)
        return Finding.objects.filter(resolved_at__isnull=True).exists()

    def test_a_kind_everywhere(self, suppress, device):
        suppress()
        assert not self.raised()
        assert not self.raised(device.pk, "s")

    def test_another_kind_or_device_or_subject_is_raised(self, suppress, device):
        suppress("other")
        suppress(device=DeviceFactory())
        suppress(subject="other")
        suppress(device=device, subject="other")
        assert self.raised(device.pk, "s")

    @pytest.mark.parametrize("of", ["device", "subject", "both"])
    def test_of_a_device_or_a_subject_or_both(self, suppress, device, of):
        suppress(**({"device": device} if of != "subject" else {}), **({"subject": "s"} if of != "device" else {}))
        assert not self.raised(device.pk, "s")

    def test_of_a_device_leaves_what_is_about_none(self, suppress, device):
        suppress(device=device)
        assert self.raised()

    def test_one_that_has_ended_keeps_nothing_quiet(self, suppress):
        suppress(hours=-1)
        assert self.raised()

    def test_what_is_open_does_not_count_up(self, suppress):
        assert self.raised()
        suppress()
        self.raised()
        assert Finding.objects.get().count == 1


@pytest.mark.django_db(transaction=True)
def test_findings_raised_at_once_are_counted_each():
    together = threading.Barrier(4)
    device = DeviceFactory()

    def raise_some():
        connection.ensure_connection()
        together.wait(10)
        for _ in range(25):
            evidence.find("flood", "x", device_pk=device.pk)

    with workers(4) as team:
        for each in [worker.begin(raise_some) for worker in team]:
            each.result(30)
    assert Finding.objects.get().count == 100
