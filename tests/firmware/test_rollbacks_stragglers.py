"""Rollbacks where devices are silent, elsewhere, chatty or gone: nobody is forgotten, nobody led the wrong way."""

import pytest

from devices.models import Finding
from firmware import advancing, campaigns, offers, permits, rollbacks
from firmware.models import Campaign, Hold, Update, Verified
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


def advance_all(now):
    for pk in Campaign.objects.under_way().order_by("pk").values_list("pk", flat=True):
        advancing.advance(pk, now)


def run(devices, until, now=NOW, **kwargs):
    return simulated.run(
        lambda: Campaign.objects.under_way().order_by("pk").values_list("pk", flat=True), devices, now,
        until=until, advance=advancing.advance, **kwargs,
    )  # fmt: skip


def finished(campaign):
    return lambda: now_in(campaign).state in ("completed", "rolled_back", "rollback_incomplete")


# --- who must not be led anywhere -----------------------------------------------------------------------------------


def test_who_runs_something_else_by_now_is_back_without_a_permit(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    devices[0].go_offline(now)
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    child = now_in(campaign).rollback
    advancing.advance(child.pk, now)
    devices[0].version, devices[0].boot = "2.0.1", 77  # the hotfix, by another way
    devices[0].come_online(now + MINUTE)
    run(devices, finished(campaign), now + MINUTE)
    row = child.updates.get(device=devices[0].device)
    assert (row.state, row.reason_code, row.permit) == ("skipped", offers.ELSEWHERE, "")
    assert (now_in(campaign).state, devices[0].version) == ("rolled_back", "2.0.1")


def test_says_that_nobody_had_to_be_led_back(bad, operator):
    devices = simulated.fleet_of(fleet.devices(2, bad))
    for each in devices:
        each.behave = {"*": simulated.BOOT_LOOP}
    campaign = started(bad, rolls_back=False, error_rate=10_000)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices[:1], NOW)
    campaigns.roll_back(campaign, operator, "It is bad.", NOW)
    advance_all(NOW + MINUTE)
    assert now_in(campaign).state_reason == "Nobody had to be led back: 1 went back by itself."


# --- where they go --------------------------------------------------------------------------------------------------


def test_goes_back_to_what_it_ran_where_the_last_verified_one_is_the_bad_one(bad, operator):
    device = fleet.devices(1, bad)[0]
    Verified.objects.create(device=device, version="2.0.0", release=bad, verified_at=NOW - DAY)
    simulation = simulated.Simulated(device)
    campaign = started(bad)
    now = run([simulation], finished(campaign))
    Update.objects.filter(campaign=campaign).update(fallback=bad)
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    run([simulation], finished(campaign), now)
    assert (now_in(campaign).state, simulation.version) == ("rolled_back", "1.0.0")


def test_never_goes_back_to_what_failed_on_it(bad, old, operator):
    device = fleet.devices(1, bad)[0]
    failed = fleet.release("1.5.0", *old.device_types.all())
    simulation = simulated.Simulated(device)
    campaign = started(bad)
    now = run([simulation], finished(campaign))
    Update.objects.filter(campaign=campaign).update(fallback=failed)
    Hold.objects.create(device=device, kind="version", version="1.5.0", reason="It rolled back.")
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    child = now_in(campaign).rollback
    advancing.advance(child.pk, now)
    assert child.updates.get().release == old


# --- who is not there -----------------------------------------------------------------------------------------------


def silent_since_its_reboot(bad, operator, **fields):
    """Four devices, one of which fell silent; the rollback has ended without it."""
    devices = simulated.fleet_of(fleet.devices(4, bad))
    devices[0].behave = {"*": simulated.BRICKED}
    campaign = started(bad, error_rate=10_000, offline_rate=10_000, **fields)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices, NOW)
    campaigns.roll_back(campaign, operator, "One is silent.", NOW + 20 * MINUTE)
    now = run(devices[1:], finished(campaign), NOW + 20 * MINUTE)
    return devices, campaign, now


