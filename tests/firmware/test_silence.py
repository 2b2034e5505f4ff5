"""Whose silence a release has to answer for: counted like for like with devices that were offered nothing."""

import pytest

from devices.models import Presence
from firmware import advancing, campaigns
from firmware.models import Campaign, Update
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import HOUR, MINUTE, NOW

pytestmark = pytest.mark.django_db
WATCH = 35 * MINUTE
"""Verify time and three grace periods."""


class Rollout:
    """100 devices: 40 have it and were verified, `ago` after their reboot; 60 were offered nothing."""

    def __init__(self, ago=6 * HOUR, percents=(40, 100), **fields):
        release = fleet.release()
        self.campaign = fleet.campaign(release, percents, **fields)
        rows = fleet.enlist(self.campaign, fleet.devices(100, release))
        self.updated, self.others, self.rebooted_at = rows[:40], rows[40:], NOW - ago
        moments = dict.fromkeys(["offered_at", "installing_at", "rebooting_at", "checked_at"], self.rebooted_at)
        Update.objects.filter(pk__in=[row.pk for row in self.updated]).update(
            state="succeeded", waiting="", ended_at=self.rebooted_at + 6 * MINUTE, from_version="1.0.0", **moments
        )
        Presence.objects.filter(device__updates__in=self.updated).update(
            firmware_version="2.0.0", boot_id="boot-2", changed_at=self.rebooted_at
        )

    def gone(self, rows, at):
        Presence.objects.filter(device__in=[row.device_id for row in rows]).update(online=False, changed_at=at)

    def tally(self, at=NOW):
        return advancing.tally(Campaign.objects.get(pk=self.campaign.pk), at)

    def decided(self, at=NOW):
        decision = advancing.advance(self.campaign.pk, at)
        return decision.action.value, decision.gate.value


def test_devices_that_come_and_go_as_ever_stop_nothing():
    rollout = Rollout()
    rollout.gone(rollout.updated[:4], NOW - 2 * HOUR)
    rollout.gone(rollout.others[:6], NOW - 2 * HOUR)
    assert rollout.tally().silent == 0
    assert rollout.decided()[0] != "roll_back" and rollout.decided()[1] != "offline_rate"


@pytest.mark.parametrize(("after", "silent"), [(WATCH - MINUTE, 4), (WATCH + MINUTE, 0)], ids=["watched", "later"])
def test_who_was_verified_and_goes_counts_only_while_it_is_watched(after, silent):
    rollout = Rollout()
    rollout.gone(rollout.updated[:4], rollout.rebooted_at + after)
    assert rollout.tally().silent == silent


def test_a_release_that_kills_devices_after_they_were_verified_is_taken_back():
    rollout = Rollout(ago=HOUR)
    rollout.gone(rollout.updated[:4], rollout.rebooted_at + 20 * MINUTE)
    assert rollout.decided() == ("roll_back", "offline_rate")


@pytest.mark.parametrize("state", ["rebooting", "verifying"])
def test_who_never_came_back_from_its_reboot_always_counts(state):
    rollout = Rollout()
    lost = Update.objects.filter(pk__in=[row.pk for row in rollout.updated[:4]])
    lost.update(state=state, ended_at=None, changed_at=NOW)
    rollout.gone(rollout.updated[:4], NOW - 3 * HOUR)
    assert rollout.decided() == ("roll_back", "offline_rate")


def test_as_many_as_go_anyway_are_no_evidence():
    rollout = Rollout(ago=HOUR)
    rollout.gone(rollout.updated[:3], NOW - 30 * MINUTE)
    rollout.gone(rollout.others[:3], NOW - 30 * MINUTE)  # 5 % of 60: as many are expected of 40 as 2
    tally = rollout.tally()
    assert (tally.control, tally.control_gone, tally.silent) == (60, 3, 1)


def test_who_was_away_before_is_not_in_the_control_group():
    rollout = Rollout(ago=HOUR)
    rollout.gone(rollout.updated[:3], NOW - 30 * MINUTE)
    rollout.gone(rollout.others[:3], NOW - WATCH - MINUTE)
    tally = rollout.tally()
    assert (tally.control, tally.control_gone, tally.silent) == (57, 0, 3)


class TestAnOutage:
    @pytest.fixture
    def rollout(self):
        rollout = Rollout(ago=HOUR)
        rollout.gone(rollout.updated[:4], NOW - 30 * MINUTE)
        rollout.gone(rollout.others[:6], NOW - 30 * MINUTE)
        assert rollout.decided() == ("pause", "offline_rate")
        return rollout

    def test_is_resumed_by_a_person_who_knows_of_it_and_goes_on(self, rollout):
        campaigns.resume(rollout.campaign, StaffFactory(), "The other sites may go on.", NOW + HOUR)
        assert rollout.tally(NOW + HOUR).silent == 0
        assert rollout.decided(NOW + HOUR)[1] != "offline_rate"

    def test_who_goes_after_that_counts(self, rollout):
        Campaign.objects.update(state="running", pause_reason="", resumed_at=NOW)
        rebooting = Update.objects.filter(pk__in=[row.pk for row in rollout.updated[4:8]])
        rebooting.update(rebooting_at=NOW + HOUR)
        rollout.gone(rollout.updated[4:8], NOW + HOUR + MINUTE)
        assert rollout.tally(NOW + 2 * HOUR).silent == 4


def test_in_the_last_stage_the_rest_of_the_fleet_is_the_control_group():
    rollout = Rollout(ago=HOUR, percents=(100,))
    Update.objects.filter(pk__in=[row.pk for row in rollout.others]).delete()
    rollout.gone(rollout.updated[:4], NOW - 30 * MINUTE)
    rollout.gone(rollout.others[:6], NOW - 30 * MINUTE)
    tally = rollout.tally()
    assert (tally.control, tally.control_gone, tally.silent) == (60, 6, 4)


def test_nobody_is_silent_or_away_while_we_were_deaf():
    rollout = Rollout(ago=HOUR)
    rollout.gone(rollout.updated[:4], NOW - 30 * MINUTE)
    away = rollout.others[0]
    Update.objects.filter(pk=away.pk).update(state="downloading", offered_at=NOW - HOUR, stage=1)
    rollout.gone([away], NOW - HOUR)
    assert (rollout.tally().silent, rollout.tally().stage_away) == (4, 1)
    for heard in (None, 9 * MINUTE):
        fleet.heard_for(heard)
        tally = rollout.tally()
        assert (tally.silent, tally.stage_away, tally.stage_active) == (0, 0, 1)


def test_devices_that_give_up_or_never_begin_are_missing_in_their_stage():
    rollout = Rollout(percents=(3, 100))
    states = {
        "canceled": ["user", "withdrawn", "superseded", "aborted"],  # the last two are the portal's words
        "timed_out": ["unresponsive"],
    }
    rows = iter(rollout.others)
    for state, reasons in states.items():
        for reason in reasons:
            row = Update.objects.filter(pk=next(rows).pk)
            row.update(state=state, reason_code=reason, stage=1, offered_at=NOW, ended_at=NOW)
    assert rollout.tally().canceled_by_device == 3
