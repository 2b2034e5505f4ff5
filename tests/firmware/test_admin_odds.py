"""The staff's pages of firmware when something is not as usual: gone, refused, away, or between two moments."""

from datetime import timedelta
from decimal import Decimal

import pytest
from celery.exceptions import OperationalError
from django.template import Context, Template
from django.utils import timezone

from firmware import campaigns, sboms
from firmware.admin.campaign_plan import _rounded
from firmware.admin.campaign_standing import count, standing
from firmware.admin.plain_fields import FriendlyDurationField, PercentField, WordsField
from firmware.errors import FirmwareError
from firmware.models import Campaign, Stop
from firmware.tasks import advance
from tests.devices.desk import said
from tests.factories import StaffFactory
from tests.firmware import fleet, office
from tests.firmware.office import errors, image, sit, url
from tests.firmware.staff import AUTHOR, OPERATOR, SUPPORT, Press, page

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(client, ca, django_capture_on_commit_callbacks):
    return lambda role: Press(client, django_capture_on_commit_callbacks, role)


@pytest.fixture
def release(db):
    return fleet.release("2.0.0")


@pytest.mark.parametrize("model", ["release", "trustedkey", "update", "campaign", "stop"])
def test_what_is_gone_is_said_on_the_index_or_not_found(desk, model):
    assert desk("Security officer").client.get(url(model, "change", 10**9)).status_code in (302, 404)


class TestQuestions:
    def test_before_a_resume_it_is_said_what_goes_on(self, desk, release):
        campaign = fleet.campaign(release, (100,), "paused")
        fleet.enlist(campaign, fleet.devices(3, release))
        Stop.objects.create(started_by=StaffFactory(), reason="Smoke")
        question = desk(OPERATOR).press(campaign, "resume").content.decode()
        for note in ("Offers go on: 3 devices", "0 succeeded and 0 failed", "All firmware is stopped now (Smoke)"):
            assert note in question

    def test_before_a_draft_is_discarded(self, desk, release):
        question = desk(AUTHOR).press(fleet.campaign(release, (100,), "draft"), "discard").content.decode()
        assert "nobody was offered anything" in question
        campaign = fleet.campaign(release, (100,), "draft")
        assert said(desk(AUTHOR).press(campaign, "discard", "never")) == "Discarded."

    def test_of_a_plan_for_nobody(self, desk, release):
        question = desk(OPERATOR).press(fleet.campaign(release, (100,), "scheduled"), "start").content.decode()
        assert "0 devices will get 2.0.0" in question


class TestAway:
    def test_an_act_is_done_while_the_queue_is_away(self, desk, release, monkeypatch):
        def away(_):
            raise OperationalError

        monkeypatch.setattr(advance, "delay", away)
        campaign = fleet.campaign(release, (100,))
        assert "Paused." in said(desk(OPERATOR).press(campaign, "pause", "because"))

    def test_devices_are_counted_anew_while_the_cache_is_away(self, release, settings):
        campaign = fleet.campaign(release, (100,))
        fleet.enlist(campaign, fleet.devices(2, release))
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
        assert standing(campaign) == count(campaign)
        assert standing(campaign).planned == 2


class TestStop:
    def test_what_is_refused_is_a_message(self, client, ca, monkeypatch):
        def refuse(*_):
            raise FirmwareError("Not today.", "refused")

        monkeypatch.setattr(campaigns, "stop_all", refuse)
        sit(client, OPERATOR)
        assert "Not today." in office.said(client.post(url("stop", "all"), {"reason": "x"}, follow=True))

    def test_there_is_none_to_lift(self, client, ca):
        sit(client, OPERATOR)
        assert "No stop is in force." in client.get(url("stop", "lift")).content.decode()

    def test_a_page_that_knows_nobody_tells_nothing(self):
        Stop.objects.create(started_by=StaffFactory(), reason="Smoke")
        assert "Smoke" not in Template("{% load firmware %}{% stop_banner %}").render(Context({}))


class TestPlanPage:
    @pytest.mark.parametrize(
        ("key", "badge"),
        [
            ({"not_after": timezone.now() - timedelta(days=1)}, "expired"),
            ({"not_before": timezone.now() + timedelta(days=1)}, "Not valid yet"),
            ({"revoked_at": timezone.now(), "reason": "stolen"}, "revoked"),
        ],
        ids=["expired", "early", "revoked"],
    )
    def test_tells_what_a_signature_is_worth_now(self, desk, key, badge):
        fleet.trusted_key("odd", **key)
        campaign = fleet.campaign(fleet.release("2.0.0", key="odd"), (100,), "draft")
        found = desk(SUPPORT).client.get(page("change", campaign.pk)).context["signed"]
        assert badge in str(found[0].badge)

    def test_an_estimate_is_told_to_the_minute(self):
        assert [_rounded(timedelta(seconds=each)) for each in (45, 89, 91)] == [
            timedelta(seconds=45), timedelta(minutes=1), timedelta(minutes=2),
        ]  # fmt: skip

    def test_a_planned_start_stands_in_the_list(self, desk, release):
        fleet.campaign(release, (100,), "scheduled", starts_at=timezone.now() + timedelta(days=1))
        assert "planned" in desk(SUPPORT).client.get(page("changelist")).content.decode()


class TestFields:
    @pytest.mark.parametrize(
        ("field", "kept", "same", "other", "wrong"),
        [
            (FriendlyDurationField(), timedelta(minutes=1), "60 s", "2 min", "soon"),
            (PercentField(), 250, "2.50", "2.51", "much"),
            (WordsField(longest=5), ["a", "b"], " a,b ", "b, a", "longer"),
        ],
        ids=["duration", "percent", "words"],
    )
    def test_what_means_the_same_is_no_change(self, field, kept, same, other, wrong):
        assert not field.has_changed(kept, same)
        assert field.has_changed(kept, other)
        assert field.has_changed(kept, wrong)

    def test_a_percent_that_is_left_out_is_none(self):
        assert PercentField(required=False).clean("") is None
        assert PercentField().clean(Decimal("2.5")) == 250


def test_a_bill_of_materials_has_a_limit(client, ca, monkeypatch):
    monkeypatch.setattr(sboms, "MAX_BYTES", 10)
    sit(client, AUTHOR)
    told = {"version": "2.0.0", "file": image(), "sbom": image(b"{}" * 10, "sbom.json")}
    assert "at most" in errors(client.post(url("release", "add"), told))["sbom"]


def test_a_revocation_goes_on_past_a_campaign_that_ends_meanwhile(client, ca, release, monkeypatch):
    def refuse(*_):
        raise FirmwareError("It has ended.", "wrong_state")

    fleet.campaign(release, (100,))
    key = release.artifact.signatures.get().key
    monkeypatch.setattr(campaigns, "pause", refuse)
    sit(client, "Security officer")
    answer = office.act(client, "trustedkey", "revoke", key)
    assert "It has ended." in office.said(answer)
    key.refresh_from_db()
    assert key.revoked_at
    assert Campaign.objects.get().state == "running"
