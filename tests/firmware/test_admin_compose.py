"""Composing a campaign: the form in people's words, its errors where they belong, and what an edit costs."""

from datetime import timedelta

import pytest
from django.utils import timezone

from devices.models import Event, Group, Site
from firmware import campaigns, planning
from firmware.admin.campaign_form import CampaignForm
from firmware.admin.plain_fields import read_duration, say_duration, say_percent
from firmware.errors import FirmwareError
from firmware.models import Campaign, Ring
from tests.devices.desk import said
from tests.factories import TenantFactory, UserFactory
from tests.firmware import fleet
from tests.firmware.staff import APPROVER, AUTHOR, OPERATOR, ROLES, SUPPORT, Press, page

pytestmark = pytest.mark.django_db
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def desk(client, django_capture_on_commit_callbacks):
    return lambda role=AUTHOR: Press(client, django_capture_on_commit_callbacks, role)


def answers(made, stages=((1, "30 min"), (5, "30 min"), (100, "1 h")), **told):
    """The form as somebody sends it who changes nothing else."""
    rows = {
        f"stages-{n}-{name}": value
        for n, row in enumerate(stages)
        for name, value in zip(("percent", "soak"), row, strict=True)
    }
    return {
        "name": "Winter", "release": made.pk, "notes": "", "tags": "", "versions": "", "ring": "",
        "ends_at_0": "", "ends_at_1": "", "max_concurrent": 100, "offers_per_minute": 600, "use_windows": "on",
        "reboot_jitter": "5 min", "download_attempts": 5, "rolls_back": "on", "error_rate": "2", "offline_rate": "5",
        "reject_rate": "20", "burn_rate": 3, "success_target": "99", "min_executed": 10, "offline_grace": "10 min",
        "verify_time": "5 min", "install_timeout": "1 h", "stage_timeout": "1 d",
        "stages-TOTAL_FORMS": max(len(stages), 5), "stages-INITIAL_FORMS": 0, "stages-MIN_NUM_FORMS": 0,
        "stages-MAX_NUM_FORMS": 1000,
    } | rows | told  # fmt: skip


def stages(campaign):
    return [(stage.number, stage.percent, stage.soak) for stage in campaign.stages.order_by("number")]


class TestWords:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30 min", 1800), ("45 s", 45), ("1h", 3600), ("1 h 30 min", 5400), ("2 days", 172_800), ("0", 0),
         ("90 Minutes", 5400), ("1 h, 5 s", 3605)],
    )  # fmt: skip
    def test_a_duration_is_read_as_people_write_it(self, text, seconds):
        assert read_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize("text", ["", "30", "soon", "-5 min", "1.5 h", "5 parsecs", "00:30", "1 h 5"])
    def test_what_is_no_duration_is_refused(self, text):
        with pytest.raises(ValueError, match="30 min"):
            read_duration(text)

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0, "0 s"), (45, "45 s"), (1800, "30 min"), (90_061, "1 d 1 h 1 min 1 s")]
    )
    def test_a_duration_is_written_as_it_is_read(self, seconds, text):
        assert say_duration(timedelta(seconds=seconds)) == text
        assert read_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(("points", "text"), [(0, "0"), (200, "2"), (50, "0.5"), (1225, "12.25"), (10_000, "100")])
    def test_a_rate_is_written_with_the_digits_it_needs(self, points, text):
        assert say_percent(points) == text


