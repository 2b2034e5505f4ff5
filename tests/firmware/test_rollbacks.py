"""Rollbacks: each device that runs the bad version is led back to its own last one, and nobody else is touched."""

import pytest

from devices.models import Device, Finding
from firmware import advancing, campaigns, rollbacks
from firmware.errors import FirmwareError
from firmware.models import Campaign, Hold, Stage, Stop, Update, Verdict
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(db):
    return StaffFactory()


@pytest.fixture
def old(db):
    return fleet.release("1.0.0")


@pytest.fixture
def bad(old):
    return fleet.release("2.0.0", *old.device_types.all())


def now_in(campaign):
    return Campaign.objects.get(pk=campaign.pk)


def started(release, percents=(100,), **fields):
    row = fleet.campaign(release, percents, state="draft", **fields)
    campaigns.submit(row, row.author, NOW)
    campaigns.approve(row, StaffFactory(), NOW)
    campaigns.start(row, row.author, NOW)
    return row


def run(devices, until, now=NOW, **kwargs):
    return simulated.run(
        lambda: Campaign.objects.under_way().order_by("pk").values_list("pk", flat=True), devices, now,
        until=until, advance=advancing.advance, **kwargs,
    )  # fmt: skip


def finished(campaign):
    return lambda: now_in(campaign).state in ("completed", "rolled_back", "rollback_incomplete")


def test_a_person_takes_a_completed_campaign_back(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It leaks memory.", now)
    assert campaign.state == "rolling_back"
    run(devices, finished(campaign), now)
    row = now_in(campaign)
    assert (row.state, {each.version for each in devices}) == ("rolled_back", {"1.0.0"})
    assert set(campaign.updates.values_list("state", "reason_code")) == {("rolled_back", "taken_back")}
    assert not Hold.objects.exists(), "the devices did nothing wrong"
    assert advancing.tally(row, now).failed == 0
    child = row.rollback
    assert (child.release, child.author, child.approved_by) == (None, row.author, row.approved_by)
    assert (child.targets, child.stages.get().size) == (3, 3)
    for update in child.updates.all():
        assert (update.state, update.release.version, update.from_version) == ("succeeded", "1.0.0", "2.0.0")
        assert update.permit and update.permit_key
    advancing.advance(child.pk, now + DAY)
    assert (now_in(child).state, child.stages.get().state) == ("completed", "passed")


def test_leads_back_only_those_that_run_the_bad_one(bad, operator):
    devices = simulated.fleet_of(fleet.devices(6, bad))
    campaign = started(bad)
    advancing.advance(campaign.pk, NOW)
    finished_ones, downloading, installing = devices[:2], devices[2:4], devices[4:]
    simulated.live(finished_ones, NOW)
    simulated.live(downloading, NOW, steps=2)
    simulated.live(installing, NOW, steps=4)
    campaigns.roll_back(campaign, operator, "It is bad.", NOW)
    taken_back = {row.device_id for row in campaign.updates.filter(state="canceled")}
    assert taken_back == {each.device.pk for each in downloading}
    child = now_in(campaign).rollback
    advancing.advance(child.pk, NOW)
    assert set(child.updates.values_list("device", flat=True)) == {each.device.pk for each in finished_ones}
    simulated.live(installing, NOW + MINUTE)  # they boot into it: now they are led back, too
    advancing.advance(child.pk, NOW + MINUTE)
    assert child.updates.count() == 4
    run(devices, finished(campaign), NOW + 10 * MINUTE)
    assert now_in(campaign).state == "rolled_back"
    assert {each.version for each in devices} == {"1.0.0"}
    assert not child.updates.filter(device__in=taken_back).exists()


def test_who_reverted_by_itself_is_offered_nothing(bad, operator):
    devices = simulated.fleet_of(fleet.devices(4, bad))
    devices[0].behave = {"2.0.0": simulated.BOOT_LOOP}
    campaign = started(bad, rolls_back=False, error_rate=10_000, min_executed=1)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices, NOW)
    campaigns.roll_back(campaign, operator, "One boot loop is enough.", NOW + 10 * MINUTE)
    run(devices, finished(campaign), NOW + 10 * MINUTE)
    assert not now_in(campaign).rollback.updates.filter(device=devices[0].device).exists()
    assert campaign.updates.get(device=devices[0].device).reason_code == "boot_failed"


def test_each_goes_back_to_its_own_version(bad, operator):
    older = fleet.release("0.9.0", *bad.device_types.all())
    a, b = fleet.devices(2, bad)
    fleet.presence(b, firmware_version="0.9.0")
    devices = [simulated.Simulated(a), simulated.Simulated(b, version="0.9.0")]
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    run(devices, finished(campaign), now)
    assert [each.version for each in devices] == ["1.0.0", "0.9.0"]
    assert now_in(campaign).rollback.updates.get(device=b).release == older


