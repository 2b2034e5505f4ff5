"""Plans: whom a campaign is for, who is skipped and why, its stages in real numbers, and how long it will take."""

from datetime import timedelta

import pytest

from devices.models import Device, Group, Presence, Site
from firmware import ordering, planning
from firmware.models import Campaign, Hold, Ring, Stage, Update
from tests.factories import DeviceTypeFactory, TenantFactory
from tests.firmware import fleet
from tests.firmware.fleet import DAY, MINUTE, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


def draft(release, percents=(10, 100), **fields):
    return fleet.campaign(release, percents, state="draft", **fields)


def started(release, percents=(10, 100), **fields):
    campaign = fleet.campaign(release, percents, **fields)
    planning.materialise(campaign, NOW)
    return campaign


def matched(campaign):
    return set(planning.matching(campaign))


def skipped(campaign):
    return {each.reason_code: each.count for each in planning.dry_run(campaign, NOW).skipped}


def hold(device, version="2.0.0", kind="version"):
    return Hold.objects.create(device=device, kind=kind, version=version, reason="It failed.")


# --- whom -----------------------------------------------------------------------------------------------------------


def test_matches_the_hardware_of_the_release_only(release):
    mine, other = fleet.devices(2, release), fleet.devices(1)
    assert matched(draft(release)) == set(mine) and other


def test_matches_nobody_whose_life_has_ended(release):
    fleet.devices(1, release, state=Device.State.DECOMMISSIONED)
    assert matched(draft(release)) == set()


def test_matches_only_the_tenants_a_release_is_for(release):
    mine, _others = fleet.devices(2, release), fleet.devices(2, release)
    release.tenants.add(mine[0].tenant)
    assert matched(draft(release)) == set(mine)


def test_filters_of_different_kinds_must_all_be_met_and_any_value_of_one_will_do(release):
    tenant = TenantFactory()
    a, b, c, d = fleet.devices(4, release, tenant=tenant)
    red, blue = (Group.objects.create(tenant=tenant, name=name) for name in ("red", "blue"))
    red.devices.add(a, b)
    blue.devices.add(b, c)
    Device.objects.filter(pk__in=[a.pk, c.pk, d.pk]).update(tags=["pilot", "cellular"])
    campaign = draft(release, tags=["pilot", "unheard-of"])
    campaign.groups.add(red, blue)
    assert matched(campaign) == {a, c}


def test_matches_by_site_tenant_and_running_version(release):
    tenant = TenantFactory()
    a, b, c = fleet.devices(3, release, tenant=tenant)
    fleet.devices(1, release, version="1.0.0")
    site = Site.objects.create(tenant=tenant, name="North")
    Device.objects.filter(pk__in=[a.pk, b.pk]).update(site=site)
    fleet.presence(b, firmware_version="1.5.0")
    fleet.presence(c, firmware_version="1.5.0")
    campaign = draft(release, versions=["1.0.0", "1.2.0"])
    campaign.tenants.add(tenant)
    campaign.sites.add(site)
    assert matched(campaign) == {a}


def test_a_ring_is_one_more_filter(release):
    tenant = TenantFactory()
    a, b, c = fleet.devices(3, release, tenant=tenant)
    staging, chosen = (Group.objects.create(tenant=tenant, name=name) for name in ("staging", "chosen"))
    staging.devices.add(a, b)
    chosen.devices.add(b, c)
    ring = Ring.objects.create(name="Staging", order=1)
    ring.groups.add(staging)
    campaign = draft(release, ring=ring)
    assert matched(campaign) == {a, b}
    campaign.groups.add(chosen)
    assert matched(campaign) == {b}


# --- who is skipped -------------------------------------------------------------------------------------------------


