"""The staff's pages: everything opens, nothing is deleted, what devices wrote is text."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from devices import panels
from devices.models import Device, Event, Finding, SigningKey, Tenant
from devices.tenancy import ROOMS
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
PAGES = [model for model in admin.site._registry if model._meta.app_label in ROOMS]
LABELS = [model._meta.label_lower for model in PAGES]
ROLES = ["Fleet operator", "Firmware author", "Firmware approver", "Security officer", "Support"]


@pytest.fixture
def device(ca):
    return world.add(TenantFactory(name="Acme"))


@pytest.fixture
def root(client):
    user = StaffFactory()
    client.force_login(user)
    return user


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_of_ours_has_a_page_of_its_own_or_is_a_line_of_another():
    lines = {inline.model for page in admin.site._registry.values() for inline in page.inlines}
    elsewhere = {apps.get_model("devices", "Presence")}
    # In charts and on the page of a schema.
    for name in ("Reading", "Minute", "Hour", "Touched", "Metric"):
        elsewhere.add(apps.get_model("telemetry", name))
    # On the page of a release, an update, a campaign and a device.
    for name in ("Artifact", "Compatibility", "Signature", "Report", "Verdict", "Verified"):
        elsewhere.add(apps.get_model("firmware", name))
    # A person's own, and what only the sign-in of apps needs.
    for name in ("SavedView", "Preference", "RepeatedRequest", "SpentToken"):
        elsewhere.add(apps.get_model("devices", name))
    ours = {model for room in ROOMS if apps.is_installed(room) for model in apps.get_app_config(room).get_models()}
    assert ours - set(PAGES) - lines - elsewhere == set()


@pytest.mark.parametrize("who", ["superuser", *ROLES])
@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_each_list_and_page_opens(client, device, model, who):
    client.force_login(StaffFactory() if who == "superuser" else world.staff(who))
    if model is SigningKey and who not in ("superuser", "Security officer"):
        assert client.get(url(model, "changelist")).status_code == 403
        return
    assert client.get(url(model, "changelist")).status_code == 200
    for pk in model.objects.values_list("pk", flat=True)[:2]:
        assert client.get(url(model, "change", pk)).status_code == 200


@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_a_list_can_be_searched_and_filtered(client, root, device, model):
    page = admin.site._registry[model]
    if page.get_search_fields(None):
        for text in ("a", "'; DROP TABLE devices_device; --", "%", "\\"):
            assert client.get(url(model, "changelist"), {"q": text}).status_code == 200
    response = client.get(url(model, "changelist"))
    if "cl" not in response.context:
        return  # a page of its own, with tests of its own
    for spec in response.context["cl"].filter_specs:
        for choice in spec.choices(response.context["cl"]):
            assert client.get(url(model, "changelist") + choice["query_string"]).status_code == 200


@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_nothing_can_be_deleted(client, root, device, model):
    pk = model.objects.values_list("pk", flat=True)[0]
    before = model.objects.count()
    assert client.post(url(model, "delete", pk), {"post": "yes", "why": "x"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [pk], "post": "yes", "why": "x"}
    client.post(url(model, "changelist"), action)
    assert model.objects.count() == before


@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_support_reads_and_changes_nothing(client, device, model):
    client.force_login(world.staff("Support"))
    pk = model.objects.values_list("pk", flat=True)[0]
    # A campaign's page takes no form at all: it is edited and acted on at addresses of their own.
    assert client.post(url(model, "change", pk), {"name": "changed"}).status_code in (403, 405)
    assert client.get(url(model, "add")).status_code == 403
    page = client.get(url(model, "changelist")).content.decode()
    assert 'name="action"' not in page


@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_customers_and_strangers_are_shown_the_door(client, device, model):
    assert client.get(url(model, "changelist")).headers["Location"].startswith("/admin/login/")
    client.force_login(member(device.tenant))
    assert client.get(url(model, "changelist"), follow=True).redirect_chain[-1][0] == "/"


@pytest.mark.parametrize("model", PAGES, ids=LABELS)
def test_scripts_that_devices_sent_are_shown_as_text(client, root, device, model):
    pages = [client.get(url(model, "changelist"))]
    pages += [client.get(url(model, "change", pk)) for pk in model.objects.values_list("pk", flat=True)[:2]]
    for page in pages:
        assert world.SCRIPT not in page.content.decode()
    if model in (Device, Finding):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in "".join(page.content.decode() for page in pages)


def test_a_device_page_shows_the_panels_of_all_rooms(client, root, device):
    page = client.get(url(Device, "change", device.pk))
    assert [panel.slug for panel in page.context["panels"]] == [panel.slug for panel in panels.panels()]
    assert {"certificates", "timeline", "live"} <= {panel.slug for panel in page.context["panels"]}


def test_a_missing_device_is_answered_with_a_redirect_and_not_a_crash(client, root, device):
    assert client.get(url(Device, "change", 10**9)).status_code == 302
    assert client.get(url(Device, "change", "nonsense")).status_code == 302


def test_what_makes_a_device_who_it_is_cannot_be_edited(client, root, device):
    told = {"why": "x", "name": "New name", "state": "decommissioned", "device_id": "d-other"}
    told |= {"tenant": TenantFactory().pk}
    assert client.post(url(Device, "change", device.pk), told).status_code == 302
    changed = Device.objects.get(pk=device.pk)
    assert changed.name == "New name"
    assert (changed.device_id, changed.tenant_id, changed.state) == (device.device_id, device.tenant_id, "active")
    event = Event.objects.get(kind="device.changed")
    assert (event.user, event.device) == (root, device)


def test_a_tenants_slug_is_fixed_once_made(client, root, device):
    tenant = device.tenant
    told = {"why": "x", "name": "Renamed", "slug": "other"}
    told |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    assert client.post(url(Tenant, "change", tenant.pk), told).status_code == 302
    assert Tenant.objects.values_list("name", "slug").get(pk=tenant.pk) == ("Renamed", tenant.slug)


def test_a_finding_is_resolved_and_this_is_evidence(client, root, device):
    finding = Finding.objects.get()
    client.post(url(Finding, "changelist"), {"action": "resolve", "_selected_action": [finding.pk], "reason": "seen"})
    finding.refresh_from_db()
    assert finding.resolved_at is not None
    assert Event.objects.get(kind="finding.resolved").device == device


def test_the_index_shows_a_tile_for_each_figure_that_leads_to_its_list(client, root, device):
    page = client.get(reverse("admin:index"))
    tiles = page.context["tiles"]
    assert {tile.label for tile in tiles} == {tile.label for tile in panels.tiles()}
    assert {tile.label: tile.figure for tile in tiles}["Devices"] == 1
    for tile in tiles:
        assert client.get(tile.url).status_code == 200


def test_a_policy_without_inline_scripts_stands_on_every_page(client, root, device):
    policy = client.get(url(Device, "changelist")).headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy
