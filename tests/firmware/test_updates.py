"""Reports and births on their way into the rows, in the order in which a device sends them."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices import registry
from firmware import timeline, updates
from firmware.models import Hold, Report, Update
from firmware.states import UpdateState
from tests.firmware import fleet
from tests.firmware.fleet import BOOT, MINUTE, NEXT_BOOT, NOW, report, story

pytestmark = pytest.mark.django_db


def known(*rows):
    return registry.look_up(row.device.device_id for row in rows)


def say(row, *reports, at=NOW):
    """The device of an update says this, in one batch."""
    device = known(row)[row.device.device_id]
    return updates.record_reports([(device, each) for each in reports], at)


def the(row):
    return Update.objects.get(pk=row.pk)


@pytest.fixture
def update():
    return fleet.rollout(state="queued")[0]


class TestReports:
    def test_an_update_that_goes_well_waits_to_be_verified(self, update):
        for minute, each in enumerate(story(update)):
            assert say(update, each, at=NOW + minute * MINUTE) == {update.campaign_id}
        row = the(update)
        assert (row.state, row.seq, row.boot_id, row.installing_boot_id) == ("verifying", 7, NEXT_BOOT, BOOT)
        assert (row.installing_at, row.rebooting_at) == (NOW + 3 * MINUTE, NOW + 4 * MINUTE)
        assert (row.checked_at, row.changed_at, row.ended_at) == (NOW + 6 * MINUTE, NOW + 6 * MINUTE, None)

    def test_a_whole_story_in_one_batch_tells_the_same(self, update):
        say(update, *story(update))
        assert the(update).state == "verifying"
        assert list(update.reports.values_list("state", "applied")) == [(word, True) for word in fleet.STORY]

    def test_the_progress_of_a_download_and_what_it_waits_for(self, update):
        say(update, report(update, "notified", 1, reason="power"))
        assert (the(update).state, the(update).waiting) == ("notified", "power")
        say(update, report(update, "downloading", 2, progress=40))
        assert (the(update).progress, the(update).waiting) == (40, "")

    def test_repeated_late_and_foreign_reports_change_nothing_but_the_time_line(self, update):
        say(update, *story(update)[:4])
        before = Update.objects.values().get()
        late, twice = report(update, "downloading", 2), report(update, "installing", 4)
        assert say(update, late, twice, twice, at=NOW + MINUTE) == set()
        assert say(update, report(update, "succeeded", 9, attempt=2), at=NOW + MINUTE) == set()
        assert Update.objects.values().get() == before
        assert list(update.reports.values_list("attempt", "seq", "applied", "count")) == [
            (1, 1, True, 1), (1, 2, True, 2), (1, 3, True, 1), (1, 4, True, 3), (2, 9, False, 1),
        ]  # fmt: skip

    def test_anothers_update_is_not_known_and_not_touched(self, update):
        (stranger,) = fleet.devices(1)
        device = registry.look_up([stranger.device_id])[stranger.device_id]
        told = [(device, report(update, "failed", 5))]
        assert updates.known(told) == set() and updates.record_reports(told, NOW) == set()
        assert the(update).state == "queued" and not Report.objects.exists()

    def test_only_what_was_offered_is_known(self, update):
        told = [(known(update)[update.device.device_id], report(update, "failed", 5))]
        assert updates.known(told) == {0}
        Update.objects.update(offered_at=None)
        assert updates.known(told) == set()

    def test_a_failure_ends_it_with_its_reason_and_holds_the_version(self, update):
        say(update, *story(update)[:4], report(update, "failed", 5, reason="boot_failed"), at=NOW)
        row = the(update)
        assert (row.state, row.reason_code, row.ended_at) == ("failed", "boot_failed", NOW)
        assert Hold.objects.get().version == "2.0.0"

    def test_an_end_that_needs_no_hold(self, update):
        say(update, report(update, "rejected", 1, reason="incompatible"))
        assert the(update).state == "rejected" and not Hold.objects.exists()

    def test_the_time_line_is_bounded_and_its_end_still_finds_room(self, update):
        chatter = [report(update, "downloading", seq, progress=seq % 100) for seq in range(1, 400)]
        say(update, *chatter[:250])
        say(update, *chatter[250:])
        assert update.reports.count() == timeline.MOST_IN_PASSING
        say(update, report(update, "installing", 500), chatter[0], report(update, "failed", 501, reason="x"))
        assert set(update.reports.filter(seq__gte=500).values_list("state", flat=True)) == {"installing", "failed"}
        assert update.reports.get(seq=1).count == 2
        junk = [report(update, "nonsense", seq) for seq in range(1000, 1300)]
        say(update, *junk)
        assert update.reports.count() <= timeline.MOST


class TestBirths:
    def test_a_birth_in_the_new_version_says_that_it_rebooted(self, update):
        say(update, *story(update)[:5])
        fleet.reboot(update.device, "2.0.0")
        assert updates.births([update.device_id], NOW) == {update.campaign_id}
        assert (the(update).state, the(update).boot_id) == ("verifying", NEXT_BOOT)

    def test_a_birth_in_the_old_version_after_the_reboot_is_a_rollback(self, update):
        say(update, *story(update)[:5])
        fleet.reboot(update.device, "1.0.0")
        updates.births([update.device_id], NOW)
        assert (the(update).state, the(update).reason_code, the(update).ended_at) == ("rolled_back", "boot_failed", NOW)
        assert Hold.objects.get().kind == "version"

    def test_a_success_under_watch_that_reverts_is_none(self, update):
        Update.objects.update(state=UpdateState.SUCCEEDED, ended_at=NOW - MINUTE, installing_boot_id=BOOT)
        fleet.reboot(update.device, "1.0.0", "boot-3")
        assert updates.births([update.device_id], NOW) == {update.campaign_id}
        assert (the(update).state, the(update).reason_code, the(update).ended_at) == ("rolled_back", "reverted", NOW)

    def test_after_the_campaign_nobody_watches_any_more(self, update):
        Update.objects.update(state=UpdateState.SUCCEEDED, ended_at=NOW - MINUTE)
        type(update.campaign).objects.update(state="completed")
        fleet.reboot(update.device, "1.0.0", "boot-3")
        assert updates.births([update.device_id], NOW) == set()
        assert the(update).state == "succeeded"

    def test_a_connection_without_a_reboot_changes_nothing(self, update):
        say(update, *story(update)[:5])
        before = Update.objects.values().get()
        assert updates.births([update.device_id], NOW + MINUTE) == set()
        assert Update.objects.values().get() == before

    def test_a_campaign_that_waited_for_the_device_hears_of_it(self):
        made = fleet.release()
        campaign = fleet.campaign(made)
        row, other = fleet.enlist(campaign, fleet.devices(2, made), waiting="offline")
        assert updates.births([row.device_id], NOW) == {campaign.pk}
        Update.objects.filter(pk=other.pk).update(waiting="window")
        assert updates.births([other.device_id], NOW) == set()

    def test_a_birth_is_judged_after_the_reports_of_its_batch(self, update):
        say(update, *story(update)[:4])
        fleet.reboot(update.device, "1.0.0")
        device = known(update)[update.device.device_id]
        updates.take([(device, report(update, "rebooting", 5))], [update.device_id], NOW)
        assert the(update).state == "rolled_back"


def test_a_batch_costs_the_same_queries_however_long_it_is():
    rows = fleet.rollout(1000)
    found = known(*rows)

    def queries(some, seq):
        told = [(found[row.device.device_id], report(row, "downloading", seq, progress=seq)) for row in some]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert updates.known(told) == set(range(len(told)))
            updates.take(told, [row.device_id for row in some], NOW)
        return len(captured)

    assert queries(rows[:10], 1) == queries(rows, 2) <= 6
    assert set(Update.objects.values_list("state", "progress")) == {("downloading", 2)}
    assert Report.objects.count() == 1010