def test_says_who_is_skipped_and_why(release):
    release.min_version = "0.9.0"
    release.save()
    fresh, same, newer, old, blocked, boxed, idle, https, unheard = fleet.devices(9, release)
    for device, version in ((same, "2.0.0"), (newer, "2.0.1-rc.1"), (old, "0.8.9"), (unheard, "")):
        fleet.presence(device, firmware_version=version)
    hold(blocked)
    hold(boxed, "", "penalty")
    hold(fresh, "3.0.0")  # another version
    Device.objects.filter(pk=idle.pk).update(state=Device.State.REGISTERED)
    fleet.presence(https, session=-1)
    fleet.presence(unheard, session=-1, last_seen_at=None, online=False)
    planned = planning.dry_run(draft(release), NOW)
    assert {each.reason_code: each.examples for each in planned.skipped} == {
        "not_active": [idle], "mqtt_missing": [https], "penalty_box": [boxed], "already_installed": [same],
        "version_blocked": [blocked], "anti_rollback": [newer], "incompatible": [old],
    }  # fmt: skip
    assert all(each.text and each.count == 1 for each in planned.skipped)
    assert (planned.matching, planned.targets, planned.offline) == (9, 2, 1)


def test_versions_are_compared_as_versions_not_as_text(release):
    first, second = fleet.devices(2, release)
    fleet.presence(first, firmware_version="10.0.0")
    fleet.presence(second, firmware_version="1.10.0")
    assert skipped(draft(release)) == {"anti_rollback": 1}


def test_a_cleared_hold_skips_nobody(release):
    device = fleet.devices(1, release)[0]
    hold(device)
    Hold.objects.update(cleared_at=NOW)
    assert skipped(draft(release)) == {}


# --- dry run --------------------------------------------------------------------------------------------------------


def test_shows_stages_in_real_numbers_and_merges_equal_ones(release):
    fleet.devices(30, release)
    planned = planning.dry_run(draft(release, (1, 2, 5, 10, 25, 100)), NOW)
    assert [(bound.percent, bound.size) for bound in planned.stages] == [(2, 1), (5, 2), (10, 3), (25, 8), (100, 30)]


def test_tells_who_is_offline_and_who_is_busy(release):
    devices = fleet.devices(5, release)
    fleet.presence(devices[0], online=False)
    other = fleet.campaign(fleet.release("1.9.0", *release.device_types.all()))
    fleet.offered(other, devices[1:3])
    planned = planning.dry_run(draft(release), NOW)
    assert (planned.targets, planned.offline, planned.busy) == (5, 1, 2)


def test_changes_nothing(release):
    fleet.devices(3, release)
    campaign = draft(release)
    before = list(Campaign.objects.values()), list(Stage.objects.values())
    planning.dry_run(campaign, NOW)
    assert (list(Campaign.objects.values()), list(Stage.objects.values())) == before
    assert not Update.objects.exists()


def test_no_targets_is_allowed_but_said(release):
    planned = planning.dry_run(draft(release), NOW)
    assert (planned.targets, planned.problems) == (0, [])
    assert [bound.size for bound in planned.stages] == [0]


def test_estimates_pace_verify_times_and_soaks(release):
    fleet.devices(40, release)
    planned = planning.dry_run(draft(release), NOW)
    quick = planned.duration
    campaign = Campaign.objects.get()
    assert planned.each == planning.INSTALL_TIME + campaign.reboot_jitter + campaign.verify_time + timedelta(seconds=30)
    Stage.objects.update(soak=2 * DAY)
    slow = planning.dry_run(Campaign.objects.get(), NOW).duration
    assert timedelta(hours=1) < quick < DAY
    assert slow == quick + 2 * (2 * DAY - 30 * MINUTE)
    Campaign.objects.update(offers_per_minute=1)
    assert planning.dry_run(Campaign.objects.get(), NOW).duration > slow


# --- what keeps it from starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percents", "said"),
    [
        ((), "no stages"),
        ((10, 50), "last stage must be 100 %"),
        ((50, 10, 100), "more percent than the one before"),
        ((10, 10, 100), "more percent than the one before"),
    ],
)
def test_refuses_stages_that_make_no_plan(release, percents, said):
    assert said in " ".join(planning.dry_run(draft(release, percents), NOW).problems)


