"""Campaigns for apps: who sees and does what, what a draft may say, and nothing of another tenant."""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Group, Site
from firmware import campaigns
from firmware.api.acts import ACTS
from firmware.models import Campaign, Ring, Update, Verdict
from tests.factories import StaffFactory, TenantFactory, UserFactory, member
from tests.firmware import fleet
from tests.fleetportal.world import staff

pytestmark = pytest.mark.django_db
URL = "/api/v1/campaigns"


def ask(client, user, path="", method="get", body=None, **headers):
    """Ask as somebody; the answer with its document in `.body`."""
    client.force_login(user)
    options = {"content_type": "application/json"} if method != "get" else {}
    data = body if method == "get" else json.dumps(body if body is not None else {})
    answer = getattr(client, method)(URL + path, data, headers=headers, **options)
    answer.body = answer.json()
    return answer


@pytest.fixture
def release():
    return fleet.release("2.0.0")


@pytest.fixture
def author():
    return staff("Firmware author")


def draft(release, **fields):
    return {"name": "Spring", "release": release.pk} | fields


@pytest.fixture
def shared(release):
    """A campaign over two tenants' devices: one campaign, 2 devices of Own, 3 of Foreign."""
    own, foreign = TenantFactory(name="Own Inc"), TenantFactory(name="Foreign Ltd")
    campaign = fleet.campaign(release, name="For all", author=StaffFactory(username="the-author"))
    mine = fleet.devices(2, release, tenant=own)
    theirs = fleet.devices(3, release, tenant=foreign)
    fleet.enlist(campaign, mine + theirs)
    Update.objects.filter(device=mine[0]).update(
        state="downloading", offered_at=timezone.now(), waiting="", progress=42, from_version="1.0.0"
    )
    Verdict.objects.create(campaign=campaign, gate="advance", action="open", text="for 5 devices", figures={"n": 5})
    campaign.own, campaign.foreign, campaign.mine, campaign.theirs = own, foreign, mine, theirs
    return campaign


class TestMakingADraft:
    def test_takes_what_is_told_and_fills_in_the_rest(self, client, author, release):
        tenant = TenantFactory()
        group, site = Group.objects.create(tenant=tenant, name="G"), Site.objects.create(tenant=tenant, name="S")
        ring = Ring.objects.create(name="Staging", order=1)
        told = draft(
            release,
            filters={"tenants": [tenant.slug], "groups": [group.pk], "sites": [site.pk], "tags": ["x"], "versions": []},
            ring=ring.pk,
            stages=[{"percent": 10, "soak_seconds": 60}, {"percent": 100}],
            pace={"max_concurrent": 7, "reboot_jitter_seconds": 0},
            gates={"error_rate_bp": 150, "verify_seconds": 30},
        )
        answer = ask(client, author, "", "post", told)
        assert answer.status_code == 201, answer.body
        made = Campaign.objects.get()
        assert answer.headers["Location"].endswith(f"{URL}/{made.pk}")
        assert (made.state, made.author, made.error_rate, made.verify_time) == (
            "draft", author, 150, timedelta(seconds=30),
        )  # fmt: skip
        assert (made.max_concurrent, made.reboot_jitter, made.offline_rate) == (7, timedelta(0), 500)
        assert [(stage.number, stage.percent, stage.soak.seconds) for stage in made.stages.all()] == [
            (1, 10, 60), (2, 100, 1800),
        ]  # fmt: skip
        assert answer.body["filters"] == told["filters"]
        assert answer.body["gates"]["error_rate_bp"] == 150
        assert answer.body["ring"] == ring.pk

    def test_has_the_usual_stages_when_it_names_none(self, client, author, release):
        answer = ask(client, author, "", "post", draft(release))
        assert [stage["percent"] for stage in answer.body["stages"]] == [1, 5, 10, 25, 100]

    @pytest.mark.parametrize(
        ("told", "path"),
        [
            ({"name": ""}, "$.name"),
            ({"name": "x" * 201}, "$.name"),
            ({"name": "a\0b"}, "$.name"),
            ({"release": 2**62}, "$.release"),
            ({"release": "x"}, "$.release"),
            ({"typo": 1}, "$.typo"),
            ({"gates": {"error_rate": 1}}, "$.gates.error_rate"),
            ({"gates": {"error_rate_bp": 10_001}}, "$.gates.error_rate_bp"),
            ({"gates": {"min_executed": 0}}, "$.gates.min_executed"),
            ({"gates": []}, "$.gates"),
            ({"pace": {"max_concurrent": 0}}, "$.pace.max_concurrent"),
            ({"pace": {"max_concurrent": 2**31}}, "$.pace.max_concurrent"),
            ({"stages": []}, "$.stages"),
            ({"stages": [{"percent": 0}]}, "$.stages[0].percent"),
            ({"stages": [{"percent": 10}, {"percent": 10}, {"percent": 100}]}, "$.stages[1].percent"),
            ({"stages": [{"percent": 10}, {"percent": 99}]}, "$.stages[1].percent"),
            ({"stages": [{"percent": 100, "soak_seconds": -1}]}, "$.stages[0].soak_seconds"),
            ({"stages": [{"percent": 100, "soak": 5}]}, "$.stages[0].soak"),
            ({"stages": [{}]}, "$.stages[0].percent"),
            ({"stages": [1]}, "$.stages[0]"),
            ({"filters": {"tenants": ["nobody"]}}, "$.filters.tenants[0]"),
            ({"filters": {"tenants": ["a\0b"]}}, "$.filters.tenants[0]"),
            ({"filters": {"groups": [2**62]}}, "$.filters.groups[0]"),
            ({"filters": {"sites": ["x"]}}, "$.filters.sites[0]"),
            ({"filters": {"tags": "x"}}, "$.filters.tags"),
            ({"ring": 99}, "$.ring"),
            ({"ends_at": "soon"}, "$.ends_at"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_tells_the_way_to_the_mistake(self, client, author, release, told, path):
        answer = ask(client, author, "", "post", draft(release) | told)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.body["error_code"], answer.body["path"]) == ("invalid", path)
        assert answer.body["detail"].startswith(path)
        assert not Campaign.objects.exists()

    def test_an_archived_release_is_no_release(self, client, author, release):
        release.state = "archived"
        release.save()
        assert ask(client, author, "", "post", draft(release)).body["path"] == "$.release"

    @pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "{", '{"a":' * 3000, "\xff"], ids=range(7))
    def test_a_body_that_is_none_is_refused(self, client, author, body):
        client.force_login(author)
        answer = client.post(URL, body, content_type="application/json")
        assert answer.status_code == 400
        assert answer.json()["error_code"] in ("invalid", "parse_error")

    def test_csrf_is_checked(self, author, release):
        client = Client(enforce_csrf_checks=True)
        assert ask(client, author, "", "post", draft(release)).status_code == 403