class TestCompose:
    def test_a_form_that_is_only_named_proposes_careful_stages(self, desk):
        release = fleet.release()
        form = desk().client.get(page("add", query=f"?release={release.pk}")).context["adminform"].form
        text = desk().client.get(page("add", query=f"?release={release.pk}")).content.decode()
        assert form.initial["release"] == str(release.pk)
        assert [f'value="{percent}"' in text for percent in (1, 5, 10, 25, 100)] == [True] * 5
        assert text.count('value="30 min"') >= 5

    def test_what_is_composed_is_a_draft_of_its_author_and_leads_to_its_dry_run(self, desk):
        release, person = fleet.release(), desk()
        response = person.post(
            page("add"), answers(release, error_rate="0.25", tags="beta, cold, beta", versions="1.0.0")
        )
        campaign = Campaign.objects.get()
        assert response["Location"] == page("change", campaign.pk)
        assert (campaign.state, campaign.author, campaign.error_rate) == ("draft", person.user, 25)
        assert (campaign.tags, campaign.versions) == (["beta", "cold"], ["1.0.0"])
        assert stages(campaign) == [(1, 1, 30 * MINUTE), (2, 5, 30 * MINUTE), (3, 100, HOUR)]
        event = Event.objects.get(kind="campaign.added")
        assert event.user == person.user

    def test_the_defaults_of_the_model_are_what_the_form_proposes(self, desk):
        form = desk().client.get(page("add")).context["adminform"].form
        shown = {name: form[name].value() for name in ("error_rate", "success_target", "verify_time", "stage_timeout")}
        fields = form.fields
        assert {name: fields[name].prepare_value(value) for name, value in shown.items()} == {
            "error_rate": "2", "success_target": "99", "verify_time": "5 min", "stage_timeout": "1 d",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("told", "where", "why"),
        [
            ({"error_rate": "2.345"}, "error_rate", "2 decimal places"),
            ({"error_rate": "101"}, "error_rate", "less than or equal to 100"),
            ({"success_target": "100"}, "success_target", "99.99"),
            ({"verify_time": "5"}, "verify_time", "30 min"),
            ({"install_timeout": "2 d"}, "install_timeout", "Longer than the stage timeout"),
            ({"install_timeout": "5 s"}, "install_timeout", "between 1 min and"),
            ({"ends_at_0": "2020-01-01", "ends_at_1": "00:00", "continuous": "on"}, "ends_at", "passed"),
            ({"ends_at_0": "2120-01-01", "ends_at_1": "00:00"}, "ends_at", "Only a continuous"),
            ({"release": 0}, "release", "valid choice"),
            ({"name": ""}, "name", "required"),
            ({"max_concurrent": 0}, "max_concurrent", "greater than or equal to 1"),
            ({"tags": "x" * 64}, "tags", "Longer than 63"),
        ],
        ids=["decimals", "over 100", "aim", "no unit", "timeouts", "too short", "past end", "end of none", "release",
             "name", "pace", "tag"],
    )  # fmt: skip
    def test_what_is_wrong_is_said_at_its_field(self, desk, told, where, why):
        response = desk().post(page("add"), answers(fleet.release(), **told))
        errors = response.context["adminform"].form.errors
        assert list(errors) == [where]
        assert why in str(errors[where])
        assert not Campaign.objects.exists()

    @pytest.mark.parametrize(
        ("rows", "why"),
        [
            (((5, ""), (5, ""), (100, "")), "more than the one before"),
            (((5, ""), (50, "")), "100 percent"),
            (((0, ""), (100, "")), "greater than or equal to 1"),
            (((101, ""),), "less than or equal to 100"),
            (((100, "2 d"),), "Longer than the stage timeout"),
            (((100, "later"),), "30 min"),
            ((), "at least one stage"),
        ],
        ids=["equal", "no end", "zero", "too much", "long soak", "no duration", "none"],
    )
    def test_stages_that_make_no_sense_are_said_in_their_row(self, desk, rows, why):
        response = desk().post(page("add"), answers(fleet.release(), rows))
        assert why in response.content.decode()
        assert not Campaign.objects.exists()

    def test_rows_left_empty_are_not_there(self, desk):
        desk().post(page("add"), answers(fleet.release(), ((10, ""), ("", "30 min"), (100, "0"))))
        assert stages(Campaign.objects.get()) == [(1, 10, 30 * MINUTE), (2, 100, timedelta())]

    def test_groups_and_sites_of_other_tenants_are_refused(self, desk):
        acme, other = TenantFactory(), TenantFactory(name="Other")
        group = Group.objects.create(tenant=other, name="Pilot")
        site = Site.objects.create(tenant=other, name="Quay")
        told = answers(fleet.release(), tenants=[acme.pk], groups=[group.pk], sites=[site.pk])
        errors = desk().post(page("add"), told).context["adminform"].form.errors
        assert list(errors) == ["groups", "sites"]
        assert "Pilot" in str(errors)

    def test_an_archived_release_is_not_offered(self, desk):
        archived = fleet.release(state="archived")
        errors = desk().post(page("add"), answers(archived)).context["adminform"].form.errors
        assert list(errors) == ["release"]

    @pytest.mark.parametrize("role", [role for role in ROLES if role != AUTHOR])
    def test_is_for_authors(self, desk, role):
        person = desk(role)
        assert person.client.get(page("add")).status_code == 403
        assert person.post(page("add"), answers(fleet.release())).status_code == 403
        assert not Campaign.objects.exists()