def test_refuses_a_release_that_is_archived_or_not_trusted(release):
    campaign = draft(release)
    release.state = "archived"
    release.save()
    assert any("archived" in each for each in planning.problems(campaign, NOW))
    key = fleet.trusted_key()
    type(key).objects.update(revoked_at=NOW)
    assert any("revoked" in each for each in planning.problems(campaign, NOW, approved=True))


def test_a_keys_validity_counts_at_the_approval_only(release):
    later = NOW + 400 * DAY
    assert planning.problems(draft(release), later)
    assert not planning.problems(draft(release), later, approved=True)


def test_refuses_an_end_in_the_past(release):
    assert planning.problems(draft(release, ends_at=NOW - DAY), NOW) == ["Its end lies in the past."]


def test_lower_rings_with_such_devices_come_first(release):
    tenant = TenantFactory()
    staging, pilots, others = (Group.objects.create(tenant=tenant, name=str(n)) for n in range(3))
    rings = [Ring.objects.create(name=name, order=n) for n, name in enumerate(("Staging", "Pilots", "Elsewhere"))]
    for ring, group in zip(rings, (staging, pilots, others), strict=True):
        ring.groups.add(group)
    a, b = fleet.devices(2, release, tenant=tenant)
    staging.devices.add(a)
    pilots.devices.add(b)
    others.devices.add(*fleet.devices(1, tenant=tenant))  # of another type: nothing to prove there
    general, second, first = draft(release), draft(release, ring=rings[1]), draft(release, ring=rings[0])
    assert planning.unpassed_rings(first) == []
    assert [each.split("ring ")[1] for each in planning.unpassed_rings(second)] == ["Staging yet."]
    assert len(planning.unpassed_rings(general)) == 2
    passed = fleet.campaign(release, (100,), ring=rings[0], state="completed")
    assert [each for each in planning.unpassed_rings(second) if "no device has verified" in each]
    fleet.offered(passed, [a], "succeeded", ended_at=NOW)
    fleet.campaign(release, ring=rings[1], state="rolled_back")
    assert planning.unpassed_rings(second) == []
    assert [each.split("ring ")[1] for each in planning.unpassed_rings(general)] == ["Pilots yet."]
    assert planning.dry_run(general, NOW).problems == planning.unpassed_rings(general)


# --- what is approved -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda _: Campaign.objects.update(error_rate=300),
        lambda _: Campaign.objects.update(stage_timeout=2 * DAY),
        lambda _: Campaign.objects.update(tags=["pilot"]),
        lambda _: Campaign.objects.update(ends_at=NOW),
        lambda it: it.stages.filter(number=1).update(soak=DAY),
        lambda it: it.stages.filter(number=2).delete(),
        lambda it: it.tenants.add(TenantFactory()),
        lambda it: it.release.device_types.add(
            DeviceTypeFactory(), through_defaults={"version": "2.0.0"}
        ),
        lambda it: type(it.release).objects.update(min_version="1.0.0"),
        lambda _: Campaign.objects.update(release=fleet.release("2.0.0")),
    ],
    ids=["gate", "timeout", "tags", "end", "soak", "stages", "tenants", "hardware", "minimum", "artifact"],
)  # fmt: skip
def test_the_digest_changes_with_whatever_was_approved(release, change):
    campaign = draft(release)
    before = planning.digest(campaign)
    assert planning.digest(Campaign.objects.get()) == before
    change(campaign)
    assert planning.digest(Campaign.objects.get()) != before


def test_the_digest_does_not_hold_what_is_no_part_of_the_plan(release):
    campaign = draft(release)
    before = planning.digest(campaign)
    Campaign.objects.update(name="Another", notes="…", starts_at=NOW)
    assert planning.digest(Campaign.objects.get()) == before


# --- the rows -------------------------------------------------------------------------------------------------------