def test_without_a_release_to_go_back_to_somebody_is_needed(bad, operator):
    lost, fine = fleet.devices(2, bad)
    fleet.presence(lost, firmware_version="0.5.0")  # nobody ever uploaded that
    devices = [simulated.Simulated(lost, version="0.5.0"), simulated.Simulated(fine)]
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    now = run(devices, finished(campaign), now)
    row = now_in(campaign)
    assert row.state == "rollback_incomplete" and "1 of 2 devices do not run" in row.state_reason
    assert Finding.objects.get().subject == f"#{row.pk} {row.name}"
    failed = row.rollback.updates.get(device=lost)
    assert (failed.state, failed.reason_code, failed.needs_attention) == ("failed", "no_release", True)
    # Somebody uploads it, and tries once more.
    fleet.release("0.5.0", *bad.device_types.all())
    advancing.advance(row.rollback.pk, now)
    assert now_in(row.rollback).state == "completed"
    campaigns.roll_back(campaign, operator, "It is here now.", now)
    assert now_in(row.rollback).state == "running"
    run(devices, finished(campaign), now)
    assert (now_in(campaign).state, devices[0].version) == ("rolled_back", "0.5.0")
    assert Finding.objects.get().resolved_at is not None


def test_a_failed_rollback_needs_somebody_and_holds_nothing(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    devices[0].behave = {"1.0.0": simulated.FAILS}
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    now = run(devices, finished(campaign), now)
    row = now_in(campaign)
    assert row.state == "rollback_incomplete"
    failed = row.rollback.updates.get(needs_attention=True)
    assert (failed.device, failed.state) == (devices[0].device, "failed")
    assert not devices[0].device.holds.exists()
    devices[0].behave = {}
    campaigns.roll_back(campaign, operator, "Once more.", now)
    run(devices, finished(campaign), now)
    assert now_in(campaign).state == "rolled_back"
    failed.refresh_from_db()
    assert (failed.state, failed.attempt, failed.needs_attention) == ("succeeded", 2, False)


def test_absent_devices_are_led_back_when_they_return_also_after_it_ended_incomplete(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad, stage_timeout=6 * HOUR)
    now = run(devices, finished(campaign))
    devices[0].go_offline(now)
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    now = run(devices, finished(campaign), now, every=HOUR)
    row = now_in(campaign)
    assert (row.state, row.rollback.state) == ("rollback_incomplete", "running")
    devices[0].come_online(now)
    now = run(devices, lambda: now_in(row.rollback).state == "completed", now)
    assert devices[0].version == "1.0.0"


def test_who_left_the_fleet_is_not_waited_for(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    advancing.advance(now_in(campaign).rollback.pk, now)
    Device.objects.filter(pk=devices[0].device.pk).update(state=Device.State.DECOMMISSIONED)
    run(devices[1:], finished(campaign), now)
    assert now_in(campaign).state == "rolled_back"


def test_a_rollback_has_no_rollback_and_is_paused_but_not_aborted(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    child = now_in(campaign).rollback
    for act in (campaigns.roll_back, campaigns.abort, campaigns.retry_failed):
        with pytest.raises(FirmwareError, check=lambda error: error.code == "is_rollback"):
            act(child, operator, "Try.", now)
    campaigns.pause(child, operator, "Wait.", now)
    advancing.advance(child.pk, now)
    assert not child.updates.active().exists()
    campaigns.resume(child, operator, "Go on.", now)
    advancing.advance(child.pk, now)
    assert child.updates.active().count() == 3


def test_nobody_is_led_back_during_the_stop(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    Stop.objects.create(started_by=operator, reason="Everything.")
    child = now_in(campaign).rollback
    advancing.advance(child.pk, now)
    assert not child.updates.active().exists()


def test_begins_and_admits_once(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    row = now_in(campaign)
    child = rollbacks.begin(row, now)
    assert (rollbacks.admit(child, now), rollbacks.admit(child, now)) == (3, 0)
    assert rollbacks.begin(row, now) == child
    assert Campaign.objects.filter(rollback_of=campaign).count() == 1
    assert Stage.objects.get(campaign=child).upto > max(Update.objects.values_list("place", flat=True))


def test_says_in_numbers_how_it_ended(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    run(devices, finished(campaign), now)
    said = Verdict.objects.filter(campaign=campaign).first()
    assert said.figures == {"installing": 0, "astray": 0, "silent": 0, "open": 0, "failed": 0, "back": 3}
