"""What customers' pages say of firmware."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from firmware.api import words
from firmware.models import Campaign, Update
from firmware.states import RANK, UpdateState, Waiting
from tests.factories import StaffFactory, TenantFactory, member
from tests.firmware import fleet
from tests.fleetportal.world import SCRIPT

pytestmark = pytest.mark.django_db


@pytest.fixture
def release():
    return fleet.release("1.4.2")


@pytest.fixture
def device(release):
    return fleet.devices(1, release, version="1.3.0", tenant=TenantFactory())[0]


def plan(release, *devices, **fields):
    """An update of a running campaign; offered, if its state is one after that."""
    usual = {"state": "queued", "waiting": "", "from_version": "1.3.0"} | fields
    if usual["state"] not in ("queued", "skipped", "canceled"):
        usual.setdefault("offered_at", timezone.now())
    if RANK[UpdateState(usual["state"])] >= 7:
        usual["ended_at"] = timezone.now()
    return fleet.enlist(fleet.campaign(release), devices, **usual)


def shown(client, device):
    client.force_login(member(device.tenant))
    return client.get(f"/devices/{device.device_id}/").content.decode()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"waiting": "stage"}, "Its turn has not come yet"),
        ({"waiting": "window"}, "Waits for its maintenance window"),
        ({"waiting": "offline"}, "Will be offered when it comes online"),
        ({"state": "downloading", "progress": 42}, "Downloading 42 %"),
        ({"state": "downloading"}, "Downloading"),
        ({"state": "notified", "waiting": "power"}, "Waits for enough power"),
        ({"state": "verifying"}, "Installed, being watched"),
        ({"state": "succeeded"}, "Installed"),
        ({"state": "rolled_back"}, "Was taken back to 1.3.0"),
        ({"state": "failed", "reason_code": "self_check"}, "Failed: the new version did not pass its self-check"),
        ({"state": "failed", "reason_code": "Zz9"}, "Failed"),
        ({"state": "canceled", "offered_at": timezone.now()}, "Called off"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_devices_page_tells_how_its_update_goes(client, release, device, fields, text):
    plan(release, device, **fields)
    page = shown(client, device)
    assert "Update to 1.4.2" in page
    failed = fields.get("state") == "failed"  # said by a badge; beneath the title stands why, where that is known
    assert ('<span class="badge tone-bad">Failed</span>' in page) == failed
    assert f'<span class="under">{text}</span>' in page or text == "Failed"
    assert "<dt>Runs version</dt><dd>1.3.0</dd>" in page


@pytest.mark.parametrize("state", ["canceled", "skipped", "removed"])
def test_what_never_reached_the_device_is_not_told(client, release, device, state):
    plan(release, device, state=state, offered_at=None, reason_code="already_installed")
    page = shown(client, device)
    assert "Update to 1.4.2" not in page and "Updates, newest first" not in page


def test_the_way_back_is_told_as_one(client, release, device):
    old = fleet.release("1.3.0")
    parent = plan(release, device, state="rolled_back")[0].campaign
    child = Campaign.objects.create(
        name="Back", rollback_of=parent, author=parent.author, approved_by=parent.approved_by, state="running",
        approved_at=timezone.now(), started_at=timezone.now(),
    )  # fmt: skip
    now = timezone.now()
    Update.objects.create(
        campaign=child, device=device, serial="x", release=old, stage=1, place=0, state="rebooting", waiting="",
        offered_at=now, from_version="1.4.2",
    )  # fmt: skip
    page = shown(client, device)
    assert "Back to 1.3.0" in page and "Restarting" in page
    assert page.index("Back to 1.3.0") < page.index("Was taken back to 1.3.0")


def test_a_way_back_that_leads_nowhere_has_a_name(client, release, device):
    plan(release, device)
    Update.objects.update(release=None)
    assert "Back to an older version" in shown(client, device)


def test_only_the_newest_updates_are_shown(client, device):
    for minor in range(7):
        plan(fleet.release(f"1.{minor}.0", device.device_type), device, state="succeeded")
    page = shown(client, device)
    assert "Update to 1.6.0" in page and "Update to 1.2.0" in page
    assert "Update to 1.1.0" not in page


def test_a_device_without_updates_shows_what_it_runs(client, device):
    page = shown(client, device)
    assert "1.3.0" in page
    assert "Updates, newest first" not in page


def test_the_overview_leads_to_the_devices_that_are_updating(client, release, device):
    strangers = fleet.devices(2, release, tenant=TenantFactory())
    plan(release, device, *strangers, state="downloading")
    client.force_login(member(device.tenant))
    assert client.get("/").context["updating"] == 1
    found = client.get("/devices/", {"state": "updating"}).context["page"].object_list
    assert [each.device_id for each in found] == [device.device_id]
    client.force_login(StaffFactory())
    assert client.get("/").context["updating"] == 3


@pytest.mark.parametrize("fields", [{"waiting": "stage"}, {"state": "succeeded"}], ids=["planned", "ended"])
def test_the_overview_counts_only_what_goes_on(client, release, device, fields):
    plan(release, device, **fields)
    client.force_login(member(device.tenant))
    assert client.get("/").context["updating"] == 0


def test_the_list_tells_the_version(client, device):
    client.force_login(member(device.tenant))
    assert f"{device.device_type} · 1.3.0" in client.get("/devices/").content.decode()


def test_what_a_device_wrote_is_shown_as_text(client, release, device):
    plan(release, device, state="rolled_back", from_version=SCRIPT, reason_code=SCRIPT)
    fleet.presence(device, firmware_version=SCRIPT)
    page = shown(client, device)
    assert SCRIPT not in page and "&lt;script&gt;" in page


def test_nothing_is_told_of_the_campaign_of_others(client, release, device):
    other = fleet.devices(1, release, tenant=TenantFactory(name="Foreign Ltd"))[0]
    author = StaffFactory(username="the-author")
    campaign = fleet.campaign(release, name="Secret plan", author=author)
    fleet.enlist(campaign, [device, other], state="downloading", offered_at=timezone.now(), waiting="")
    page = shown(client, device)
    marks = ["Secret plan", "the-author", other.device_id, "Foreign Ltd"]
    assert [mark for mark in marks if mark in page] == []
    client.force_login(member(other.tenant))
    assert client.get(f"/devices/{device.device_id}/").status_code == 404


def test_a_page_costs_the_same_with_many_updates(client, release, device):
    client.force_login(member(device.tenant))

    def count():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"/devices/{device.device_id}/").status_code == 200
        return len(queries)

    plan(release, device, state="succeeded")
    count()
    one = count()
    for minor in range(5, 9):
        plan(fleet.release(f"1.{minor}.0", device.device_type), device, state="succeeded")
    assert count() == one


def test_every_state_and_every_waiting_has_words():
    for state in UpdateState:
        for waiting in Waiting:
            said = words.of(state, waiting, progress=5)
            assert said.text and said.text[0].islower()
            assert said.over == (RANK[state] >= 7)
            assert not (said.over and said.moves)


def test_an_hour_ago_is_told_as_such(client, release, device):
    plan(release, device, state="succeeded", changed_at=timezone.now() - timedelta(hours=1))
    assert "an hour ago" in shown(client, device)
