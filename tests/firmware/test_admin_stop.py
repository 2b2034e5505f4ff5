"""Stop all firmware: the button, its question in numbers, the banner while it is on, and lifting it."""

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from redis import RedisError

from devices.models import Event
from firmware import stopping
from firmware.models import Stop
from tests.devices.desk import ON_DUTY, OTHERS
from tests.factories import StaffFactory
from tests.firmware import fleet
from tests.firmware.office import said, sit, url

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")
BANNER = "All firmware is stopped"


@pytest.fixture
def answer(client, ca, django_capture_on_commit_callbacks):
    """Send one of the two forms, and follow."""

    def send(page, reason="Boot loops"):
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(url("stop", page), {"reason": reason}, follow=True)

    return send


def index(client):
    return client.get(INDEX).content.decode()


@pytest.mark.parametrize("role", ON_DUTY)
def test_from_the_button_to_the_banner_and_back(client, answer, role):
    user = sit(client, role)
    assert reverse("admin:firmware_stop_all") in index(client)
    assert BANNER not in index(client)
    page = answer("all")
    assert "no update is offered to any device" in said(page)
    stop = Stop.objects.get()
    assert (stop.started_by, stop.reason, stop.open) == (user, "Boot loops", True)
    for address in (INDEX, url("release"), url("stop", "change", stop.pk), reverse("admin:devices_device_changelist")):
        page = client.get(address).content.decode()
        assert BANNER in page
        assert "Boot loops" in page
        assert url("stop", "lift") in page
    assert reverse("admin:firmware_stop_all") not in index(client), "it is on"
    assert "Boot loops" in client.get(url("stop", "lift")).content.decode()
    assert "lifted" in said(answer("lift", "Found it"))
    assert BANNER not in index(client)
    events = Event.objects.order_by("pk").values_list("kind", "user", "reason")
    assert list(events) == [("campaign.stop_all", user.pk, "Boot loops"), ("campaign.lift_stop", user.pk, "Found it")]


def test_the_question_tells_what_stops_in_numbers(client, ca):
    made = fleet.release()
    campaign = fleet.campaign(made)
    early, late = fleet.devices(3, made), fleet.devices(2, made)
    fleet.offered(campaign, early, "downloading")
    second = fleet.campaign(made, percents=[100])
    fleet.offered(second, late, "installing")
    fleet.campaign(made, state="paused")
    sit(client, "Fleet operator")
    page = client.get(reverse("admin:firmware_stop_all")).content.decode()
    assert "Campaigns that go no further: 2." in page
    assert "Updates under way: 5. Not yet being installed, and made to wait: 3. Being installed: 2" in page
    assert not Stop.objects.exists()


def test_without_a_reason_nothing_is_stopped(client, answer):
    sit(client, "Fleet operator")
    page = answer("all", "  ")
    assert "Say why" in page.content.decode()
    assert not Stop.objects.exists()
    client.get(reverse("admin:firmware_stop_all"), {"reason": "a link"})
    assert not Stop.objects.exists()


@pytest.mark.parametrize("role", OTHERS)
def test_others_see_the_banner_and_no_button(client, answer, role):
    sit(client, role)
    assert reverse("admin:firmware_stop_all") not in index(client)
    assert answer("all").status_code == 403
    assert not Stop.objects.exists()
    Stop.objects.create(started_by=StaffFactory(), reason="Boot loops")
    cache.clear()
    page = index(client)
    assert BANNER in page
    assert url("stop", "lift") not in page
    assert answer("lift").status_code == 403
    assert Stop.objects.get().open


def test_who_comes_second_is_told_who_was_first(client, answer):
    Stop.objects.create(started_by=StaffFactory(username="robin"), reason="Smoke")
    sit(client, "Security officer")
    assert "stopped already by robin: Smoke" in said(answer("all"))
    assert Stop.objects.count() == 1
    answer("lift")
    assert "no stop to lift" in said(answer("lift"))


def test_whoever_signed_out_is_told_nothing(client, ca):
    Stop.objects.create(started_by=StaffFactory(), reason="Boot loops")
    sit(client, "Support")
    page = client.post(reverse("admin:logout"), follow=True)
    assert "Boot loops" not in page.content.decode()


def test_the_banner_costs_no_query_while_it_is_remembered(client, ca):
    stopping.in_force()
    with CaptureQueriesContext(connection) as queries:
        assert stopping.in_force() == {}
    assert len(queries) == 0


def test_the_pages_are_there_while_the_cache_is_away(client, ca, monkeypatch):
    def away(*_, **__):
        raise RedisError

    Stop.objects.create(started_by=StaffFactory(), reason="Boot loops")
    sit(client, "Support")
    monkeypatch.setattr(cache, "get_or_set", away)
    monkeypatch.setattr(cache, "delete", away)
    assert BANNER in index(client)
    stopping.forget()


def test_what_was_stopped_before_is_listed(client, ca):
    user = StaffFactory(username="robin")
    past = Stop.objects.create(started_by=user, reason="Smoke", ended_at=fleet.NOW + fleet.DAY, ended_by=user)
    sit(client, "Support")
    page = client.get(url("stop")).content.decode()
    assert "Lifted" in page
    assert "Smoke" in page
    assert client.get(url("stop", "change", past.pk)).status_code == 200
