"""Devices that change their version by themselves: what is taken to be proven on them, and what is undone on them."""

import pytest

from firmware import advancing, campaigns, offers, updates
from firmware.models import Campaign, Stage, Update, Verified
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW

pytestmark = pytest.mark.django_db


def proven(fallback):
    """An update whose device was verified with it, and is still under watch."""
    (row,) = fleet.rollout(at=NOW - HOUR)
    fallback = fleet.release("0.9.0", row.device.device_type) if fallback else None
    moments = {"installing_at": NOW - HOUR, "rebooting_at": NOW - HOUR, "ended_at": NOW}
    Update.objects.filter(pk=row.pk).update(state="succeeded", fallback=fallback, boot_id="boot-2", **moments)
    fleet.reboot(row.device, "1.0.0", "boot-3")
    Verified.objects.create(device=row.device, version="2.0.0", release=row.release, verified_at=NOW)
    return row, fallback


def test_what_a_device_reverted_from_is_no_longer_what_it_is_led_back_to():
    row, fallback = proven(fallback=True)
    updates.births([row.device_id], NOW)
    assert Update.objects.get(pk=row.pk).reason_code == "reverted"
    verified = Verified.objects.get()
    assert (verified.version, verified.release, verified.verified_at) == ("0.9.0", fallback, NOW - HOUR)


def test_where_nothing_was_known_before_nothing_is_known():
    row, _ = proven(fallback=False)
    updates.births([row.device_id], NOW)
    assert not Verified.objects.exists()


def test_what_was_proven_since_stays():
    row, _ = proven(fallback=True)
    Verified.objects.update(version="3.0.0")
    updates.births([row.device_id], NOW)
    assert Verified.objects.get().version == "3.0.0"


def test_a_later_release_is_taken_back_past_the_version_it_reverted_from():
    old = fleet.release("1.0.0")
    release = fleet.release("2.0.0", *old.device_types.all())
    (device,) = fleet.devices(1, release)
    it = simulated.Simulated(device)
    first = fleet.campaign(release, [100])
    fleet.enlist(first, [device])
    under_way = Campaign.objects.under_way().values_list("pk", flat=True)
    verified = lambda: Verified.objects.filter(version="2.0.0").exists()  # noqa: E731
    now = simulated.run(under_way.all, [it], NOW, until=verified, advance=advancing.advance)
    Campaign.objects.update(state="running", ended_at=None)  # a soak still runs: it is under watch
    it.version, it.boot = "1.0.0", 55
    it.go_offline(now)
    it.come_online(now)
    Campaign.objects.update(state="completed", ended_at=now)
    second = fleet.campaign(fleet.release("3.0.0", *old.device_types.all()), [100])
    fleet.enlist(second, [device])
    offers.offer(second, now + HOUR)
    assert second.updates.get().fallback == old


def test_a_rollback_undoes_nothing_on_who_runs_another_version_by_now():
    old = fleet.release("1.0.0")
    bad = fleet.release("2.0.0", *old.device_types.all())
    hotfixed, other = simulated.fleet_of(fleet.devices(2, bad))
    campaign = fleet.campaign(bad, [100])
    fleet.enlist(campaign, [hotfixed.device, other.device])
    Stage.objects.update(state="rolling", started_at=NOW)
    ended = lambda: Campaign.objects.get(pk=campaign.pk).state == "completed"  # noqa: E731
    now = simulated.run(
        lambda: [campaign.pk], [hotfixed, other], NOW, until=ended, advance=advancing.advance, every=HOUR
    )
    hotfixed.go_offline(now)
    campaigns.roll_back(campaign, StaffFactory(), "It is bad.", now)
    child = Campaign.objects.get(rollback_of=campaign)
    advancing.advance(child.pk, now)
    hotfixed.version, hotfixed.boot = "2.0.1", 77  # by hand
    hotfixed.come_online(now + DAY)
    advancing.advance(child.pk, now + DAY + MINUTE)
    left, led = (child.updates.get(device=each.device) for each in (hotfixed, other))
    assert (left.state, left.reason_code, left.permit) == ("skipped", offers.ELSEWHERE, "")
    assert led.offered_at and led.permit
