"""Who is offered an update, how many at once, and what the others are told to wait for."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from firmware import offers
from firmware.models import Campaign, Hold, Stop, Update, Verified
from firmware.states import ACTIVE
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.fleet import BOOT, HOUR, MINUTE, NOW, SECOND

pytestmark = pytest.mark.django_db


def the(row):
    return Update.objects.get(pk=row.pk)


def enlisted(n=1, opened=1, percents=(100,), version="1.0.0", release=None, **fields):
    """A running campaign with planned updates, in their order."""
    made = release or fleet.release(min_version=fields.pop("min_version", ""))
    return fleet.enlist(fleet.campaign(made, percents, **fields), fleet.devices(n, made, version), opened=opened)


def offer(campaign, at=NOW):
    return [each.pk for each in offers.offer(Campaign.objects.get(pk=campaign.pk), at)]


def pks(rows):
    return [row.pk for row in rows]


def waiting(campaign):
    return dict(campaign.updates.values_list("pk", "waiting"))


class TestOffering:
    def test_what_an_offer_notes(self):
        (row,) = enlisted()
        assert offer(row.campaign) == [row.pk]
        got = the(row)
        assert (got.state, got.offered_at, got.waiting, got.from_version) == ("queued", NOW, "", "1.0.0")
        assert (got.offered_boot_id, got.fallback, got.permit) == (BOOT, None, "")
        assert offer(row.campaign) == [], "once"

    def test_the_fallback_is_what_was_last_verified_or_else_the_release_it_runs(self):
        made = fleet.release()
        kind = made.device_types.get()
        old, older = fleet.release("1.0.0", kind), fleet.release("0.9.0", kind)
        proven, running = fleet.enlist(fleet.campaign(made, [100]), fleet.devices(2, made))
        Verified.objects.create(device=proven.device, version="0.9.0", release=older, verified_at=NOW)
        offer(proven.campaign)
        assert (the(proven).fallback, the(running).fallback) == (older, old)

    def test_what_failed_on_a_device_is_no_fallback_for_it(self):
        made = fleet.release()
        kind = made.device_types.get()
        old, older = fleet.release("1.0.0", kind), fleet.release("0.9.0", kind)
        rows = fleet.enlist(fleet.campaign(made, [100]), fleet.devices(3, made))
        for row, held in zip(rows, (["0.9.0"], ["1.0.0"], ["0.9.0", "1.0.0"]), strict=True):
            Verified.objects.create(device=row.device, version="0.9.0", release=older, verified_at=NOW)
            for version in held:
                Hold.objects.create(device=row.device, kind="version", version=version, reason="It failed.")
        Hold.objects.create(device=rows[1].device, kind="version", version="0.9.0", reason="Mended.", cleared_at=NOW)
        offer(rows[0].campaign)
        assert [the(row).fallback for row in rows] == [old, older, None]

    def test_only_the_open_stages_are_offered_in_their_order(self):
        rows = enlisted(40, percents=(5, 50, 100))
        campaign = rows[0].campaign
        assert offer(campaign) == pks(rows[:2])
        assert {the(row).waiting for row in rows[2:]} == {"stage"}
        campaign.stages.filter(number=1).update(state="passed")
        campaign.stages.filter(number=2).update(state="rolling")
        assert offer(campaign) == pks(rows[2:10]), "ten in flight, as nothing has succeeded"

    def test_a_latecomer_of_a_stage_that_passed_is_offered_too(self):
        rows = enlisted(40, opened=2, percents=(5, 50, 100))
        assert offer(rows[0].campaign)[:2] == pks(rows[:2])

    @pytest.mark.parametrize("state", ["paused", "aborting", "completed"])
    def test_a_campaign_that_does_not_run_offers_nothing_whoever_thinks_it_does(self, state):
        (row,) = enlisted()
        campaign = Campaign.objects.get()
        paused = {"paused_at": NOW, "pause_reason": "operator"} if state == "paused" else {}
        Campaign.objects.update(state=state, **paused)
        assert offers.offer(campaign, NOW) == [] and the(row).offered_at is None

    def test_the_global_stop_stops_it_until_it_is_lifted(self):
        (row,) = enlisted()
        stop = Stop.objects.create(started_by=StaffFactory(), reason="fire")
        assert offer(row.campaign) == []
        Stop.objects.filter(pk=stop.pk).update(ended_at=NOW)
        assert offer(row.campaign) == [row.pk]

    def test_no_stage_is_open(self):
        (row,) = enlisted(opened=0)
        assert offer(row.campaign) == []


class TestPace:
    def test_it_grows_with_success_and_with_nothing_else(self):
        rows = enlisted(60)
        campaign = rows[0].campaign
        assert offer(campaign) == pks(rows[:10])
        Update.objects.filter(pk__in=pks(rows[:5])).update(state="installing")
        assert offer(campaign, NOW + SECOND) == [], "what is being installed has proved nothing yet"
        Update.objects.filter(pk__in=pks(rows[:5])).update(state="succeeded", ended_at=NOW)
        assert offer(campaign, NOW + SECOND) == pks(rows[10:25])
        assert {the(row).waiting for row in rows[25:]} == {"pacing"}

    def test_its_limits(self):
        rows = enlisted(30, offers_per_minute=4, max_concurrent=6)
        moments = [NOW + seconds * SECOND for seconds in (0, 30, 61, 130)]
        for at in moments:
            offer(rows[0].campaign, at)
        assert [Update.objects.filter(offered_at=at).count() for at in moments] == [4, 0, 2, 0]

    def test_who_went_away_or_waits_for_power_takes_nobodys_turn(self):
        rows = enlisted(30)
        campaign = rows[0].campaign
        offer(campaign)
        fleet.presence(rows[0].device, online=False, changed_at=NOW - MINUTE)
        assert offer(campaign, NOW + MINUTE) == [], "it may be back within its grace"
        fleet.presence(rows[0].device, changed_at=NOW - HOUR)
        Update.objects.filter(pk=rows[1].pk).update(waiting="power")
        assert set(pks(rows[10:12])) <= set(offer(campaign, NOW + SECOND))


class TestWaiting:
    def test_who_cannot_be_reached_does_not_crowd_out_those_behind(self):
        rows = enlisted(40)
        for row in rows[:25]:
            fleet.presence(row.device, online=False)
        assert offer(rows[0].campaign) == pks(rows[25:35])
        words = [the(row).waiting for row in rows]
        assert words == ["offline"] * 25 + [""] * 10 + ["pacing"] * 5

    @pytest.mark.parametrize(
        ("presence", "device", "detail"),
        [
            ({"online": False}, {}, ""),
            ({"session": -1}, {}, "It speaks HTTPS only; offers are made over MQTT."),
            ({}, {"state": "quarantined"}, "The device is quarantined."),
        ],
        ids=["offline", "https only", "quarantined"],
    )
    def test_who_is_out_of_reach(self, presence, device, detail):
        (row,) = enlisted()
        if presence:
            fleet.presence(row.device, **presence)
        type(row.device).objects.update(**{"name": "x"} | device)
        assert offer(row.campaign) == []
        assert (the(row).waiting, the(row).detail) == ("offline", detail)

    def test_only_what_changes_is_written(self):
        rows = enlisted(30, max_concurrent=1)
        offer(rows[0].campaign)
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, xmin::text FROM firmware_update")
            before = cursor.fetchall()
            offer(rows[0].campaign)
            cursor.execute("SELECT id, xmin::text FROM firmware_update")
            assert cursor.fetchall() == before


class TestObjections:
    @pytest.mark.parametrize(
        ("version", "reason"),
        [("2.0.0", "already_installed"), ("2.1.0", "anti_rollback"), ("1.4.9", "incompatible"), ("1.5.0", "")],
    )
    def test_by_what_it_runs(self, version, reason):
        (row,) = enlisted(version=version, min_version="1.5.0")
        offer(row.campaign)
        assert (the(row).state, the(row).reason_code) == ("skipped" if reason else "queued", reason)

    @pytest.mark.parametrize(
        ("hold", "reason"),
        [
            ({"kind": "version", "version": "2.0.0"}, "version_blocked"),
            ({"kind": "version", "version": "1.9.0"}, ""),
            ({"kind": "penalty"}, "penalty_box"),
            ({"kind": "penalty", "cleared_at": NOW}, ""),
        ],
        ids=["blocked", "other version", "boxed", "cleared"],
    )
    def test_by_its_holds(self, hold, reason):
        (row,) = enlisted()
        Hold.objects.create(device=row.device, reason="x", **hold)
        offer(row.campaign)
        assert the(row).reason_code == reason

    def test_who_is_skipped_takes_nobodys_place(self, monkeypatch):
        monkeypatch.setattr(offers, "_PAGE", 4)
        rows = enlisted(30)
        for row in rows[:9]:
            fleet.presence(row.device, firmware_version="2.0.0")
        assert offer(rows[0].campaign) == pks(rows[9:19])


class TestSayingAgain:
    def test_an_offer_nobody_reacted_to_is_said_again_after_a_while(self):
        (row,) = enlisted()
        offer(row.campaign)
        assert offer(row.campaign, NOW + MINUTE) == []
        assert offer(row.campaign, NOW + 2 * MINUTE) == [row.pk], "it may never have been published"
        Update.objects.update(state="notified", changed_at=NOW)
        assert offer(row.campaign, NOW + MINUTE) == []
        assert offer(row.campaign, NOW + 2 * MINUTE) == [row.pk], "it was put into words, and may not have left"
        assert offer(row.campaign, NOW + 3 * MINUTE) == []
        Update.objects.update(seq=1, changed_at=NOW)
        assert offer(row.campaign, NOW + HOUR) == [], "it has heard"

    def test_after_a_pause_or_a_stop_all_open_ones_are_said_again_once(self):
        (row,) = enlisted()
        offer(row.campaign)
        Update.objects.update(state="downloading", seq=3, changed_at=NOW)
        looked = Campaign.objects.filter(pk=row.campaign_id)
        looked.update(advanced_at=NOW, resumed_at=NOW + SECOND)
        assert offer(row.campaign, NOW + MINUTE) == [row.pk], "it may have connected, and forgotten, meanwhile"
        looked.update(advanced_at=NOW + MINUTE)
        assert offer(row.campaign, NOW + 2 * MINUTE) == []
        Stop.objects.create(started_by=StaffFactory(), reason="fire", ended_at=NOW + 2 * MINUTE)
        assert offer(row.campaign, NOW + 3 * MINUTE) == [row.pk]


class TestWithdrawing:
    def test_what_is_not_being_installed_is_taken_back_and_who_was_offered_it_is_told(self):
        rows = fleet.rollout(7)
        for row, state in zip(rows, ACTIVE, strict=True):
            Update.objects.filter(pk=row.pk).update(state=state)
        planned = fleet.enlist(fleet.campaign(rows[0].release), fleet.devices(1, rows[0].release))
        Update.objects.filter(pk__in=pks(planned)).update(campaign=rows[0].campaign)
        told = offers.withdraw(rows[0].campaign, NOW, "rolled_back")
        assert {each.pk for each in told} == set(pks(rows[:4]))
        ended = rows[0].campaign.updates.filter(state="canceled", reason_code="rolled_back", ended_at=NOW)
        assert set(ended.values_list("pk", flat=True)) == set(pks(rows[:4] + planned))
        assert offers.withdraw(rows[0].campaign, NOW, "again") == []


def test_an_offer_costs_the_same_queries_however_many_get_it():
    def queries(n):
        rows = enlisted(2 * n, max_concurrent=n)
        done = enlisted(n, release=rows[0].release)  # so many successes make room
        Update.objects.filter(pk__in=pks(done)).update(
            campaign=rows[0].campaign, state="succeeded", offered_at=NOW - HOUR, ended_at=NOW
        )
        with CaptureQueriesContext(connection) as captured:
            assert len(offer(rows[0].campaign)) == n
        return len(captured)

    assert queries(10) == queries(200) <= 16