class TestEditing:
    def test_changes_what_is_told_and_nothing_else(self, client, author, release):
        pk = ask(client, author, "", "post", draft(release, gates={"burn_rate": 5})).body["id"]
        answer = ask(client, author, f"/{pk}", "patch", {"gates": {"error_rate_bp": 100}, "filters": {"tags": ["x"]}})
        assert answer.status_code == 200, answer.body
        assert (answer.body["gates"]["error_rate_bp"], answer.body["gates"]["burn_rate"]) == (100, 5)
        assert answer.body["filters"]["tags"] == ["x"]
        assert len(answer.body["stages"]) == 5

    def test_replaces_the_stages_as_a_whole(self, client, author, release):
        pk = ask(client, author, "", "post", draft(release)).body["id"]
        answer = ask(client, author, f"/{pk}", "patch", {"stages": [{"percent": 100}]})
        assert [(stage["number"], stage["percent"]) for stage in answer.body["stages"]] == [(1, 100)]
        assert ask(client, author, f"/{pk}", "patch", {"stages": [{}]}).body["path"] == "$.stages[0].percent"

    def test_voids_the_approval(self, client, author, release):
        campaign = fleet.campaign(release, state="scheduled", author=author)
        answer = ask(client, author, f"/{campaign.pk}", "patch", {"pace": {"max_concurrent": 5}})
        assert answer.status_code == 200, answer.body
        assert (answer.body["state"], answer.body["approved_by"]) == ("draft", None)

    @pytest.mark.parametrize("state", ["running", "paused", "aborted", "completed"])
    def test_is_refused_once_it_was_started(self, client, author, release, state):
        ended = {"ended_at": timezone.now()} if state in ("aborted", "completed") else {}
        campaign = fleet.campaign(release, state=state, **ended)
        answer = ask(client, author, f"/{campaign.pk}", "patch", {"name": "Other"})
        assert (answer.status_code, answer.body["error_code"]) == (409, "not_editable")

    def test_is_refused_where_it_changed_since_it_was_looked_at(self, client, author, release):
        made = ask(client, author, "", "post", draft(release))
        path, tag = f"/{made.body['id']}", made.headers["ETag"]
        Campaign.objects.update(figures={"offered": 3})  # moves by itself
        first = ask(client, author, path, "patch", {"name": "Other"}, **{"If-Match": tag})
        assert (first.status_code, first.body["name"]) == (200, "Other")
        second = ask(client, author, path, "patch", {"name": "Third"}, **{"If-Match": tag})
        assert (second.status_code, second.body["error_code"]) == (412, "precondition_failed")
        assert ask(client, author, path, "patch", {"name": "Third"}, **{"If-Match": "*"}).status_code == 200


