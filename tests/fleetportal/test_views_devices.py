"""Customers' list and pages of devices: filters, saved views, the form of a device, its events, adding one by code."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from devices import claim_codes, claims, editing, evidence
from devices.errors import DeviceError
from devices.models import Device, Event, Presence, SavedView, Site
from tests.devices import peers
from tests.factories import DeviceFactory, DeviceTypeFactory, TenantFactory, UserFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST, ADD = "/devices/", "/devices/add/"


@pytest.fixture
def tenant():
    return TenantFactory(name="Acme Foods", slug="acme")


@pytest.fixture
def device(tenant):
    site = Site.objects.create(tenant=tenant, name="North")
    return DeviceFactory(tenant=tenant, name="Freezer", site=site, tags=["cold", "old"])


@pytest.fixture
def owner(tenant, client):
    user = member(tenant)
    client.force_login(user)
    return user


def found(client, **query):
    return [each.name for each in client.get(LIST, query).context["page"].object_list]


def test_the_list_is_filtered_by_place_tag_firmware_and_silence(client, owner, device, tenant):
    kind = DeviceTypeFactory(silence_seconds=60)
    other = DeviceFactory(tenant=tenant, name="Oven", tags=["hot"], device_type=kind)
    minutes = [timezone.now() - timedelta(minutes=number) for number in (0, 5)]
    Presence.objects.filter(device=other).update(firmware_version="2.0", online=True, last_seen_at=minutes[1])
    Presence.objects.filter(device=device).update(firmware_version="1.0", online=True, last_seen_at=minutes[0])
    assert found(client, site=device.site_id) == ["Freezer"]
    assert found(client, tag="COLD") == ["Freezer"]
    assert found(client, firmware="2.0") == ["Oven"]
    assert found(client, state="silent") == ["Oven"]
    assert found(client, q="e", tag="hot", state="online") == ["Oven"]
    assert found(client, site="x") == found(client, site="9" * 30) == found(client, tag="nothing") == []
    page = client.get(LIST, {"tag": "hot"})
    assert [list(page.context[name]) for name in ("tags", "versions")] == [["cold", "hot", "old"], ["1.0", "2.0"]]
    assert "Silent" in page.content.decode()
    assert [each.name for each in client.get("/").context["looks"]] == ["Oven"]


def test_a_view_that_everybody_has_opens_no_filters_and_is_not_offered_to_be_saved(client, owner, device):
    def page(**asked):
        return client.get(LIST, asked).content.decode()

    offers = ('<details class="more" open>', "Save view")
    assert all(each in page(state="offline", tag="cold") for each in offers)
    assert not any(each in page(state="offline") + page() for each in offers)


@pytest.mark.parametrize("state", ["online", "offline", "silent", "updating", "failed", "ending"])
def test_the_views_that_everybody_has_lead_to_states_that_can_be_filtered(client, owner, device, state):
    answer = client.get(LIST, {"state": state})
    assert f'href="/devices/?state={state}" aria-current="page"' in answer.content.decode()
    assert state in dict(answer.context["states"])


def test_searches_are_kept_found_again_and_removed(client, owner, device):
    told = {"name": "Cold ones", "query": "q=&tag=cold&page=7"}
    assert client.post("/devices/views/save/", told)["Location"] == "/devices/?tag=cold"
    row = SavedView.objects.get()
    page = client.get(LIST, {"tag": "cold"})
    assert page.context["saved"] == [(row, True)]
    assert 'href="/devices/?tag=cold" aria-current="page"' in page.content.decode()
    assert client.post("/devices/views/save/", {"name": "", "query": "tag=x"})["Location"] == "/devices/?tag=x"
    client.force_login(member(device.tenant))
    assert client.get(LIST).context["saved"] == []
    assert client.post(f"/devices/views/{row.pk}/remove/").status_code == 404
    client.force_login(owner)
    client.post(f"/devices/views/{row.pk}/remove/")
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("role", ["owner", "operator"])
def test_who_may_names_places_and_tags_a_device(client, device, tenant, role):
    client.force_login(member(tenant, role))
    address = reverse("device-edit", args=[device.device_id])
    south = Site.objects.create(tenant=tenant, name="South")
    seen = client.get(address).context["form"].initial["seen"]
    told = {"name": " Big  freezer ", "site": south.pk, "tags": "Cold, new", "seen": seen}
    assert client.post(address, told)["Location"] == f"/devices/{device.device_id}/"
    device.refresh_from_db()
    assert (device.name, device.site, device.tags) == ("Big freezer", south, ["cold", "new"])
    changes = Event.objects.get(kind="device.edited").detail["changes"]
    assert changes["name"] == ["Freezer", "Big freezer"] and set(changes) == {"name", "site", "tags"}


def test_nobody_else_may(client, device, tenant):
    address = reverse("device-edit", args=[device.device_id])
    seen = editing.version(device)
    for user, status in [
        (member(tenant, "viewer"), 403),
        (world.staff("Support"), 403),
        (member(TenantFactory()), 404),
        (UserFactory(), 404),
    ]:
        client.force_login(user)
        assert client.get(address).status_code == status
        assert client.post(address, {"name": "Mine", "seen": seen}).status_code == status
    assert "Name, place, tags" not in client.get(f"/devices/{device.device_id}/").content.decode()
    assert Device.objects.get().name == "Freezer"


def test_of_two_at_once_the_second_sees_what_the_first_did(client, owner, device):
    address = reverse("device-edit", args=[device.device_id])
    seen = client.get(address).context["form"].initial["seen"]
    Device.objects.update(name="Renamed by a colleague")
    told = {"name": "Mine", "site": "", "tags": "", "seen": seen}
    refused = client.post(address, told)
    page = refused.content.decode()
    assert refused.status_code == 409 and "Renamed by a colleague" in page and 'value="Mine"' in page
    assert f'value="{editing.version(Device.objects.get())}"' in page
    assert Device.objects.get().name == "Renamed by a colleague"
    client.post(address, told | {"seen": editing.version(Device.objects.get())})
    assert Device.objects.get().name == "Mine"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"tags": "Ä"}, 400),
        ({"tags": " ".join(map(str, range(21)))}, 400),
        ({"name": "x" * 201}, 400),
        ({"seen": ""}, 400),
    ],
)
def test_what_cannot_be_is_told_at_its_field(client, owner, device, changes, status):
    told = {"name": "Mine", "site": "", "tags": "", "seen": editing.version(device)} | changes
    answer = client.post(reverse("device-edit", args=[device.device_id]), told)
    assert answer.status_code == status and answer.context["form"].errors
    assert Device.objects.get().name == "Freezer"


def test_a_place_of_another_tenant_is_none(client, owner, device):
    theirs = Site.objects.create(tenant=TenantFactory(), name="Theirs")
    told = {"name": "Mine", "site": theirs.pk, "tags": "", "seen": editing.version(device)}
    answer = client.post(reverse("device-edit", args=[device.device_id]), told)
    assert answer.status_code == 400 and "Theirs" not in answer.content.decode()
    with pytest.raises(DeviceError) as error:
        editing.edit(device, owner, editing.version(device), name="", site=theirs, tags=[])
    assert error.value.code == "site_of_another"


def test_events_go_on_page_by_page(client, owner, device):
    for number in range(55):
        evidence.record(f"thing.happened_{number}", device=device)
    address = reverse("device-events", args=[device.device_id])
    first = client.get(address)
    second = client.get(address, {"before": first.context["older"]})
    kinds = [event.kind for page in (first, second) for event in page.context["events"]]
    assert kinds == [f"thing.happened_{number}" for number in reversed(range(55))]
    assert second.context["older"] is None and "Newest" in second.content.decode()
    assert client.get(address, {"before": "x" * 30}).status_code == client.get(address, {"before": "1"}).status_code
    assert "All of it" in client.get(f"/devices/{device.device_id}/").content.decode()


def test_what_happened_is_told_in_its_owners_words(client, owner, device):
    for kind in ("certificate.proven", "device.offline", "reported.<b>_door", "thing.never_heard_of"):
        evidence.record(kind, device=device)
    for address in (f"/devices/{device.device_id}/", reverse("device-events", args=[device.device_id])):
        page = client.get(address).content.decode()
        told = ["Uses its new certificate", "Went offline", "reported: &lt;b&gt; door", "Thing never heard of"]
        assert all(each in page for each in told)


# --- adding a device by its code -------------------------------------------------------------------------------------
@pytest.fixture
def code():
    claim = claims.of_token(
        peers.claim_token(TenantFactory(slug="stock", name="The stock"), DeviceTypeFactory(name="Logger"))
    )
    return claim_codes.make(claim, "SN-1", None, timezone.now())[1]


def test_a_code_is_looked_at_and_nothing_changes_before_it_is_confirmed(client, owner, tenant, code):
    page = client.get(ADD, {"code": code})
    text = page.content.decode()
    assert "Logger" in text and "SN-1" in text and "Acme Foods" in text and "The stock" not in text
    assert not Device.objects.exists() and "no-store" in page.headers["Cache-Control"]
    answer = client.post(ADD, {"code": code, "tenant": tenant.pk, "name": "Cellar"}, follow=True)
    assert answer.redirect_chain == [(f"/devices/{Device.objects.get().device_id}/", 302)]
    assert "Cellar is yours" in answer.content.decode() and "has not joined yet" in answer.content.decode()
    again = client.get(ADD, {"code": code}).content.decode()
    assert "was used before" in again and "It is yours already" in again


def test_of_a_code_that_was_used_others_learn_no_more(client, owner, tenant, code):
    claim_codes.redeem(code, tenant, owner, timezone.now(), "Secret cellar")
    client.force_login(member(TenantFactory()))
    page = client.get(ADD, {"code": code}).content.decode()
    assert "was used before" in page and "Secret cellar" not in page and "yours" not in page


def test_who_is_a_member_of_several_says_whose_it_will_be(client, owner, tenant, code):
    other = TenantFactory(name="Second Ltd")
    other.memberships.create(user=owner, role="operator")
    third = TenantFactory(name="Third Ltd")
    third.memberships.create(user=owner, role="viewer")
    page = client.get(ADD, {"code": code}).content.decode()
    assert "Second Ltd" in page and "Third Ltd" not in page
    assert client.post(ADD, {"code": code, "tenant": third.pk}).status_code == 400
    assert not Device.objects.exists()
    client.post(ADD, {"code": code, "tenant": other.pk})
    assert Device.objects.get().tenant == other


def test_what_is_no_code_is_told_kindly_and_guesses_come_to_an_end(client, owner, tenant, code):
    assert "no such code" in client.get(ADD, {"code": "<b>1"}).content.decode()
    assert client.post(ADD, {"code": "1" * 16, "tenant": tenant.pk}).status_code == 404
    for _ in range(settings.CLAIM_CODE_GUESSES):
        client.post(ADD, {"code": "1" * 16, "tenant": tenant.pk})
    assert client.post(ADD, {"code": code, "tenant": tenant.pk}).status_code == 429
    assert "Wait an hour" in client.get(ADD, {"code": code}).content.decode()
    assert not Device.objects.exists()


@pytest.mark.parametrize("role", ["viewer", None])
def test_who_may_not_is_told_whom_to_ask(client, tenant, code, role):
    client.force_login(member(tenant, role) if role else UserFactory())
    page = client.get(ADD, {"code": code}).content.decode()
    assert "You cannot add devices" in page and "SN-1" not in page
    assert client.post(ADD, {"code": code, "tenant": tenant.pk}).status_code == 403
    assert 'href="/devices/add/"' not in client.get(LIST).content.decode()
    assert not Device.objects.exists()


def test_the_code_on_a_label_survives_signing_in(client, code):
    answer = client.get(ADD, {"code": code})
    assert answer["Location"] == f"/sign-in/?next=/devices/add/%3Fcode%3D{code}"