def test_who_fell_silent_needs_somebody_and_is_led_back_when_it_comes_in_the_bad_version(bad, operator):
    devices, campaign, now = silent_since_its_reboot(bad, operator)
    row = now_in(campaign)
    assert (row.state, row.rollback.state) == ("rollback_incomplete", "running")
    assert "1 of 4 devices" in row.state_reason
    lost = campaign.updates.get(device=devices[0].device)
    assert (lost.state, lost.needs_attention) == ("timed_out", True)
    assert Finding.objects.get(kind="rollback_incomplete").resolved_at is None
    # It was only slow.
    devices[0].behave, devices[0].version = {}, "2.0.0"
    devices[0].come_online(now + HOUR)
    run(devices, lambda: now_in(row.rollback).state == "completed", now + HOUR)
    lost.refresh_from_db()
    assert (devices[0].version, lost.needs_attention) == ("1.0.0", False)
    assert Finding.objects.get(kind="rollback_incomplete").resolved_at is not None
    campaigns.roll_back(campaign, operator, "To say that it is well.", now + DAY)
    advance_all(now + DAY)
    assert now_in(campaign).state == "rolled_back"


def test_who_fell_silent_and_went_back_by_itself_needs_nobody_any_more(bad, operator):
    devices, campaign, now = silent_since_its_reboot(bad, operator)
    devices[0].behave, devices[0].version = {}, "1.0.0"
    devices[0].come_online(now + HOUR)
    advance_all(now + HOUR)
    assert not campaign.updates.filter(needs_attention=True).exists()
    assert now_in(now_in(campaign).rollback).state == "completed"


def test_who_never_comes_back_is_not_waited_for_for_ever(bad, operator):
    devices, campaign, now = silent_since_its_reboot(bad, operator)
    advance_all(now + rollbacks.LONGEST)
    assert now_in(now_in(campaign).rollback).state == "completed"
    assert campaign.updates.get(device=devices[0].device).needs_attention


@pytest.mark.parametrize("back", [True, False], ids=["came-back", "still-away"])
def test_who_timed_out_and_was_planned_again_is_not_forgotten(bad, operator, back):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad, error_rate=10_000, offline_rate=10_000)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices[1:], NOW)
    lost = devices[0]
    simulated.live([lost], NOW, steps=5)
    lost.go_offline(NOW)
    now = NOW + 3 * HOUR
    advancing.advance(campaign.pk, now)
    assert campaign.updates.get(device=lost.device).state == "timed_out"
    lost.version, lost.work, lost.boot = "2.0.0", None, 9
    if back:
        lost.come_online(now + HOUR)
    Hold.objects.update(cleared_at=now)
    campaigns.retry_failed(campaign, operator, "Once more.", now + HOUR)
    campaigns.roll_back(campaign, operator, "It is bad.", now + 2 * HOUR)
    now = run(devices if back else devices[1:], finished(campaign), now + 2 * HOUR)
    assert now_in(campaign).state == ("rolled_back" if back else "rollback_incomplete")
    lost.come_online(now)
    run(devices, lambda: now_in(now_in(campaign).rollback).state == "completed", now)
    assert lost.version == "1.0.0"


def test_who_says_for_ever_that_it_installs_does_not_keep_it_from_its_end(bad, operator):
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices, NOW, steps=4)
    campaigns.roll_back(campaign, operator, "It is bad.", NOW)
    now = NOW
    for _ in range(60):
        now += 30 * MINUTE
        devices[0].say("installing", now)
        simulated.live(devices[1:], now)
        advance_all(now)
    row = campaign.updates.get(device=devices[0].device)
    assert now_in(campaign).state in ("rolled_back", "rollback_incomplete")
    assert row.state == "timed_out"


# --- the key --------------------------------------------------------------------------------------------------------


def test_without_the_permit_key_somebody_is_told_once_and_the_rest_goes_on(bad, operator, settings, tmp_path):
    settings.CA_DIRECTORY = tmp_path / "ca"
    permits.public_key()
    devices = simulated.fleet_of(fleet.devices(3, bad))
    campaign = started(bad)
    now = run(devices, finished(campaign))
    campaigns.roll_back(campaign, operator, "It is bad.", now)
    child = now_in(campaign).rollback
    settings.CA_DIRECTORY = tmp_path / "another machine"
    for _ in range(2):
        decision = advancing.advance(child.pk, now)
        assert (decision.action, "Nobody can be led back" in decision.text) == ("hold", True)
    found = Finding.objects.get(kind="permit_key_unavailable")
    assert (found.count, found.severity) == (1, "critical")
    assert child.updates.filter(offered_at__isnull=True).count() == 3
    settings.CA_DIRECTORY = tmp_path / "ca"
    run(devices, finished(campaign), now)
    assert now_in(campaign).state == "rolled_back"
