"""The buttons of a campaign: who may press which, when, what they ask first, and what they leave behind."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Device, Event
from firmware import campaigns, planning
from firmware.admin.campaign_acts import ACTS
from firmware.admin.campaign_plan import _rounded
from firmware.admin.plain_fields import say_duration
from firmware.models import Campaign, Update, Verdict
from tests.devices.desk import queued, said
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.staff import APPROVER, AUTHOR, OPERATOR, SUPPORT, Press, page

pytestmark = pytest.mark.django_db
ADVANCE = "firmware.tasks.advance"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks):
    queued()
    return lambda role: Press(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


def composed(release, state="draft", **fields):
    """A campaign whose approval is of its real plan: the database lets nobody change that afterwards."""
    campaign = fleet.campaign(release, (10, 100), "draft", **fields)
    approval = {"approved_by": StaffFactory(), "approved_at": timezone.now()}
    told = {} if state in ("draft", "pending_approval") else approval
    told |= {"approved_digest": planning.digest(campaign)} if told else {}
    told |= {"started_at": timezone.now()} if told and state != "scheduled" else {}
    told |= {"paused_at": timezone.now(), "pause_reason": "operator"} if state == "paused" else {}
    Campaign.objects.filter(pk=campaign.pk).update(state=state, **told)
    campaign.refresh_from_db()
    return campaign


BUTTONS = {
    "draft": {AUTHOR: ["submit", "discard"], APPROVER: [], OPERATOR: [], SUPPORT: []},
    "pending_approval": {AUTHOR: ["discard"], APPROVER: ["approve", "reject"], OPERATOR: [], SUPPORT: []},
    "scheduled": {AUTHOR: [], APPROVER: [], OPERATOR: ["start", "schedule", "abort"], SUPPORT: []},
    "running": {AUTHOR: [], APPROVER: [], OPERATOR: ["pause", "abort", "roll_back"], SUPPORT: []},
    "paused": {AUTHOR: [], APPROVER: [], OPERATOR: ["resume", "abort", "roll_back"], SUPPORT: []},
    "aborting": {AUTHOR: [], APPROVER: [], OPERATOR: ["roll_back"], SUPPORT: []},
    "aborted": {AUTHOR: [], APPROVER: [], OPERATOR: ["roll_back"], SUPPORT: []},
    "rolling_back": {AUTHOR: [], APPROVER: [], OPERATOR: [], SUPPORT: []},
    "rolled_back": {AUTHOR: [], APPROVER: [], OPERATOR: [], SUPPORT: []},
    "rollback_incomplete": {AUTHOR: [], APPROVER: [], OPERATOR: ["roll_back"], SUPPORT: []},
    "completed": {AUTHOR: [], APPROVER: [], OPERATOR: ["roll_back"], SUPPORT: []},
}


class TestButtons:
    @pytest.mark.parametrize("state", BUTTONS)
    def test_each_role_sees_what_it_may_do_in_each_state(self, desk, release, state):
        campaign = composed(release, state)
        assert {role: desk(role).buttons(campaign) for role in BUTTONS[state]} == BUTTONS[state]

    def test_failed_ones_are_retried_only_where_there_are_some(self, desk, release):
        campaign = composed(release, "running")
        fleet.offered(campaign, fleet.devices(1, release), "failed", ended_at=timezone.now())
        assert "retry_failed" in desk(OPERATOR).buttons(campaign)

    def test_what_was_discarded_has_nothing_to_roll_back(self, desk, release):
        campaign = composed(release)
        campaigns.abort(campaign, StaffFactory(), "never", timezone.now())
        assert desk(OPERATOR).buttons(campaign) == []
        assert "Roll back: it is aborted now." in said(desk(OPERATOR).press(campaign, "roll_back", "because"))
        assert not Campaign.objects.filter(rollback_of=campaign).exists()

    def test_a_rollback_is_only_paused(self, desk, release):
        parent = composed(release, "rolling_back")
        child = composed(None, "running", rollback_of=parent, name="Rollback")
        assert desk(OPERATOR).buttons(child) == ["pause"]
        assert 'href="{}"'.format(page("change", parent.pk)) in desk(SUPPORT).sees(child)
        assert 'href="{}"'.format(page("change", child.pk)) in desk(SUPPORT).sees(parent)

    @pytest.mark.parametrize("act", [act.name for act in ACTS])
    def test_support_presses_none(self, desk, release, act):
        campaign = composed(release, min(next(each for each in ACTS if each.name == act).states))
        before = Campaign.objects.values().get(pk=campaign.pk)
        assert desk(SUPPORT).press(campaign, act, "because").status_code == 403
        assert Campaign.objects.values().get(pk=campaign.pk) == before

    @pytest.mark.parametrize(
        ("role", "acts"),
        [
            (
                AUTHOR,
                ["approve", "reject", "start", "schedule", "pause", "resume", "abort", "roll_back", "retry_failed"],
            ),
            (
                APPROVER,
                ["submit", "discard", "start", "schedule", "pause", "resume", "abort", "roll_back", "retry_failed"],
            ),
            (OPERATOR, ["submit", "discard", "approve", "reject"]),
        ],
        ids=[AUTHOR, APPROVER, OPERATOR],
    )
    def test_each_role_presses_only_its_own(self, desk, release, role, acts):
        person, campaign = desk(role), composed(release)
        assert [person.press(campaign, act, "because").status_code for act in acts] == [403] * len(acts)

    @pytest.mark.parametrize("act", [act.name for act in ACTS])
    def test_an_act_is_posted(self, desk, release, act):
        campaign = composed(release, "running")
        client = desk(OPERATOR).client
        assert client.put(page("act", campaign.pk, act)).status_code == 405
        # A reload of its question, or an address out of the history: back to the campaign.
        assert client.get(page("act", campaign.pk, act))["Location"] == page("change", campaign.pk)
        assert Campaign.objects.get().state == "running"

    def test_an_unknown_act_or_campaign_is_not_found(self, desk, release):
        person, campaign = desk(OPERATOR), composed(release)
        assert person.post(page("act", campaign.pk, "explode"), {}).status_code == 404
        assert person.post(page("act", 10**9, "pause"), {}).status_code == 404

    def test_somebody_who_is_no_staff_sees_nothing(self, client, release):
        campaign = composed(release, "running")
        for name in ("change", "live", "report", "csv", "edit"):
            assert client.get(page(name, campaign.pk)).status_code == 302
        client.force_login(StaffFactory(is_superuser=False))
        for name in ("change", "live", "report", "csv", "edit"):
            assert client.get(page(name, campaign.pk)).status_code == 403


class TestApproval:
    def test_two_people_bring_a_plan_to_its_start_and_a_third_starts_it(self, desk, release):
        fleet.devices(5, release)
        author = desk(AUTHOR)
        campaign = composed(release, author=author.user)
        assert "Somebody else has to approve it" in said(author.press(campaign, "submit"))
        approver = desk(APPROVER)
        question = approver.press(campaign, "approve").content.decode()
        digest = planning.digest(campaign)
        assert f'name="digest" value="{digest}"' in question
        assert release.artifact.sha256 in question
        assert "5 devices will get 2.0.0; 0 of them are offline now." in question
        assert "Approved." in said(approver.press(campaign, "approve", "Read it twice", digest=digest))
        campaign.refresh_from_db()
        assert (campaign.state, campaign.approved_by, campaign.approved_digest) == ("scheduled", approver.user, digest)
        operator = desk(OPERATOR)
        assert (
            "In stages of together 1, 5; the first reaches at most 1 device."
            in operator.press(campaign, "start").content.decode()
        )
        assert "Started." in said(operator.press(campaign, "start", ""))
        campaign.refresh_from_db()
        assert (campaign.state, campaign.targets) == ("running", 5)
        assert (ADVANCE, f"({campaign.pk},)") in queued()
        acts = list(Verdict.objects.filter(campaign=campaign).order_by("pk").values_list("action", "user"))
        people = [str(each.user) for each in (author, approver, operator)]
        assert acts == list(zip(["submit", "approve", "start"], people, strict=True))

    @pytest.mark.parametrize("act", ["approve", "reject"])
    def test_nobody_decides_about_their_own_plan_whatever_they_are_allowed(self, client, desk, release, act):
        person = desk(APPROVER)
        person.user.is_superuser = True
        person.user.save()
        campaign = composed(release, "pending_approval", author=person.user)
        assert person.buttons(campaign) == ["discard"]
        assert "somebody else has to approve it" in person.sees(campaign)
        response = person.press(campaign, act, "because", digest=planning.digest(campaign))
        assert "somebody else has to decide" in said(response)
        campaign.refresh_from_db()
        assert campaign.state == "pending_approval"

    @pytest.mark.parametrize("digest", ["", "0" * 64])
    def test_what_was_not_looked_at_is_not_approved(self, desk, release, digest):
        campaign = composed(release, "pending_approval")
        assert "look at it again" in said(desk(APPROVER).press(campaign, "approve", "", digest=digest))
        campaign.refresh_from_db()
        assert campaign.state == "pending_approval"

    def test_a_rejection_says_why_and_the_author_reads_it(self, desk, release):
        campaign = composed(release, "pending_approval")
        person = desk(APPROVER)
        assert "Say why" in person.press(campaign, "reject", "").content.decode()
        person.press(campaign, "reject", f"No {SCRIPT}")
        campaign.refresh_from_db()
        assert campaign.state == "draft"
        text = desk(AUTHOR).sees(campaign)
        assert "No &lt;script&gt;" in text
        assert SCRIPT not in text

    def test_what_a_use_case_refuses_is_a_message(self, desk):
        campaign = composed(fleet.release("3.0.0", state="archived"))
        response = desk(AUTHOR).press(campaign, "submit")
        assert response["Location"] == page("change", campaign.pk)
        assert "Release 3.0.0 is archived." in said(response)
        assert queued() == []

    def test_a_plan_that_changed_behind_its_approval_is_a_draft_again_and_stays_one(self, desk, release):
        campaign = composed(release, "scheduled")
        Campaign.objects.filter(pk=campaign.pk).update(ends_at=timezone.now() + timedelta(days=1))
        assert "changed after the approval" in said(desk(OPERATOR).press(campaign, "start", ""))
        campaign.refresh_from_db()
        assert (campaign.state, campaign.approved_at) == ("draft", None)

    def test_a_remark_of_who_starts_it_is_kept(self, desk, release):
        campaign, person = composed(release, "scheduled"), desk(OPERATOR)
        person.press(campaign, "schedule", "At night", starts_at="2126-01-02T03:04")
        person.press(campaign, "start", "No, now")
        told = Verdict.objects.filter(campaign=campaign).values_list("action", "text")
        assert [(act, text.endswith(("At night", "No, now"))) for act, text in told] == [
            ("start", True), ("schedule", True),
        ]  # fmt: skip


class TestSchedule:
    def test_a_moment_is_asked_for_in_utc(self, desk, release):
        campaign, person = composed(release, "scheduled"), desk(OPERATOR)
        assert 'type="datetime-local"' in person.press(campaign, "schedule").content.decode()
        assert "starts at 2126-01-02 03:04 UTC" in said(
            person.press(campaign, "schedule", "", starts_at="2126-01-02T03:04")
        )
        campaign.refresh_from_db()
        assert campaign.starts_at.isoformat() == "2126-01-02T03:04:00+00:00"
        assert "by hand" in said(person.press(campaign, "schedule", "", starts_at=""))
        campaign.refresh_from_db()
        assert campaign.starts_at is None

    @pytest.mark.parametrize(("when", "why"), [("2020-01-01T00:00", "passed"), ("soon", "valid date")])
    def test_a_moment_that_cannot_be_is_said_at_its_field(self, desk, release, when, why):
        campaign = composed(release, "scheduled")
        response = desk(OPERATOR).press(campaign, "schedule", "", starts_at=when)
        assert why in str(response.context["form"].errors["starts_at"])


class TestRunning:
    @pytest.fixture
    def running(self, release):
        """Ten devices: one succeeded, one failed, two offered, one installing, five to come."""
        campaign = composed(release, "running", min_executed=1)
        rows = fleet.enlist(campaign, fleet.devices(10, release), opened=2)
        now = timezone.now()
        states = ["succeeded", "failed", "notified", "downloading", "installing"]
        for row, state in zip(rows, states, strict=False):
            ended = now if state in ("succeeded", "failed") else None
            Update.objects.filter(pk=row.pk).update(state=state, offered_at=now, ended_at=ended, waiting="")
        fleet.presence(rows[0].device, firmware_version="2.0.0")
        return campaign

    @pytest.mark.parametrize(
        ("act", "notes"),
        [
            ("pause", ["No more offers: 5 devices wait", "3 devices that have their offer go on, 1 of them"]),
            ("abort", ["Taken back: 5 devices not offered yet and 2 that have not begun", "never interrupted: 1 device",
                       "Keep the new version: 1 device."]),
            ("roll_back", ["Running 2.0.0 by this campaign now: 1 device.",
                           "Installing now, led back when they have booted: 1 device"]),
            ("retry_failed", ["1 device that failed and 0 that refused get a new attempt"]),
        ],
        ids=["pause", "abort", "roll back", "retry"],
    )  # fmt: skip
    def test_an_act_says_in_numbers_what_it_does_before_it_does_it(self, desk, running, act, notes):
        person = desk(OPERATOR)
        question = person.press(running, act).content.decode()
        assert [note for note in notes if note not in question] == []
        assert "Say why" in person.press(running, act, "").content.decode()
        running.refresh_from_db()
        assert running.state == "running"
        assert not Verdict.objects.exists()

    @pytest.mark.parametrize(
        ("act", "state"),
        [("pause", "paused"), ("abort", "aborting"), ("roll_back", "rolling_back"), ("retry_failed", "running")],
    )
    def test_with_a_reason_it_is_done_and_becomes_evidence(self, desk, running, act, state):
        person = desk(OPERATOR)
        response = person.press(running, act, f"Smoke {SCRIPT}")
        assert response["Location"] == page("change", running.pk)
        running.refresh_from_db()
        assert running.state == state
        event = Event.objects.get(kind=f"campaign.{act}")
        assert (event.user, event.reason) == (person.user, f"Smoke {SCRIPT}")
        assert queued()[-1] == (ADVANCE, f"({running.pk},)")
        text = person.sees(running)
        assert "Smoke &lt;script&gt;" in text
        assert SCRIPT not in text

    def test_the_second_of_two_who_press_is_told_what_it_is_now(self, desk, running):
        person = desk(OPERATOR)
        person.press(running, "pause", "because")
        assert "Pause: it is paused now." in said(person.press(running, "pause", "because"))

    def test_a_paused_one_goes_on(self, desk, running):
        campaigns.pause(running, StaffFactory(), "because", timezone.now())
        Update.objects.filter(state="failed").delete()
        assert "Resumed." in said(desk(OPERATOR).press(running, "resume", "All is well"))

    def test_one_that_would_be_stopped_again_is_not_resumed(self, desk, running):
        campaigns.pause(running, StaffFactory(), "because", timezone.now())
        assert "stopped again at once" in said(desk(OPERATOR).press(running, "resume", "All is well"))


class TestPlan:
    def test_tells_whom_it_would_reach_in_numbers(self, desk, release):
        fleet.devices(7, release)
        fleet.devices(3, release, online=False)
        there = fleet.devices(2, release, version="2.0.0")
        Device.objects.filter(pk__in=[device.pk for device in there]).update(name=SCRIPT)
        response = desk(SUPPORT).client.get(page("change", composed(release).pk))
        text = response.content.decode()
        planned = response.context["planned"]
        assert (planned.targets, planned.offline, planned.matching) == (10, 3, 12)
        assert [(stage.own, stage.size) for stage in response.context["stages"]] == [(1, 1), (9, 10)]
        assert "Runs this version already." in text
        assert f"about {say_duration(_rounded(planned.each))} for one device" in text
        assert (SCRIPT in text, "&lt;script&gt;" in text) == (False, True)
        assert release.artifact.sha256 in text
        assert "build server" in text

    def test_says_what_stands_against_it(self, desk):
        campaign = composed(fleet.release("3.0.0", state="archived"), "scheduled")
        assert "Release 3.0.0 is archived." in desk(SUPPORT).sees(campaign)

    def test_costs_the_same_with_a_few_devices_and_with_many(self, desk, release):
        campaign, person, costs = composed(release), desk(APPROVER), []
        for number in (3, 60):
            fleet.devices(number, release)
            fleet.devices(number, release, version="2.0.0")
            person.sees(campaign)
            with CaptureQueriesContext(connection) as queries:
                person.sees(campaign)
            costs.append(len(queries))
        assert costs[0] == costs[1]
        assert costs[0] <= 45


class TestList:
    def test_tells_each_at_a_glance_and_is_narrowed(self, desk, release):
        running = composed(release, "running", name=SCRIPT)
        fleet.enlist(running, fleet.devices(20, release), opened=2)
        figures = {"tally": {"succeeded": 5, "failed": 2}}
        Campaign.objects.filter(pk=running.pk).update(figures=figures)
        composed(release, "paused", name="Paused one")
        person = desk(SUPPORT)
        text = person.client.get(page("changelist")).content.decode()
        assert "5 of 20, 2 failed" in text
        assert '<progress max="20" value="5"' in text
        assert "2 of 2" in text
        assert (SCRIPT in text, "&lt;script&gt;" in text) == (False, True)
        found = person.client.get(page("changelist", query="?state__exact=paused")).context["cl"]
        assert [row.name for row in found.result_list] == ["Paused one"]
        assert person.client.get(page("changelist", query="?q=2.0.0")).context["cl"].result_count == 2

    def test_costs_the_same_with_one_and_with_three(self, desk, release):
        person, costs = desk(SUPPORT), []
        for _ in range(2):
            composed(release, "running")
            person.client.get(page("changelist"))
            with CaptureQueriesContext(connection) as queries:
                person.client.get(page("changelist"))
            costs.append(len(queries))
            composed(release, "draft")
        assert costs == [costs[0]] * 2

    def test_is_for_staff_who_may_see_campaigns(self, client):
        client.force_login(StaffFactory(is_superuser=False))
        assert client.get(page("changelist")).status_code == 403