class TestStaff:
    def test_see_plan_stages_gates_figures_and_where_the_rest_is(self, client, shared):
        Campaign.objects.update(figures={"offered": 1})
        body = ask(client, staff("Support"), f"/{shared.pk}").body
        assert (body["figures"], body["version"], body["author"]) == ({"offered": 1}, "2.0.0", "the-author")
        assert body["stages"][0]["state"] == "rolling"
        assert body["verdicts_url"].endswith(f"{URL}/{shared.pk}/verdicts")

    def test_list_by_state_and_release_newest_first(self, client, shared):
        other = fleet.campaign(fleet.release("3.0.0"), state="draft")
        support = staff("Support")

        def found(**query):
            return [each["id"] for each in ask(client, support, "", body=query).body["results"]]

        assert found() == [other.pk, shared.pk]
        assert found(state="running") == [shared.pk]
        assert found(state=["running", "draft"]) == [other.pk, shared.pk]
        assert found(release=other.release_id) == [other.pk]
        assert ask(client, support, "", body={"state": "nonsense"}).body["path"] == "$.state"

    def test_turn_pages_by_cursor(self, client, shared):
        support = staff("Support")
        first = ask(client, support, f"/{shared.pk}/updates", body={"limit": 3}).body
        assert len(first["results"]) == 3
        client.force_login(support)
        second = client.get(first["next"]).json()
        assert second["next"] is None
        seen = [each["update_id"] for each in first["results"] + second["results"]]
        assert len(set(seen)) == 5

    def test_filter_updates(self, client, shared):
        support, path = staff("Support"), f"/{shared.pk}/updates"

        def found(**query):
            return [each["device_id"] for each in ask(client, support, path, body=query).body["results"]]

        assert found(state="downloading") == [shared.mine[0].device_id]
        assert found(device=shared.theirs[0].device_id) == [shared.theirs[0].device_id]
        assert len(found(waiting="stage")) == 4
        assert found(needs_attention="true") == []
        assert len(found(needs_attention="false")) == 5
        assert found(device="a") == []
        assert ask(client, support, path, body={"device": "\0"}).status_code == 400

    def test_read_verdicts_with_their_numbers(self, client, shared):
        body = ask(client, staff("Support"), f"/{shared.pk}/verdicts").body
        assert [(each["text"], each["figures"]) for each in body["results"]] == [("for 5 devices", {"n": 5})]

    def test_without_a_role_see_nothing(self, client, shared):
        for path in ("", f"/{shared.pk}", f"/{shared.pk}/updates", f"/{shared.pk}/verdicts"):
            assert ask(client, UserFactory(is_staff=True), path).status_code == 403

    def test_what_is_not_there_is_not_found(self, client):
        support = staff("Support")
        for path in ("/0", f"/{10**30}", "/1/updates", "/1/verdicts"):
            answer = ask(client, support, path)
            assert (answer.status_code, answer.body["error_code"]) == (404, "not_found")


