"""The staff's pages of holds and rings, and what a device's page tells of its firmware."""

import pytest
from django.urls import reverse
from django.utils import timezone

from devices.models import Event, Group
from firmware.models import Hold, Ring, Verified
from tests.devices.desk import ROLES
from tests.firmware import fleet
from tests.firmware.office import act, offers, said, sit, url

pytestmark = pytest.mark.django_db
OTHERS = [role for role in ROLES if role != "Fleet operator"]


@pytest.fixture
def operator(client, ca):
    return sit(client, "Fleet operator")


@pytest.fixture
def held():
    (update,) = fleet.rollout(1, name="Week 47")
    type(update).objects.filter(pk=update.pk).update(
        state="failed", ended_at=timezone.now(), reason_code="self_check", detail="the watchdog bit twice"
    )
    return Hold.objects.create(
        device=update.device, kind="version", version="2.0.0", update=update, reason="It failed its self-check"
    )


def test_clearing_asks_why_and_is_done_once(client, operator, held):
    asked = act(client, "hold", "clear", held, reason="").content.decode()
    assert f"{held.device} ({held.device.device_id}) of {held.device.tenant}: 2.0.0" in asked
    assert said(act(client, "hold", "clear", held, reason="New battery")) == "Clear: 1 done."
    held.refresh_from_db()
    assert (held.cleared_by, held.cleared_reason) == (operator, "New battery")
    assert "0 done" in said(act(client, "hold", "clear", held))
    assert Event.objects.filter(user=operator, reason="New battery", device=held.device).count() == 1


@pytest.mark.parametrize("role", OTHERS)
def test_clearing_is_for_operators(client, ca, role, held):
    sit(client, role)
    assert offers(client, "hold") == set()
    act(client, "hold", "clear", held)
    assert Hold.objects.get().cleared_at is None


def test_the_list_shows_those_in_force_and_the_others_on_demand(client, operator, held):
    past = Hold.objects.create(device=held.device, kind="penalty", reason="r", cleared_at=timezone.now())

    def listed(**query):
        return set(client.get(url("hold"), query).context["cl"].result_list)

    assert listed() == {held}
    assert listed(state="cleared") == {past}
    assert listed(state="all") == listed(device__id__exact=held.device_id) == {held, past}
    assert listed(kind__exact="penalty") == set()
    page = client.get(url("hold", "change", held.pk)).content.decode()
    assert "It failed its self-check" in page
    assert "Week 47" in page


def test_a_device_page_tells_its_firmware_its_updates_and_what_holds_it(client, operator, held):
    release = fleet.release("1.0.0", held.device.device_type)
    Verified.objects.create(device=held.device, version="1.0.0", release=release, verified_at=timezone.now())
    address = reverse("admin:devices_device_change", args=[held.device_id])
    page = client.get(address).content.decode()
    part = page[page.index('<section id="firmware"') :]
    part = part[: part.index("</section>")]
    for text in (
        "2.0.0 is not offered again",
        "It failed its self-check",
        "Week 47",
        "badge-failed",
        "Its self-check did not pass",
    ):
        assert text in part
    assert "the watchdog bit twice" in part
    assert url("release", "change", release.pk) in part
    assert url("update", "change", held.update_id) in part


def test_a_device_that_was_in_no_campaign_says_so(client, operator):
    (device,) = fleet.devices(1)
    page = client.get(reverse("admin:devices_device_change", args=[device.pk])).content.decode()
    assert "This device was in no campaign yet" in page
    assert "no version yet" in page


def test_rings_are_made_and_changed_by_operators_and_leave_evidence(client, operator):
    (device,) = fleet.devices(1)
    group = Group.objects.create(tenant=device.tenant, name="Own freezers")
    assert client.post(url("ring", "add"), {"name": "Own", "order": 1, "groups": [group.pk]}).status_code == 302
    ring = Ring.objects.get()
    assert (ring.order, list(ring.groups.all())) == (1, [group])
    assert client.post(url("ring", "change", ring.pk), {"name": "Ours", "order": 2, "why": "x", "groups": [group.pk]})
    assert Ring.objects.get().name == "Ours"
    assert f"Own freezers ({device.tenant})" in client.get(url("ring")).content.decode()
    kinds = Event.objects.filter(user=operator).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["ring.added", "ring.changed"]


@pytest.mark.parametrize("role", OTHERS)
def test_rings_are_not_for_others(client, ca, role):
    ring = Ring.objects.create(name="Own", order=1)
    sit(client, role)
    assert client.get(url("ring", "add")).status_code == 403
    assert client.post(url("ring", "change", ring.pk), {"name": "x", "order": 2}).status_code == 403