def test_writes_a_row_for_each_device_and_the_stages_sizes(release):
    devices = fleet.devices(20, release)
    fleet.presence(devices[0], firmware_version="2.0.0")
    campaign = started(release, (1, 2, 10, 100))
    rows = {row.device_id: row for row in campaign.updates.all()}
    assert len(rows) == 20 and len({row.update_id for row in rows.values()}) == 20
    done = rows.pop(devices[0].pk)
    assert (done.state, done.reason_code, done.ended_at) == ("skipped", "already_installed", NOW)
    assert all(row.place == ordering.place(campaign.pk, row.device_id) for row in rows.values())
    assert {(row.state, row.waiting, row.attempt, row.seq) for row in rows.values()} == {("queued", "stage", 1, -1)}
    assert {row.serial for row in rows.values()} == {device.hardware_id for device in devices[1:]}
    # 1 % and 2 % of 19 are the same device: they became one.
    stages = list(campaign.stages.values_list("number", "percent", "size", "upto"))
    assert [stage[:3] for stage in stages] == [(1, 2, 1), (2, 10, 2), (3, 100, 19)]
    for number, _percent, size, upto in stages:
        assert sum(row.place <= upto for row in rows.values()) == size
        assert sum(row.stage <= number for row in rows.values()) == size
    campaign.refresh_from_db()
    assert campaign.targets == 19


def test_writes_stages_also_for_nobody(release):
    campaign = started(release)
    assert list(campaign.stages.values_list("percent", "size")) == [(100, 0)]
    assert campaign.targets == 0


def test_early_stages_can_be_spread_over_sites(release):
    tenant = TenantFactory()
    for n in range(4):
        site = Site.objects.create(tenant=tenant, name=str(n))
        fleet.devices(5, release, tenant=tenant, site=site)
    campaign = started(release, (20, 100), spread_sites=True)
    first = campaign.updates.filter(stage=1)
    assert first.count() == 4 == first.values("device__site").distinct().count()


def test_a_continuous_campaign_takes_in_who_matches_since(release):
    fleet.devices(10, release)
    campaign = started(release, (50, 100), continuous=True)
    late = fleet.devices(3, release)
    busy_now = fleet.devices(1, release, version="2.0.0")[0]
    came = planning.admit(campaign, NOW + MINUTE)
    assert {row.device_id for row in came} == {device.pk for device in late}
    uptos = list(campaign.stages.values_list("upto", flat=True))
    for row in came:
        assert row.place == ordering.place(campaign.pk, row.device_id)
        assert row.stage == ordering.stage_of(row.place, uptos)
    assert campaign.updates.get(device=busy_now).reason_code == "already_installed"
    assert planning.admit(campaign, NOW + MINUTE) == []
    assert campaign.updates.count() == 14


def test_a_continuous_campaign_plans_those_again_whose_reason_has_passed(release):
    blocked, parked, done = fleet.devices(3, release)
    hold(blocked)
    Device.objects.filter(pk=parked.pk).update(state=Device.State.QUARANTINED)
    fleet.presence(done, firmware_version="2.0.0")
    campaign = started(release, continuous=True)
    assert set(campaign.updates.values_list("state", flat=True)) == {"skipped"}
    assert planning.admit(campaign, NOW) == []
    Hold.objects.update(cleared_at=NOW)
    Device.objects.filter(pk=parked.pk).update(state=Device.State.ACTIVE)
    assert {row.device_id for row in planning.admit(campaign, NOW)} == {blocked.pk, parked.pk}
    assert Presence.objects.count() == 3


def test_a_rollback_is_for_nobody_by_its_own_filters(release):
    fleet.devices(2, release)
    child = Campaign.objects.get(pk=fleet.campaign(None, (100,), rollback_of=draft(release)).pk)
    planned = planning.dry_run(child, NOW)
    assert (planned.matching, planned.problems) == (0, ["It has no release."])
    assert planning.digest(child) and planning.unpassed_rings(child) == []


def test_refuses_a_release_without_hardware_or_file(release):
    campaign = draft(release)
    release.compatibilities.all().delete()
    release.artifact.signatures.all().delete()
    release.artifact.delete()
    said = " ".join(planning.problems(Campaign.objects.get(pk=campaign.pk), NOW))
    assert "no device type" in said and "no file" in said