class TestEdit:
    def answered(self, campaign, **told):
        rows = list(campaign.stages.order_by("number"))
        kept = tuple((stage.percent, say_duration(stage.soak)) for stage in rows)
        ids = {f"stages-{n}-id": stage.pk for n, stage in enumerate(rows)}
        ids |= {f"stages-{n}-campaign": campaign.pk for n, _ in enumerate(rows)}
        form = {"stages-INITIAL_FORMS": len(rows), "stages-TOTAL_FORMS": len(rows) + 1}
        return answers(campaign.release, kept) | ids | form | {"why": "x"} | told

    def test_a_draft_keeps_its_state_and_gets_its_last_writer_as_author(self, desk):
        campaign, person = fleet.campaign(fleet.release(), (10, 100), "draft"), desk()
        told = self.answered(campaign, name="Spring", offline_grace="1 h", **{"stages-0-percent": 20})
        response = person.post(page("edit", campaign.pk), told)
        assert response["Location"] == page("change", campaign.pk)
        campaign.refresh_from_db()
        assert (campaign.name, campaign.state, campaign.author) == ("Spring", "draft", person.user)
        assert campaign.offline_grace == HOUR
        assert [row[:2] for row in stages(campaign)] == [(1, 20), (2, 100)]

    @pytest.mark.parametrize("what", ["stages", "groups", "tags", "nothing"])
    @pytest.mark.parametrize("state", ["draft", "pending_approval", "scheduled"])
    def test_whoever_saves_a_plan_does_not_approve_it_whatever_they_changed(self, desk, state, what):
        group = Group.objects.create(tenant=TenantFactory(), name="G")
        campaign, person = fleet.campaign(fleet.release(), (10, 100), state), desk()
        told = {"stages": {"stages-0-percent": 20}, "groups": {"groups": [group.pk]}, "tags": {"tags": "x"}}
        person.post(page("edit", campaign.pk), self.answered(campaign, **told.get(what, {})))
        campaign.refresh_from_db()
        assert (campaign.author, campaign.state) == (person.user, "draft")
        campaigns.submit(campaign, person.user, timezone.now())
        person.user.is_superuser = True
        person.user.save()
        assert "approve" not in person.buttons(campaign)
        response = person.press(campaign, "approve", "because", digest=planning.digest(campaign))
        assert "somebody else has to decide" in said(response)
        with pytest.raises(FirmwareError) as refused:
            campaigns.approve(campaign, person.user, timezone.now())
        assert refused.value.code == "two_people"

    def test_a_stage_is_removed_and_another_added(self, desk):
        campaign = fleet.campaign(fleet.release(), (10, 50, 100), "draft")
        told = self.answered(campaign, **{"stages-0-DELETE": "on", "stages-3-percent": "", "stages-1-percent": 30})
        desk().post(page("edit", campaign.pk), told)
        assert [row[:2] for row in stages(campaign)] == [(1, 30), (2, 100)]

    @pytest.mark.parametrize("state", ["pending_approval", "scheduled"])
    def test_what_was_submitted_is_a_draft_again_and_the_page_says_so_before_and_after(self, desk, state):
        boss = UserFactory(username="ada")
        campaign, person = fleet.campaign(fleet.release(), (100,), state, approver=boss), desk()
        before = person.client.get(page("edit", campaign.pk)).content.decode()
        assert ("ada approved it. Saving voids that" if state == "scheduled" else "Saving makes it a draft") in before
        response = person.post(page("edit", campaign.pk), self.answered(campaign, name="Spring", max_concurrent=7))
        campaign.refresh_from_db()
        assert (campaign.state, campaign.approved_by, campaign.approved_digest) == ("draft", None, "")
        assert (campaign.name, campaign.max_concurrent) == ("Spring", 7)
        assert ("The approval by ada is void" if state == "scheduled" else "was submitted") in said(response)

    @pytest.mark.parametrize("state", ["running", "paused", "completed", "aborted"])
    def test_once_it_has_started_it_is_not_edited(self, desk, state):
        campaign, person = fleet.campaign(fleet.release(), (100,), state), desk()
        response = person.post(page("edit", campaign.pk), self.answered(campaign, name="Spring"))
        assert response["Location"] == page("change", campaign.pk)
        assert "not edited any more" in said(response)
        campaign.refresh_from_db()
        assert campaign.name != "Spring"

    def test_one_that_starts_while_somebody_types_keeps_its_plan(self, desk, monkeypatch):
        campaign, person = fleet.campaign(fleet.release(), (100,), "scheduled"), desk()
        told = self.answered(campaign, name="Spring")

        clean = CampaignForm.clean

        def started_meanwhile(form):
            Campaign.objects.filter(pk=campaign.pk).update(state="running", started_at=timezone.now())
            return clean(form)

        monkeypatch.setattr(CampaignForm, "clean", started_meanwhile)
        response = person.post(page("edit", campaign.pk), told)
        assert "has started meanwhile" in said(response)
        campaign.refresh_from_db()
        assert (campaign.name != "Spring", campaign.stages.count()) == (True, 1)

    @pytest.mark.parametrize("role", [APPROVER, OPERATOR, SUPPORT])
    def test_is_for_authors(self, desk, role):
        campaign, person = fleet.campaign(fleet.release(), (100,), "draft"), desk(role)
        assert person.client.get(page("edit", campaign.pk)).status_code == 403
        assert person.post(page("edit", campaign.pk), self.answered(campaign)).status_code == 403
        assert "Edit the plan" not in person.sees(campaign)

    def test_the_page_itself_takes_no_form(self, desk):
        campaign, person = fleet.campaign(fleet.release(), (100,), "draft"), desk()
        assert person.post(page("change", campaign.pk), self.answered(campaign)).status_code == 405

    def test_a_ring_is_chosen_by_name(self, desk):
        ring = Ring.objects.create(name="Staging", order=1)
        desk().post(page("add"), answers(fleet.release(), ring=ring.pk))
        assert Campaign.objects.get().ring == ring
