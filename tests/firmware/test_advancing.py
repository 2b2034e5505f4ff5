"""Campaigns that move by themselves: locked, counted once, decided, done, told."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.models import Device, Finding, Group, MaintenanceWindow
from firmware import advancing, campaigns, tallies
from firmware.models import Campaign, Hold, Stage, Update, Verdict
from firmware.rollout import Action, Gate
from tests.factories import StaffFactory
from tests.firmware import fleet, simulated
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


def started(release, percents=(10, 100), **fields):
    """A campaign two people agreed on, started."""
    row = fleet.campaign(release, percents, state="draft", **fields)
    campaigns.submit(row, row.author, NOW)
    campaigns.approve(row, StaffFactory(), NOW)
    campaigns.start(row, row.author, NOW)
    return row


def now_in(campaign):
    return Campaign.objects.get(pk=campaign.pk)


def states(campaign):
    return sorted(campaign.updates.values_list("state", flat=True))


def stages(campaign):
    return list(campaign.stages.order_by("number").values_list("state", flat=True))


def run(campaign, devices, until=("completed",), now=NOW, **kwargs):
    """Turns until it is in one of these states; the moment then."""
    return simulated.run(
        lambda: Campaign.objects.under_way().order_by("pk").values_list("pk", flat=True), devices, now,
        until=lambda: now_in(campaign).state in until, advance=advancing.advance, **kwargs,
    )  # fmt: skip


# --- the whole way --------------------------------------------------------------------------------------------------


def test_a_campaign_goes_from_draft_to_completed(release):
    devices = simulated.fleet_of(fleet.devices(20, release))
    campaign = started(release)
    run(campaign, devices)
    assert states(campaign) == ["succeeded"] * 20
    assert list(campaign.stages.values_list("size", "state")) == [(2, "passed"), (20, "passed")]
    assert {each.version for each in devices} == {"2.0.0"}
    actions = list(Verdict.objects.exclude(gate="operator").order_by("pk").values_list("action", "stage"))
    assert [each for each in actions if each[0] != "restart_soak"] == [
        ("open", None), ("soak", 1), ("open", 1), ("soak", 2), ("complete", 2),
    ]  # fmt: skip


def test_every_verdict_keeps_its_numbers(release):
    devices = simulated.fleet_of(fleet.devices(20, release))
    campaign = started(release)
    run(campaign, devices)
    for verdict in Verdict.objects.filter(campaign=campaign).exclude(gate="operator"):
        assert {"numerator", "denominator", "threshold_bp"} <= verdict.figures["error_rate"].keys()
    figures = now_in(campaign).figures
    assert figures["tally"]["succeeded"] == 20 and figures["decision"]["action"] == "complete"


def test_nobody_to_update_is_completed_at_once(release):
    campaign = started(release)
    assert advancing.advance(campaign.pk, NOW).action is Action.COMPLETE
    assert (now_in(campaign).state, stages(campaign)) == ("completed", ["pending"])
    assert advancing.advance(campaign.pk, NOW) is None


def test_a_stage_whose_devices_are_all_skipped_is_no_evidence(release):
    devices = fleet.devices(20, release)
    campaign = started(release, (5, 100))
    first = campaign.updates.get(stage=1)
    fleet.presence(first.device, firmware_version="2.0.0")  # somebody installed it by hand
    run(campaign, simulated.fleet_of([each for each in devices if each.pk != first.device_id]))
    assert (campaign.updates.get(pk=first.pk).reason_code, stages(campaign)) == (
        "already_installed",
        ["pending", "passed"],
    )


def test_one_device_that_never_ends_stops_nobody(release):
    devices = simulated.fleet_of(fleet.devices(20, release))
    campaign = started(release, (10, 100), min_executed=1, error_rate=1000)
    stuck = next(each for each in devices if each.device.pk == _first(campaign).device_id)
    stuck.step = lambda _: False  # it hears, and does nothing
    run(campaign, devices, every=2 * HOUR)
    assert states(campaign).count("succeeded") == 19


def _first(campaign):
    return campaign.updates.order_by("place")[0]


def test_absent_devices_are_skipped_at_the_end_and_offered_when_they_come_back_before(release):
    devices = simulated.fleet_of(fleet.devices(10, release))
    for each in devices[:2]:
        each.go_offline(NOW)
    campaign = started(release, (100,), stage_timeout=6 * HOUR)
    now = NOW
    for _ in range(10):
        advancing.advance(campaign.pk, now)
        simulated.live(devices, now)
        now += 10 * MINUTE
    assert now_in(campaign).state == "running"
    assert campaign.updates.filter(waiting="offline").count() == 2
    devices[0].come_online(now)
    run(campaign, devices, now=now)
    assert states(campaign) == ["skipped"] + ["succeeded"] * 9
    assert campaign.updates.get(state="skipped").reason_code == "offline"


def test_removed_devices_keep_their_serial(release):
    devices = simulated.fleet_of(fleet.devices(10, release))
    campaign = started(release)
    advancing.advance(campaign.pk, NOW)
    gone = [campaign.updates.active().first(), campaign.updates.planned().last()]
    for row in gone:
        Device.objects.filter(pk=row.device_id).update(state=Device.State.DECOMMISSIONED)
        fleet.presence(row.device, online=False)
    left = [each for each in devices if each.device.pk not in {row.device_id for row in gone}]
    run(campaign, left)
    removed = campaign.updates.filter(state="removed")
    assert {row.serial for row in removed} == {row.device.hardware_id for row in gone}


def test_a_snapshot_takes_in_nobody_later_and_a_continuous_campaign_does(release):
    devices = simulated.fleet_of(fleet.devices(5, release))
    snapshot = started(release, (100,))
    run(snapshot, devices)
    late = simulated.fleet_of(fleet.devices(2, release))
    advancing.advance(snapshot.pk, NOW + DAY)
    assert snapshot.updates.count() == 5
    going = started(release, (100,), continuous=True)
    assert going.updates.filter(reason_code="already_installed").count() == 5
    run(going, late, until=("running",))
    later = simulated.fleet_of(fleet.devices(1, release))
    now = run(going, late + later, now=NOW + DAY, every=DAY)
    assert now >= NOW + 30 * DAY
    assert states(going) == ["skipped"] * 5 + ["succeeded"] * 3


# --- bad releases ---------------------------------------------------------------------------------------------------


def test_a_bad_release_stops_in_the_first_stage_and_is_rolled_back(release):
    fleet.release("1.0.0", *release.device_types.all())
    devices = simulated.fleet_of(fleet.devices(40, release), behave={"2.0.0": simulated.BOOT_LOOP})
    campaign = started(release, (10, 50, 100))
    run(campaign, devices, until=("rolled_back", "rollback_incomplete"))
    assert now_in(campaign).state == "rolled_back"
    assert campaign.updates.filter(offered_at__isnull=False).count() == 4
    assert {each.version for each in devices} == {"1.0.0"}
    verdict = Verdict.objects.get(action="roll_back")
    assert verdict.gate == "error_rate" and verdict.figures["error_rate"]["numerator"] > 0
    # They had reverted by themselves: nothing was offered to lead them back, and they are not offered it again.
    assert not now_in(campaign).rollback.updates.exists()
    assert Hold.objects.filter(kind="version", version="2.0.0").count() == campaign.updates.failed().count()


def test_a_campaign_that_only_pauses_waits_for_somebody(release):
    devices = simulated.fleet_of(fleet.devices(20, release), behave={"*": simulated.FAILS})
    campaign = started(release, (50, 100), rolls_back=False)
    run(campaign, devices, until=("paused",))
    row = now_in(campaign)
    assert (row.pause_reason, row.rollback_of) == ("error_rate", None) and "error rate" in row.state_reason
    assert not Campaign.objects.filter(rollback_of=campaign).exists()
    with pytest.raises(Exception, match="again at once"):
        campaigns.resume(row, row.author, "Try.", NOW + DAY)


def test_devices_that_fall_silent_after_their_reboot_stop_it(release):
    devices = simulated.fleet_of(fleet.devices(60, release), behave={"2.0.0": simulated.BRICKED})
    campaign = started(release, (20, 100), error_rate=10_000, install_timeout=DAY)
    run(campaign, devices, until=("rolling_back",))
    assert Verdict.objects.get(action="roll_back").gate == "offline_rate"


def test_an_outage_is_not_blamed_on_the_release(release):
    devices = simulated.fleet_of(fleet.devices(60, release))
    campaign = started(release, (20, 100), error_rate=10_000, install_timeout=DAY)
    advancing.advance(campaign.pk, NOW)
    for each in devices:
        while each.work is None or each.work.step < 5:
            if not each.step(NOW):
                break
    for each in devices:
        each.go_offline(NOW + MINUTE)
    advancing.advance(campaign.pk, NOW + 12 * MINUTE)
    assert (now_in(campaign).state, now_in(campaign).pause_reason) == ("paused", "offline_rate")


def test_in_the_last_stage_the_rest_of_the_fleet_tells_an_outage(release):
    devices = simulated.fleet_of(fleet.devices(20, release))
    others = fleet.devices(20)
    campaign = started(release, (100,), error_rate=10_000, install_timeout=DAY, max_concurrent=100)
    advancing.advance(campaign.pk, NOW)
    for each in devices:
        while each.work is None or each.work.step < 5:
            if not each.step(NOW):
                break
        each.go_offline(NOW + MINUTE)
    fallen = [each for each in devices if each.work]
    assert fallen
    for each in others[:10]:
        fleet.presence(each, online=False, changed_at=NOW + MINUTE)
    advancing.advance(campaign.pk, NOW + 12 * MINUTE)
    row = now_in(campaign)
    assert (row.state, row.pause_reason) == ("paused", "offline_rate")
    assert row.figures["tally"]["control"] >= 20 and row.figures["tally"]["control_gone"] >= 10


def test_devices_that_come_back_while_a_stage_is_watched_are_waited_for(release):
    devices = simulated.fleet_of(fleet.devices(4, release))
    for each in devices[1:]:
        each.go_offline(NOW)
    campaign = started(release, (100,), min_executed=1)
    run(campaign, devices, until=("running",))
    now = NOW
    while stages(campaign) != ["soaking"]:
        simulated.live(devices, now)
        now += 10 * MINUTE
        advancing.advance(campaign.pk, now)
    for each in devices[1:]:
        each.come_online(now)
    actions = [advancing.advance(campaign.pk, now).action for _ in range(2)]
    assert stages(campaign) == ["rolling"], actions
    assert Verdict.objects.filter(action="resume_rolling").exists()
    run(campaign, devices, now=now)
    assert states(campaign) == ["succeeded"] * 4


def test_a_device_on_hold_is_not_offered_it_also_when_it_was_planned(release):
    device = fleet.devices(1, release)[0]
    campaign = started(release, (100,))
    Hold.objects.create(device=device, kind="version", version="2.0.0", reason="It failed elsewhere.")
    advancing.advance(campaign.pk, NOW)
    assert campaign.updates.get().reason_code == "version_blocked"


def test_a_stage_that_does_not_move_is_told_once_and_paused_later(release):
    fleet.devices(4, release)
    campaign = started(release, (100,), stage_timeout=HOUR, install_timeout=DAY)
    advancing.advance(campaign.pk, NOW)
    Update.objects.active().update(state="installing", installing_at=NOW, changed_at=NOW)
    assert advancing.advance(campaign.pk, NOW + HOUR).action is Action.ALERT
    assert advancing.advance(campaign.pk, NOW + HOUR).action is Action.OFFER
    found = Finding.objects.get()
    assert (found.kind, found.subject, found.count) == ("campaign_stuck", f"#{campaign.pk} {campaign.name}", 1)
    assert now_in(campaign).alerted_at == NOW + HOUR
    decision = advancing.advance(campaign.pk, NOW + 3 * HOUR)
    assert (decision.action, decision.gate) == (Action.PAUSE, Gate.EVIDENCE)
    assert now_in(campaign).pause_reason == "no_evidence"
    campaigns.resume(campaign, campaign.author, "They are slow.", NOW + 4 * HOUR)
    assert advancing.advance(campaign.pk, NOW + 4 * HOUR).action is Action.OFFER  # its clock began anew
    stuck = Finding.objects.filter(kind="campaign_stuck")
    assert stuck.get().resolved_at is None
    Update.objects.active().update(state="failed", ended_at=NOW + 4 * HOUR)
    advancing.advance(campaign.pk, NOW + 4 * HOUR)
    assert stuck.get().resolved_at is not None


# --- several campaigns ----------------------------------------------------------------------------------------------


def test_a_newer_release_takes_the_place_of_one_that_is_not_installed_yet(release):
    devices = simulated.fleet_of(fleet.devices(10, release))
    old = started(release, (100,))
    advancing.advance(old.pk, NOW)
    simulated.live(devices, NOW, steps=2)  # downloading
    for each in devices[:3]:
        simulated.live([each], NOW, steps=2)  # installing: these finish first
    new = started(fleet.release("2.1.0", *release.device_types.all()), (100,))
    advancing.advance(new.pk, NOW)
    assert old.updates.filter(state="canceled", reason_code="superseded").count() == 7
    assert new.updates.filter(waiting="busy").count() == 3
    run(new, devices)
    assert {each.version for each in devices} == {"2.1.0"}
    assert states(new) == ["succeeded"] * 10
    run(old, devices)
    assert states(old) == ["canceled"] * 7 + ["succeeded"] * 3


def test_an_older_release_waits_and_then_skips(release):
    devices = simulated.fleet_of(fleet.devices(4, release))
    new = started(release, (100,))
    advancing.advance(new.pk, NOW)
    old = started(fleet.release("1.5.0", *release.device_types.all()), (100,))
    advancing.advance(old.pk, NOW)
    assert states(old) == ["queued"] * 4
    run(old, devices)
    assert set(old.updates.values_list("reason_code", flat=True)) == {"anti_rollback"}
    assert {each.version for each in devices} == {"2.0.0"}


# --- windows, locks, costs ------------------------------------------------------------------------------------------


def test_offers_wait_for_the_window_and_running_installations_do_not(release):
    rows = fleet.devices(4, release)
    group = Group.objects.create(tenant=rows[0].tenant, name="Plant")
    group.devices.add(*rows)
    night = (NOW + 3 * HOUR).time().replace(minute=0, second=0, microsecond=0)
    MaintenanceWindow.objects.create(group=group, kind="slot", weekdays="1234567", starts=night, minutes=60)
    campaign = started(release, (100,))
    advancing.advance(campaign.pk, NOW)
    assert campaign.updates.filter(waiting="window").count() == 4
    opens = (NOW + 3 * HOUR).replace(minute=1)
    advancing.advance(campaign.pk, opens)
    assert Update.objects.active().count() == 4
    simulated.live(simulated.fleet_of(rows), opens + 2 * HOUR)
    advancing.advance(campaign.pk, opens + 3 * HOUR)
    assert states(campaign) == ["succeeded"] * 4


@pytest.mark.parametrize("state", ["paused", "aborted", "completed", "scheduled"])
def test_offers_nothing_unless_it_runs(release, state):
    campaign = fleet.campaign(release, (100,), state=state)
    fleet.enlist(campaign, fleet.devices(3, release))
    advancing.advance(campaign.pk, NOW)
    assert not Update.objects.active().exists()


def test_a_repeated_step_changes_nothing(release):
    devices = simulated.fleet_of(fleet.devices(20, release))
    campaign = started(release)
    advancing.advance(campaign.pk, NOW)
    simulated.live(devices, NOW, steps=4)
    advancing.advance(campaign.pk, NOW + MINUTE)

    def everything():
        return [list(model.objects.order_by("pk").values()) for model in (Update, Stage, Verdict, Campaign, Finding)]

    before = everything()
    advancing.advance(campaign.pk, NOW + MINUTE)
    assert everything() == before


def test_a_step_costs_the_same_however_many_devices_there_are():
    counted = []
    for count in (2, 9):
        made = fleet.release("2.0.0")
        fleet.devices(count, made)
        campaign = started(made, (100,))
        advancing.advance(campaign.pk, NOW)
        with CaptureQueriesContext(connection) as queries:
            advancing.advance(campaign.pk, NOW)
        counted.append(len(queries))
    assert counted[0] == counted[1] < 25


def test_counts_everything_in_one_query(release, django_assert_num_queries):
    campaign = fleet.campaign(release)
    fleet.enlist(campaign, fleet.devices(20, release))
    stage = tallies.open_stage(campaign)
    with django_assert_num_queries(2):  # the other one asks which campaigns give way
        assert tallies.tally(campaign, stage, False, NOW).targets == 20
