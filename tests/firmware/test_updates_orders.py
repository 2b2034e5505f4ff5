"""Any order, any repetition, any neighbour: reports lead to the same rows, and never lock anybody out."""

import threading

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices import registry
from firmware import updates
from firmware.models import Campaign, Report, Update
from tests.firmware import fleet
from tests.firmware.fleet import NEXT_BOOT, NOW, STORY
from tests.fleetportal.workers import workers

SAME = ("state", "waiting", "reason_code", "progress", "installing_boot_id")
WELL = STORY
BADLY = ("notified", "downloading", "installing", "failed")
BACK = ("notified", "downloading", "downloaded", "installing", "rebooting", "rolled_back")


def state(row):
    row = Update.objects.get(pk=row.pk)
    moments = {"checked": row.checked_at, "installed": row.installing_at, "ended": row.ended_at}
    return {name: getattr(row, name) for name in SAME} | {name: at is not None for name, at in moments.items()}


def told(row, words):
    device = registry.look_up([row.device.device_id])[row.device.device_id]
    return [(device, each) for each in fleet.story(row, words)]


@pytest.mark.django_db
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data(), words=st.sampled_from([WELL, BADLY, BACK]))
def test_any_interleaving_of_a_devices_reports_ends_in_the_same_row(data, words):
    with transaction.atomic():
        in_order, mixed = fleet.rollout(2)
        for each in told(in_order, words):
            updates.record_reports([each], NOW)
        reports = told(mixed, words)
        numbers = data.draw(st.permutations(range(len(reports))))
        again = data.draw(st.lists(st.sampled_from(numbers), max_size=5))
        order = [reports[number] for number in [*numbers, *again]]
        while order:
            cut = data.draw(st.integers(1, len(order)))
            updates.record_reports(order[:cut], NOW)
            order = order[cut:]
        assert state(mixed) == state(in_order)
        assert Report.objects.filter(update=mixed).count() == len(words)
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(3, len(WELL)), split=st.booleans())
def test_wherever_the_birth_comes_after_the_download_it_ends_in_the_same_row(place, split):
    with transaction.atomic():
        (row,) = fleet.rollout()
        reports = told(row, WELL)
        updates.record_reports(reports[:place], NOW)
        fleet.reboot(row.device, "2.0.0")
        if split:
            updates.births([row.device_id], NOW)
            updates.record_reports(reports[place:], NOW)
        else:
            updates.take(reports[place:], [row.device_id], NOW)
        after = state(row)
        assert (after["state"], after["checked"], after["installed"]) == ("verifying", True, True)
        transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
class TestTogether:
    def test_a_sweep_leaves_what_is_being_reported_on_and_does_not_wait(self):
        rows = fleet.rollout(4, state="installing", at=NOW - fleet.DAY)
        Update.objects.update(installing_at=NOW - fleet.DAY)
        campaign, first = rows[0].campaign, min(rows, key=lambda row: row.pk)
        with workers(1) as (sweeper,), transaction.atomic():
            updates.record_reports([told(first, WELL)[4]], timezone.now())
            ended = sweeper(lambda: atomically(updates.settle, campaign, NOW))
            assert {row.pk for row in ended} == {row.pk for row in rows} - {first.pk}
        assert state(first)["state"] == "rebooting"

    def test_reports_and_sweeps_at_once_lock_nobody_out_and_lose_nothing(self):
        rows = fleet.rollout(30)
        campaign = rows[0].campaign
        stories = [told(row, WELL) for row in rows]
        done = threading.Event()

        def report_all(order):
            for step in range(len(WELL)):
                atomically(updates.record_reports, [stories[number][step] for number in order], NOW)

        def sweep():
            looks = 0
            while not done.is_set():
                atomically(look, campaign.pk)
                looks += 1
            return looks

        with workers(3) as (up, down, sweeper):
            looking = sweeper.begin(sweep)
            asking = [up.begin(report_all, range(30)), down.begin(report_all, range(29, -1, -1))]
            for each in asking:
                each.result(timeout=60)
            done.set()
            assert looking.result(timeout=30) > 0
        assert set(Update.objects.values_list("state", flat=True)) == {"verifying"}
        assert Report.objects.count() == 30 * len(WELL)
        assert set(Report.objects.values_list("count", flat=True)) == {2}

    def test_births_and_reports_of_crossing_devices_wait_for_each_other(self):
        one, other = fleet.rollout(2, state="rebooting")
        for row in (one, other):
            fleet.reboot(row.device, "2.0.0")
        barrier = threading.Barrier(2)

        def both(mine, theirs):
            barrier.wait(timeout=10)
            for _ in range(20):
                atomically(updates.take, told(mine, WELL)[6:], [theirs.device_id], NOW)

        with workers(2) as pair:
            for each in [
                worker.begin(both, *rows) for worker, rows in zip(pair, [(one, other), (other, one)], strict=True)
            ]:
                each.result(timeout=60)
        assert set(Update.objects.values_list("state", "boot_id")) == {("verifying", NEXT_BOOT)}


def look(pk):
    campaign = Campaign.objects.select_for_update().get(pk=pk)
    updates.settle(campaign, NOW)


def atomically(function, *args):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL deadlock_timeout = '100ms'")
        return function(*args)
