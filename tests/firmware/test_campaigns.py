"""What people do with campaigns: who may when, what it leaves behind, and that it happens once."""

from datetime import timedelta

import pytest

from devices.models import Event, Group
from firmware import advancing, campaigns, planning
from firmware.errors import FirmwareError
from firmware.models import Campaign, Hold, Ring, Stage, Stop, Update, Verdict
from tests.factories import StaffFactory, TenantFactory
from tests.firmware import fleet
from tests.firmware.fleet import DAY, HOUR, MINUTE, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


@pytest.fixture
def approver(db):
    return StaffFactory(username="approver")


@pytest.fixture
def draft(release):
    return fleet.campaign(release, (10, 100), state="draft")


@pytest.fixture
def scheduled(draft, approver):
    campaigns.submit(draft, draft.author, NOW)
    campaigns.approve(draft, approver, NOW, "Looks good.")
    return draft


def running(release, count=10, percents=(100,), **fields):
    campaign = fleet.campaign(release, percents, **fields)
    updates = fleet.enlist(campaign, fleet.devices(count, release))
    return campaign, updates


def now_in(campaign):
    return Campaign.objects.get(pk=campaign.pk)


def refused(code):
    return pytest.raises(FirmwareError, check=lambda error: error.code == code)


def traces(campaign):
    """What was kept of the acts: events and verdicts, oldest first."""
    events = Event.objects.filter(kind__startswith="campaign.", detail__campaign=campaign.pk).order_by("pk")
    verdicts = Verdict.objects.filter(campaign=campaign, gate="operator").order_by("pk")
    return [each.kind for each in events], [(each.action, each.user) for each in verdicts]


# --- two people -----------------------------------------------------------------------------------------------------


def test_is_submitted_approved_and_started_with_a_trace_of_each(draft, approver, release):
    fleet.devices(20, release)
    author = draft.author
    campaigns.submit(draft, author, NOW)
    campaigns.approve(draft, approver, NOW, "Looks good.")
    campaigns.start(draft, author, NOW)
    row = now_in(draft)
    assert (row.state, row.approved_by, row.targets, row.started_at) == ("running", approver, 20, NOW)
    assert (draft.state, draft.targets) == ("running", 20)
    assert row.updates.count() == 20
    assert traces(row) == (
        ["campaign.submit", "campaign.approve", "campaign.start"],
        [("submit", author.username), ("approve", "approver"), ("start", author.username)],
    )
    said = Verdict.objects.get(action="approve")
    assert "Looks good." in said.text and said.figures["digest"] == row.approved_digest
    assert said.figures["keys"][0]["valid"] is True


def test_nobody_approves_what_they_wrote(draft):
    campaigns.submit(draft, draft.author, NOW)
    with refused("two_people"):
        campaigns.approve(draft, draft.author, NOW)
    with refused("two_people"):
        campaigns.approve(draft, None, NOW)
    assert now_in(draft).state == "pending_approval"


def test_what_is_said_is_a_sentence(draft, approver, release):
    with refused("wrong_state") as told:
        campaigns.start(draft, approver, NOW)
    assert str(told.value) == "This campaign is a draft: it cannot be started."
    with refused("wrong_state") as told:
        campaigns.abort(fleet.campaign(release, state="completed", ended_at=NOW), approver, "x", NOW)
    assert str(told.value) == "This campaign is completed: it cannot be aborted."
    campaigns.submit(draft, draft.author, NOW)
    campaigns.approve(draft, approver, NOW, "Read twice.")
    campaigns.start(draft, approver, NOW)
    texts = list(draft.verdicts.order_by("pk").values_list("text", flat=True)[:3])
    assert texts == [f"Submitted by {draft.author}.", f"Approved by {approver}. Read twice.", f"Started by {approver}."]


def test_an_incomplete_plan_is_not_submitted(draft):
    draft.stages.filter(percent=100).delete()
    with refused("not_ready"):
        campaigns.submit(draft, draft.author, NOW)
    assert now_in(draft).state == "draft" and traces(draft) == ([], [])


def test_what_lost_its_signer_is_not_approved(draft, approver):
    campaigns.submit(draft, draft.author, NOW)
    type(fleet.trusted_key()).objects.update(revoked_at=NOW)
    with refused("not_ready"):
        campaigns.approve(draft, approver, NOW)


