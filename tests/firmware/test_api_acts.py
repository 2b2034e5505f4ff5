"""What people do with campaigns by the API: two approve a plan, each act needs its right and keeps its reason."""

import json

import pytest
from django.contrib.auth.models import Group as Role
from django.utils import timezone

from devices.models import Event, Group
from firmware import campaigns
from firmware.models import Campaign, Verdict
from firmware.tasks import advance
from tests.factories import StaffFactory, TenantFactory
from tests.firmware import fleet
from tests.fleetportal.world import staff

pytestmark = pytest.mark.django_db
AUTHOR, APPROVER, OPERATOR = "Firmware author", "Firmware approver", "Fleet operator"


@pytest.fixture
def release():
    made = fleet.release("2.0.0")
    fleet.devices(2, made)
    return made


@pytest.fixture
def ask(client):
    """Ask as somebody about a campaign; the answer with its document in `.body`."""

    def ask(user, campaign, act="", method="post", **body):
        client.force_login(user)
        address = f"/api/v1/campaigns/{campaign.pk}"
        headers = {"If-Match": client.get(address)["ETag"]} if act == "approve" else {}
        address += act and f"/{act}"
        answer = getattr(client, method)(address, json.dumps(body), content_type="application/json", headers=headers)
        answer.body = answer.json()
        return answer

    return ask


def both():
    """Somebody who may write and approve."""
    person = staff(AUTHOR)
    person.groups.add(Role.objects.get(name=APPROVER))
    return person


def now_in(campaign):
    return Campaign.objects.get(pk=campaign.pk)


class TestTwoPeople:
    @pytest.mark.parametrize("what", ["release", "name", "stages", "groups", "tags", "pace", "nothing"])
    def test_whoever_edits_a_plan_does_not_approve_it(self, ask, release, what):
        group = Group.objects.create(tenant=TenantFactory(), name="G")
        other = fleet.release("6.6.6", *release.device_types.all())
        edit = {
            "release": {"release": other.pk},
            "name": {"name": "Other"},
            "stages": {"stages": [{"percent": 100, "soak_seconds": 0}]},
            "groups": {"filters": {"groups": [group.pk]}},
            "tags": {"filters": {"tags": ["x"]}},
            "pace": {"pace": {"max_concurrent": 9}},
            "nothing": {},
        }[what]
        first, second = StaffFactory(), both()
        campaign = fleet.campaign(release, state="draft", author=first)
        assert ask(second, campaign, method="patch", **edit).body["author"] == second.get_username()
        Campaign.objects.filter(pk=campaign.pk).update(state="pending_approval")
        answer = ask(second, campaign, "approve")
        assert (answer.status_code, answer.body["error_code"]) == (403, "two_people")
        assert now_in(campaign).state == "pending_approval"

    def test_an_approved_plan_that_its_approver_edits_needs_another_approver(self, ask, release):
        first, second, third = StaffFactory(), both(), staff(APPROVER)
        campaign = fleet.campaign(release, state="draft", author=first)
        steps = [ask(first, campaign, "submit"), ask(second, campaign, "approve")]
        steps += [ask(second, campaign, method="patch", pace={"max_concurrent": 9}), ask(second, campaign, "submit")]
        assert [step.status_code for step in steps] == [200] * 4
        assert ask(second, campaign, "approve").body["error_code"] == "two_people"
        assert ask(third, campaign, "approve").body["state"] == "scheduled"
        assert (now_in(campaign).author, now_in(campaign).approved_by) == (second, third)

    def test_nor_does_whoever_wrote_it_before(self, ask, release):
        first, second = both(), staff(AUTHOR)
        campaign = fleet.campaign(release, state="draft", author=first)
        ask(second, campaign, method="patch", name="Other")
        ask(second, campaign, "submit")
        assert ask(first, campaign, "approve").body["error_code"] == "two_people"


