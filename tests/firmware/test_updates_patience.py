"""How long the portal waits for a device: not when it was deaf itself, not for ever, and not for who is only idle."""

import pytest

from firmware import advancing, updates
from firmware.models import Campaign, Hold, Stop, Update
from firmware.states import BEFORE_INSTALL
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW, SECOND

pytestmark = pytest.mark.django_db


def the(row):
    return Update.objects.get(pk=row.pk)


def settle(row, at):
    return {each.pk for each in updates.settle(Campaign.objects.get(pk=row.campaign_id), at)}


class TestOurOwnEars:
    @pytest.mark.parametrize(
        ("state", "patience"),
        [("installing", HOUR), ("rebooting", HOUR + 5 * MINUTE), ("verifying", HOUR + 5 * MINUTE)],
        ids=["installing", "rebooting", "verifying"],
    )
    def test_who_could_not_be_heard_was_not_silent(self, state, patience):
        (row,) = fleet.rollout(state=state, at=NOW)
        Update.objects.update(installing_at=NOW, changed_at=NOW)
        for heard in (None, patience - SECOND):
            fleet.heard_for(heard)
            assert settle(row, NOW + 3 * HOUR) == set()
        fleet.heard_for(patience)
        assert settle(row, NOW + 3 * HOUR) == {row.pk}

    def test_an_hour_without_ingest_takes_no_release_back(self):
        made = fleet.release()
        campaign = fleet.campaign(made, (50, 100))
        devices = simulated.fleet_of(fleet.devices(10, made))
        fleet.enlist(campaign, [each.device for each in devices])
        advancing.advance(campaign.pk, NOW)
        simulated.live(devices, NOW, steps=4)  # they install, and nobody hears what they say after that
        fleet.heard_for(None)
        advancing.advance(campaign.pk, NOW + 62 * MINUTE)
        fleet.heard_for(MINUTE)  # the backlog comes in
        advancing.advance(campaign.pk, NOW + 63 * MINUTE)
        campaign.refresh_from_db()
        assert campaign.state == "running" and not campaign.updates.filter(state="timed_out").exists()
        assert not Hold.objects.exists()


def test_an_installation_ends_however_much_it_talks():
    (row,) = fleet.rollout(state="installing", at=NOW)
    Update.objects.update(installing_at=NOW, changed_at=NOW)
    known = simulated.Simulated(row.device).known
    for hour in range(1, 24):
        updates.record_reports([(known, fleet.report(row, "installing", hour))], NOW + hour * HOUR)
        assert settle(row, NOW + hour * HOUR) == set()
    updates.record_reports([(known, fleet.report(row, "installing", 24))], NOW + DAY)
    assert settle(row, NOW + DAY + SECOND) == {row.pk}
    assert (the(row).state, the(row).detail) == ("timed_out", "It did not end while installing.")


def idle(state="notified", **fields):
    """A device that is online and was offered something a day ago."""
    (row,) = fleet.rollout(state=state, at=NOW - DAY)
    Update.objects.update(**fields)
    fleet.presence(row.device, changed_at=NOW - 2 * DAY)
    return row


class TestIdleOffers:
    @pytest.mark.parametrize("state", BEFORE_INSTALL)
    def test_who_does_nothing_with_an_offer_loses_it_and_is_no_failure(self, state):
        row = idle(state, seq=-1 if state == "queued" else 3)
        assert settle(row, NOW) == set()
        assert settle(row, NOW + SECOND) == {row.pk}
        assert (the(row).state, the(row).reason_code, the(row).needs_attention) == ("timed_out", "unresponsive", False)
        assert not Hold.objects.exists() and not Update.objects.failed().exists()

    def test_saying_it_again_is_no_reaction(self):
        row = idle(seq=-1, changed_at=NOW)
        assert settle(row, NOW + SECOND) == {row.pk}

    @pytest.mark.parametrize("word", ["power", "space", "consent"])
    def test_who_said_what_it_waits_for_keeps_it(self, word):
        row = idle("downloaded", seq=3, waiting=word)
        assert settle(row, NOW + 100 * DAY) == set()

    @pytest.mark.parametrize(
        "presence",
        [{"online": False}, {"changed_at": NOW - 9 * MINUTE}],
        ids=["who is away", "who is back just now"],
    )
    def test_who_could_not_react_keeps_it(self, presence):
        row = idle()
        fleet.presence(row.device, **presence)
        assert settle(row, NOW + SECOND) == set()

    @pytest.mark.parametrize(
        "fields",
        [{"state": "paused", "paused_at": NOW - DAY}, {"resumed_at": NOW - HOUR}],
        ids=["paused", "resumed lately"],
    )
    def test_time_does_not_count_while_the_campaign_is_halted(self, fields):
        row = idle()
        Campaign.objects.update(**fields)
        assert settle(row, NOW + SECOND) == set()

    def test_nor_during_the_global_stop(self):
        row = idle()
        stop = Stop.objects.create(started_by=StaffFactory(), reason="fire", started_at=NOW - DAY)
        assert settle(row, NOW + SECOND) == set()
        Stop.objects.filter(pk=stop.pk).update(ended_at=NOW)
        assert settle(row, NOW + SECOND) == set()
        assert settle(row, NOW + DAY + SECOND) == {row.pk}

    def test_a_campaign_ends_past_devices_that_never_react(self):
        made = fleet.release()
        campaign = fleet.campaign(made, [100], max_concurrent=5)
        devices = simulated.fleet_of(fleet.devices(30, made))
        fleet.enlist(campaign, [each.device for each in devices])
        under_way = Campaign.objects.under_way().values_list("pk", flat=True)
        ended = lambda: not under_way.all().exists()  # noqa: E731
        simulated.run(under_way.all, devices[8:], NOW, until=ended, advance=advancing.advance, every=HOUR, bound=100)
        campaign.refresh_from_db()
        assert campaign.state == "completed"
        assert campaign.updates.filter(state="succeeded").count() == 22
        # The order is random: those whose turn came last had their offer taken back by the end.
        left = campaign.updates.exclude(state="succeeded").values_list("reason_code", flat=True)
        assert len(left) == 8 and set(left) <= {"unresponsive", "campaign_ended"}
        assert "unresponsive" in left