def test_a_rejected_plan_is_a_draft_with_the_reason(draft, approver):
    campaigns.submit(draft, draft.author, NOW)
    campaigns.reject(draft, approver, "Too fast.", NOW)
    assert (now_in(draft).state, now_in(draft).state_reason) == ("draft", "Too fast.")
    with refused("wrong_state"):
        campaigns.reject(draft, approver, "Again.", NOW)


@pytest.mark.parametrize("approve", [False, True], ids=["submitted", "approved"])
def test_an_edit_voids_what_was_said_of_the_plan(draft, approver, approve):
    campaigns.submit(draft, draft.author, NOW)
    if approve:
        campaigns.approve(draft, approver, NOW)
    draft.error_rate = 900
    campaigns.edited(draft, draft.author, NOW)
    draft.save()
    row = now_in(draft)
    assert (row.state, row.approved_by, row.approved_at, row.approved_digest) == ("draft", None, None, "")
    assert row.error_rate == 900


def test_an_edit_of_a_draft_is_nothing_and_of_a_running_one_refused(draft, release):
    campaigns.edited(draft, draft.author, NOW)
    assert traces(draft) == ([], [])
    with refused("wrong_state"):
        campaigns.edited(running(release)[0], draft.author, NOW)


# --- the start ------------------------------------------------------------------------------------------------------


def test_a_plan_that_changed_since_is_not_started(scheduled):
    Stage.objects.filter(campaign=scheduled, number=1).update(soak=timedelta())
    with refused("plan_changed"):
        campaigns.start(scheduled, scheduled.author, NOW)
    row = now_in(scheduled)
    assert (row.state, row.approved_by) == ("draft", None)
    assert "changed after the approval" in row.state_reason
    assert not Update.objects.exists()


def test_an_expired_key_is_no_reason_not_to_start_but_a_revoked_one_is(scheduled):
    type(fleet.trusted_key()).objects.update(revoked_at=NOW)
    with refused("not_ready"):
        campaigns.start(scheduled, scheduled.author, NOW + 400 * DAY)
    assert now_in(scheduled).state == "scheduled"


def test_an_approved_campaign_starts_after_its_keys_validity(scheduled):
    campaigns.start(scheduled, scheduled.author, NOW + 400 * DAY)
    assert now_in(scheduled).state == "running"


def test_a_ring_before_it_must_have_passed(scheduled, release):
    tenant = TenantFactory()
    group = Group.objects.create(tenant=tenant, name="staging")
    group.devices.add(*fleet.devices(1, release, tenant=tenant))
    ring = Ring.objects.create(name="Staging", order=1)
    ring.groups.add(group)
    with refused("not_ready"):
        campaigns.start(scheduled, scheduled.author, NOW)
    first = fleet.campaign(release, (100,), ring=ring, state="completed")
    with refused("not_ready"):  # by nobody
        campaigns.start(scheduled, scheduled.author, NOW)
    fleet.offered(first, group.devices.all(), "succeeded", ended_at=NOW)
    campaigns.start(scheduled, scheduled.author, NOW)


def test_starts_once(scheduled, release):
    fleet.devices(3, release)
    campaigns.start(scheduled, scheduled.author, NOW)
    for state in ("running", "scheduled"):  # also from a stale page
        scheduled.state = state
        with refused("wrong_state"):
            campaigns.start(scheduled, scheduled.author, NOW)
    assert Update.objects.count() == 3


def test_a_continuous_campaign_gets_an_end(release, approver):
    campaign = fleet.campaign(release, (100,), state="draft", continuous=True)
    campaigns.submit(campaign, campaign.author, NOW)
    campaigns.approve(campaign, approver, NOW)
    campaigns.start(campaign, campaign.author, NOW)
    assert now_in(campaign).ends_at == NOW + 30 * DAY


def test_starts_by_itself_when_its_time_has_come(scheduled):
    campaigns.schedule(scheduled, scheduled.author, NOW + HOUR, NOW)
    assert campaigns.start_due(NOW) == 0
    assert campaigns.start_due(NOW + HOUR) == 1
    assert now_in(scheduled).state == "running"
    assert Verdict.objects.get(action="start").user == ""
    with refused("wrong_state"):
        campaigns.schedule(scheduled, scheduled.author, None, NOW)