class TestCustomers:
    def test_see_campaigns_with_devices_of_theirs_and_count_only_those(self, client, shared):
        fleet.campaign(shared.release, name="Not theirs")
        found = ask(client, member(shared.own)).body["results"]
        told = [(each["name"], each["version"], each["state"]) for each in found]
        assert told == [("Update to 2.0.0", "2.0.0", "running")], "its own name is the staff's"
        assert set(found[0]) == {"id", "url", "name", "version", "state", "devices", "updates_url"}
        counts = {"total": 2, "waiting": 1, "updating": 1, "succeeded": 0, "failed": 0, "rolled_back": 0}
        assert found[0]["devices"] == counts
        detail = ask(client, member(shared.own), f"/{shared.pk}")
        assert detail.body == found[0]
        again = client.get(f"{URL}/{shared.pk}", headers={"If-None-Match": detail.headers["ETag"]})
        assert again.status_code == 304

    def test_see_their_devices_updates_in_their_words(self, client, shared):
        found = ask(client, member(shared.own), f"/{shared.pk}/updates").body["results"]
        assert {each["device_id"] for each in found} == {device.device_id for device in shared.mine}
        assert found[0]["text"] == "downloading 42 %"
        assert not {"detail", "stage", "tenant", "serial", "update_id"} & set(found[0])

    def test_see_how_far_a_download_is_only_while_it_goes_on(self, client, shared):
        mine = Update.objects.filter(device=shared.mine[0])
        mine.update(state="failed", ended_at=timezone.now())
        for user in (member(shared.own), staff("Support")):
            found = ask(client, user, f"/{shared.pk}/updates").body["results"]
            assert {each["progress"] for each in found} == {None}

    def test_see_nothing_of_others(self, client, shared):
        for path in ("", f"/{shared.pk}", f"/{shared.pk}/updates"):
            text = ask(client, member(shared.own), path).content.decode()
            secrets = [
                "For all",
                shared.foreign.slug,
                shared.foreign.name,
                "the-author",
                *(d.device_id for d in shared.theirs),
            ]
            assert [each for each in secrets if each in text] == []

    def test_of_another_tenant_find_nothing(self, client, shared):
        stranger = member(TenantFactory())
        assert ask(client, stranger).body["results"] == []
        assert ask(client, stranger, f"/{shared.pk}").status_code == 404
        assert ask(client, stranger, f"/{shared.pk}/updates").status_code == 404

    def test_of_another_tenant_find_no_update_by_a_filter(self, client, shared):
        query = {"device": shared.theirs[0].device_id}
        assert ask(client, member(shared.own), f"/{shared.pk}/updates", body=query).body["results"] == []

    def test_see_no_verdicts(self, client, shared):
        answer = ask(client, member(shared.own), f"/{shared.pk}/verdicts")
        assert (answer.status_code, answer.body["error_code"]) == (403, "permission_denied")

    @pytest.mark.parametrize("act", ["dry-run", *ACTS])
    def test_do_nothing(self, client, shared, act):
        answer = ask(client, member(shared.own), f"/{shared.pk}/{act}", "post", {"reason": "because"})
        assert answer.status_code == 403
        assert Campaign.objects.get().state == "running"

    def test_make_and_edit_nothing(self, client, shared):
        owner = member(shared.own)
        assert ask(client, owner, "", "post", draft(shared.release)).status_code == 403
        assert ask(client, owner, f"/{shared.pk}", "patch", {"name": "Mine"}).status_code == 403


def test_nobody_is_let_in_without_signing_in(client, shared):
    for path in ("", f"/{shared.pk}", f"/{shared.pk}/updates", f"/{shared.pk}/verdicts"):
        for sent, code in (({}, "not_authenticated"), ({"Authorization": "Bearer fpu_of_a_build"}, "token_unknown")):
            answer = client.get(URL + path, headers=sent)
            assert (answer.status_code, answer.json()["error_code"]) == (401, code)
            assert answer["WWW-Authenticate"]


class TestCosts:
    def questions(self, client, user, path):
        ask(client, user, path)
        with CaptureQueriesContext(connection) as queries:
            assert ask(client, user, path).status_code == 200
        return len(queries)

    def test_are_the_same_for_one_and_for_many(self, client, release):
        tenant = TenantFactory()
        people = [staff("Support"), member(tenant)]

        def add(devices):
            campaign = fleet.campaign(release)
            fleet.enlist(campaign, fleet.devices(devices, release, tenant=tenant))
            return campaign

        def count(campaign):
            paths = ["", f"/{campaign.pk}", f"/{campaign.pk}/updates"]
            return [self.questions(client, user, path) for user in people for path in paths]

        one = count(add(1))
        add(2)
        assert count(add(3)) == one


WHO = {
    "Firmware author": {"submit"},
    "Firmware approver": {"approve", "reject"},
    "Fleet operator": {"schedule", "start", "pause", "resume", "abort", "roll-back", "retry-failed"},
    "Security officer": set(),
    "Support": set(),
}