class TestWhatWasSeen:
    @pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}, {"If-Match": ""}], ids=["none", "any", "empty"])
    def test_is_named_by_whoever_approves_it(self, client, release, headers):
        campaign = fleet.campaign(release, state="pending_approval")
        client.force_login(staff(APPROVER))
        address = f"/api/v1/campaigns/{campaign.pk}/approve"
        answer = client.post(address, "{}", content_type="application/json", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (428, "precondition_required")
        assert "ETag as If-Match" in answer.json()["detail"]
        assert now_in(campaign).state == "pending_approval"

    def test_and_nothing_else_is_approved(self, client, release):
        campaign = fleet.campaign(release, state="pending_approval")
        client.force_login(staff(APPROVER))
        address = f"/api/v1/campaigns/{campaign.pk}"
        tag = client.get(address)["ETag"]
        Campaign.objects.update(max_concurrent=9)
        answer = client.post(f"{address}/approve", "{}", content_type="application/json", headers={"If-Match": tag})
        assert (answer.status_code, answer.json()["error_code"]) == (412, "precondition_failed")


class TestReasons:
    @pytest.mark.parametrize("reason", [5, True, 1.5, ["x"]], ids=str)
    def test_are_text(self, ask, release, reason):
        answer = ask(StaffFactory(), fleet.campaign(release), "pause", reason=reason)
        assert (answer.status_code, answer.body["path"]) == (400, "$.reason")

    def test_are_kept_also_where_none_is_asked_for(self, ask, release):
        boss = StaffFactory()
        campaign = fleet.campaign(release, state="draft", author=StaffFactory())
        told = {
            "submit": {"reason": "for the winter"},
            "approve": {"reason": "read twice"},
            "schedule": {"reason": "at night", "starts_at": "2126-01-01T00:00:00Z"},
            "start": {"reason": "no, now"},
        }
        for act, body in told.items():
            assert ask(boss, campaign, act, **body).status_code == 200, act
        for act, body in told.items():
            verdict = Verdict.objects.get(campaign=campaign, action=act)
            assert verdict.text.endswith(body["reason"]), act
            assert Event.objects.get(kind=f"campaign.{act}").reason == body["reason"]

    def test_may_be_left_out_there(self, ask, release):
        campaign = fleet.campaign(release, state="draft", author=StaffFactory())
        for act in ("submit", "approve", "start"):
            assert ask(StaffFactory(), campaign, act).status_code == 200, act


class TestDiscarding:
    @pytest.mark.parametrize("state", ["draft", "pending_approval"])
    def test_what_is_only_written_is_its_writers_business(self, ask, release, state):
        campaign = fleet.campaign(release, state=state)
        for role in (APPROVER, OPERATOR):
            answer = ask(staff(role), campaign, "abort", reason="never")
            assert (answer.status_code, answer.body["error_code"]) == (403, "permission_denied")
        assert now_in(campaign).state == state
        assert ask(staff(AUTHOR), campaign, "abort", reason="never").body["state"] == "aborted"

    @pytest.mark.parametrize("state", ["scheduled", "running", "paused"])
    def test_what_was_approved_is_the_operators(self, ask, release, state):
        campaign = fleet.campaign(release, state=state)
        assert ask(staff(AUTHOR), campaign, "abort", reason="never").status_code == 403
        assert now_in(campaign).state == state
        assert ask(staff(OPERATOR), campaign, "abort", reason="never").status_code == 200

    def test_nothing_is_rolled_back_that_reached_nobody(self, ask, release):
        campaign = fleet.campaign(release, state="draft")
        campaigns.abort(campaign, StaffFactory(), "never", timezone.now())
        answer = ask(staff(OPERATOR), campaign, "roll-back", reason="x")
        assert (answer.status_code, answer.body["error_code"]) == (409, "wrong_state")
        assert now_in(campaign).state == "aborted"


def test_what_fails_after_the_act_does_not_undo_it(ask, release, monkeypatch, django_capture_on_commit_callbacks):
    def broken(_):
        raise RuntimeError("the queue is odd")

    monkeypatch.setattr(advance, "delay", broken)
    campaign = fleet.campaign(release)
    with django_capture_on_commit_callbacks(execute=True):
        answer = ask(staff(OPERATOR), campaign, "pause", reason="odd noises")
    assert (answer.status_code, answer.body["state"]) == (200, "paused")