def test_what_cannot_start_by_itself_is_a_draft_again_and_stops_no_other(scheduled, release, approver):
    bad = fleet.campaign(release, (100,), state="scheduled", starts_at=NOW - HOUR)  # never really approved
    campaigns.schedule(scheduled, scheduled.author, NOW, NOW)
    assert campaigns.start_due(NOW) == 1
    assert (now_in(bad).state, now_in(scheduled).state) == ("draft", "running")
    assert "changed after the approval" in now_in(bad).state_reason and now_in(bad).starts_at is None
    type(fleet.trusted_key()).objects.update(revoked_at=NOW)
    Campaign.objects.filter(pk=bad.pk).update(
        state="scheduled", starts_at=NOW, approved_at=NOW, approved_by=approver, approved_digest=planning.digest(bad)
    )
    digest = planning.digest(now_in(bad))
    Campaign.objects.filter(pk=bad.pk).update(approved_digest=digest)
    assert campaigns.start_due(NOW) == 0
    assert now_in(bad).state == "draft" and "revoked" in now_in(bad).state_reason


def test_an_unforeseen_error_in_one_start_keeps_no_other_from_its_own(release, approver, monkeypatch):
    pair = [fleet.campaign(release, (100,), state="draft") for _ in range(2)]
    for each in pair:
        campaigns.submit(each, each.author, NOW)
        campaigns.approve(each, approver, NOW)
        campaigns.schedule(each, each.author, NOW, NOW)
    whole = planning.materialise

    def broken(campaign, now):
        if campaign.pk == pair[0].pk:
            raise RuntimeError("The disk is full.")
        whole(campaign, now)

    monkeypatch.setattr(planning, "materialise", broken)
    assert campaigns.start_due(NOW) == 1
    assert [now_in(each).state for each in pair] == ["scheduled", "running"]


def test_what_is_over_is_neither_started_nor_taken_back_twice(release, approver):
    with refused("wrong_state"):
        campaigns.start(running(release, state="completed")[0], approver, NOW)
    with refused("wrong_state"):
        campaigns.roll_back(running(release, state="rolled_back")[0], approver, "Again.", NOW)


# --- pause and resume -----------------------------------------------------------------------------------------------


def test_pauses_once_and_resumes(release, approver):
    campaign, _ = running(release)
    campaigns.pause(campaign, approver, "Lunch.", NOW)
    row = now_in(campaign)
    assert (row.state, row.pause_reason, row.paused_at, row.state_reason) == ("paused", "operator", NOW, "Lunch.")
    with refused("wrong_state"):
        campaigns.pause(campaign, approver, "Again.", NOW)
    campaigns.resume(campaign, approver, "Back.", NOW + HOUR)
    row = now_in(campaign)
    assert (row.state, row.pause_reason, row.resumed_at) == ("running", "", NOW + HOUR)
    with refused("wrong_state"):
        campaigns.resume(campaign, approver, "Again.", NOW)


def test_the_soak_clock_stops_while_paused(release, approver):
    campaign, _ = running(release)
    Stage.objects.update(state="soaking", soak_from=NOW)
    campaigns.pause(campaign, approver, "Lunch.", NOW + 10 * MINUTE)
    campaigns.resume(campaign, approver, "Back.", NOW + 70 * MINUTE)
    assert Stage.objects.get().soak_from == NOW + HOUR


def test_is_not_resumed_over_its_error_rate_but_after_a_retry(release, approver):
    campaign, updates = running(release, 20)
    bad = [row.pk for row in updates[:15]]
    Update.objects.filter(pk__in=bad).update(state="failed", offered_at=NOW, ended_at=NOW, waiting="")
    campaigns.pause(campaign, approver, "What is that?", NOW)
    with refused("gate_still_tripped"):
        campaigns.resume(campaign, approver, "Try.", NOW)
    assert campaigns.retry_failed(campaign, approver, "Power was out.", NOW) == 15
    campaigns.resume(campaign, approver, "Try.", NOW)
    assert now_in(campaign).state == "running"


# --- abort ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["draft", "pending_approval", "scheduled"])
def test_what_has_not_begun_is_aborted_at_once(release, approver, state):
    campaign = fleet.campaign(release, state=state)
    campaigns.abort(campaign, approver, "Not needed.", NOW)
    assert (now_in(campaign).state, now_in(campaign).ended_at) == ("aborted", NOW)


def test_an_abort_takes_back_what_is_not_being_installed(release, approver):
    campaign, updates = running(release, 4)
    Update.objects.filter(pk__in=[updates[0].pk]).update(state="installing", offered_at=NOW, installing_at=NOW)
    Update.objects.filter(pk__in=[updates[1].pk]).update(state="downloading", offered_at=NOW)
    campaigns.abort(campaign, approver, "Wrong release.", NOW)
    assert now_in(campaign).state == "aborting"
    assert list(campaign.updates.order_by("place").values_list("state", flat=True)) == ["installing"] + 3 * ["canceled"]
    advancing.advance(campaign.pk, NOW)
    assert now_in(campaign).state == "aborting"
    Update.objects.filter(pk=updates[0].pk).update(state="failed", ended_at=NOW)
    advancing.advance(campaign.pk, NOW)
    row = now_in(campaign)
    assert (row.state, row.ended_at, row.stages.get().state) == ("aborted", NOW, "failed")
    with refused("wrong_state"):
        campaigns.abort(campaign, approver, "Again.", NOW)