class TestActs:
    @pytest.mark.parametrize("role", WHO)
    @pytest.mark.parametrize("act", ACTS)
    def test_are_for_their_role_alone(self, client, release, role, act):
        campaign = fleet.campaign(release, state="completed", ended_at=timezone.now())
        body = {"reason": "because"} | ({"starts_at": None} if act == "schedule" else {})
        seen = {"If-Match": ask(client, StaffFactory(), f"/{campaign.pk}").headers["ETag"]}
        answer = ask(client, staff(role), f"/{campaign.pk}/{act}", "post", body, **seen)
        allowed = act in WHO[role]
        assert (answer.status_code != 403) == allowed
        if allowed and act not in ("roll-back", "retry-failed"):  # these may follow a completed one
            assert answer.status_code == 409
            assert answer.body["error_code"]

    @pytest.mark.parametrize("act", ["reject", "pause", "resume", "abort", "roll-back", "retry-failed"])
    @pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "x" * 201}, {"reason": None}], ids=range(4))
    def test_ask_for_a_reason(self, client, release, act, body):
        campaign = fleet.campaign(release)
        answer = ask(client, StaffFactory(), f"/{campaign.pk}/{act}", "post", body)
        assert (answer.status_code, answer.body["path"]) == (400, "$.reason")

    def test_of_unknown_names_are_not_found(self, client, release):
        campaign = fleet.campaign(release)
        assert ask(client, StaffFactory(), f"/{campaign.pk}/explode", "post").status_code == 404
        assert ask(client, StaffFactory(), "/99/pause", "post", {"reason": "x"}).status_code == 404

    def test_lie_ahead_when_scheduled(self, client, release):
        campaign = fleet.campaign(release, state="scheduled")
        body = {"starts_at": "2020-01-01T00:00:00Z"}
        assert ask(client, StaffFactory(), f"/{campaign.pk}/schedule", "post", body).body["path"] == "$.starts_at"

    def test_pause_once_and_again_is_a_conflict(self, client, shared):
        operator = staff("Fleet operator")
        first = ask(client, operator, f"/{shared.pk}/pause", "post", {"reason": "odd noises"})
        assert (first.status_code, first.body["state"], first.body["pause_reason"]) == (200, "paused", "operator")
        second = ask(client, operator, f"/{shared.pk}/pause", "post", {"reason": "odd noises"})
        assert second.status_code == 409
        assert second.headers["Content-Type"] == "application/problem+json"
        verdict = Verdict.objects.filter(campaign=shared)[0]
        assert verdict.user == operator.get_username()

    def test_are_refused_where_it_changed_since_it_was_looked_at(self, client, shared):
        operator = staff("Fleet operator")
        tag = ask(client, operator, f"/{shared.pk}").headers["ETag"]
        ask(client, operator, f"/{shared.pk}/pause", "post", {"reason": "odd noises"})
        answer = ask(client, operator, f"/{shared.pk}/abort", "post", {"reason": "odd"}, **{"If-Match": tag})
        assert (answer.status_code, answer.body["error_code"]) == (412, "precondition_failed")
        assert Campaign.objects.get().state == "paused"

    def test_lead_from_a_draft_to_a_running_campaign(self, client, author, release):
        fleet.devices(3, release)
        pk = ask(client, author, "", "post", draft(release)).body["id"]
        steps = [("submit", author), ("approve", staff("Firmware approver")), ("start", staff("Fleet operator"))]
        states = []
        for act, user in steps:
            seen = {"If-Match": ask(client, user, f"/{pk}").headers["ETag"]}
            states.append(ask(client, user, f"/{pk}/{act}", "post", **seen).body.get("state"))
        assert states == ["pending_approval", "scheduled", "running"]
        assert Update.objects.filter(campaign=pk).count() == 3

    def test_are_not_approved_by_who_wrote_it(self, client, release):
        both = staff("Firmware author")
        both.groups.add(*staff("Firmware approver").groups.all())
        pk = ask(client, both, "", "post", draft(release)).body["id"]
        ask(client, both, f"/{pk}/submit", "post")
        seen = {"If-Match": ask(client, both, f"/{pk}").headers["ETag"]}
        answer = ask(client, both, f"/{pk}/approve", "post", **seen)
        assert (answer.status_code, answer.body["error_code"]) == (403, "two_people")
        assert Campaign.objects.get().state == "pending_approval"

    def test_that_find_another_plan_than_was_approved_leave_a_draft(self, client, release):
        operator = staff("Fleet operator")
        campaign = fleet.campaign(release, state="scheduled")  # its digest is of nothing
        answer = ask(client, operator, f"/{campaign.pk}/start", "post")
        assert (answer.status_code, answer.body["error_code"]) == (409, "plan_changed")
        assert Campaign.objects.get().state == "draft"


def test_a_dry_run_tells_numbers_and_changes_nothing(client, author, release):
    fleet.devices(3, release)
    fleet.devices(1, release, version="2.0.0")
    pk = ask(client, author, "", "post", draft(release)).body["id"]
    answer = ask(client, author, f"/{pk}/dry-run", "post")
    assert answer.status_code == 200, answer.body
    assert (answer.body["targets"], answer.body["offline"]) == (3, 0)
    assert [stage["size"] for stage in answer.body["stages"]][-1] == 3
    assert [(each["reason_code"], each["count"]) for each in answer.body["skipped"]] == [("already_installed", 1)]
    assert answer.body["duration_seconds"] > 0
    assert not Update.objects.exists()


def test_every_act_of_the_room_has_an_address():
    assert {act.replace("-", "_") for act in ACTS} <= set(dir(campaigns))