# --- retry ----------------------------------------------------------------------------------------------------------


def test_retries_what_failed_but_for_what_is_on_hold(release, approver):
    campaign, updates = running(release, 6)
    ended = ["failed", "timed_out", "rejected", "rolled_back", "failed", "succeeded"]
    for row, state in zip(updates, ended, strict=True):
        Update.objects.filter(pk=row.pk).update(
            state=state, offered_at=NOW, ended_at=NOW, installing_at=NOW, seq=7, reason_code="x", boot_id="b"
        )
    Hold.objects.create(device=updates[3].device, kind="version", version="2.0.0", reason="It rolled back.")
    Hold.objects.create(device=updates[4].device, kind="penalty", reason="Too often.")
    Hold.objects.create(device=updates[0].device, kind="version", version="1.9.0", reason="Another.")
    assert campaigns.retry_failed(campaign, approver, "Once more.", NOW) == 3
    rows = list(campaign.updates.order_by("place"))
    assert [row.state for row in rows] == ["queued"] * 3 + ["rolled_back", "failed", "succeeded"]
    assert {(row.attempt, row.seq, row.offered_at, row.ended_at, row.reason_code, row.boot_id) for row in rows[:3]} == {
        (2, -1, None, None, "", "")
    }


def test_a_completed_campaign_runs_again_for_those_who_failed(release, approver):
    campaign, updates = running(release, 3, state="completed", ended_at=NOW)
    Stage.objects.update(state="passed", ended_at=NOW)
    Update.objects.update(state="succeeded", offered_at=NOW, ended_at=NOW)
    assert campaigns.retry_failed(campaign, approver, "Nobody failed.", NOW) == 0
    assert now_in(campaign).state == "completed"
    Update.objects.filter(pk=updates[0].pk).update(state="timed_out")
    assert campaigns.retry_failed(campaign, approver, "One did.", NOW + DAY) == 1
    row = now_in(campaign)
    assert (row.state, row.ended_at, row.stages.get().state) == ("running", None, "rolling")
    advancing.advance(campaign.pk, NOW + DAY)
    assert Update.objects.active().count() == 1


def test_nothing_is_retried_in_a_campaign_that_is_over(release, approver):
    with refused("wrong_state"):
        campaigns.retry_failed(running(release, state="aborted")[0], approver, "Why not?", NOW)


# --- everything at once ---------------------------------------------------------------------------------------------


def test_stops_everything_once_and_lifts_it_once(approver):
    stop = campaigns.stop_all(approver, "Something is wrong.", NOW)
    assert campaigns.stop_all(approver, "Me too.", NOW) == stop
    assert Stop.objects.count() == 1
    assert campaigns.lift_stop(approver, "It was nothing.", NOW + HOUR)
    assert not campaigns.lift_stop(approver, "Again.", NOW + HOUR)
    assert campaigns.stop_all(approver, "A second time.", NOW + DAY) != stop
    kinds = Event.objects.filter(kind__endswith="stop_all").count(), Event.objects.filter(kind__endswith="lift_stop")
    assert kinds[0] == 2 and kinds[1].get().detail["why"] == "Something is wrong."


def test_nothing_is_offered_during_the_stop(release, approver):
    campaign, _ = running(release)
    campaigns.stop_all(approver, "Something is wrong.", NOW)
    advancing.advance(campaign.pk, NOW)
    assert not Update.objects.active().exists()
    campaigns.lift_stop(approver, "It was nothing.", NOW + MINUTE)
    advancing.advance(campaign.pk, NOW + MINUTE)
    assert Update.objects.active().count() == 10


def test_soak_clocks_stop_with_everything(release, approver):
    campaign, _ = running(release)
    Stage.objects.update(state="soaking", soak_from=NOW)
    campaigns.stop_all(approver, "Something is wrong.", NOW + MINUTE)
    campaigns.lift_stop(approver, "It was nothing.", NOW + 11 * MINUTE)
    assert Stage.objects.get(campaign=campaign).soak_from == NOW + 10 * MINUTE
