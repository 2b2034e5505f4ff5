"""Customers' pages, and that no route forgets whose rows it shows."""

import re

import pytest
from django.core.cache import cache
from django.urls import URLPattern, URLResolver, get_resolver

from devices.models import Device, Membership
from fleetportal import kept, overview
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LOOKS = {
    "overview", "device-list", "device", "device-events", "exports", "export-list", "export", "series", "band",
    "comparable", "comparison", "campaigns", "campaign", "campaign-updates", "api-devices", "api-device", "api-latest",
    "api-readings", "api-device-events", "api-device-certificates", "api-device-updates", "api-device-types",
    "api-device-type", "api-sites", "api-site", "api-groups", "api-tenants", "api-tenant",
}  # fmt: skip
"""Routes by which members look at what is theirs. What nobody else may see is test_foreign_tenant.py's, for all."""


def routes(patterns=None, prefix=""):
    """(route, name) of the whole URL configuration, the admin's own left out: test_admin.py walks that."""
    for each in patterns if patterns is not None else get_resolver().url_patterns:
        if isinstance(each, URLResolver):
            if each.namespace != "admin":
                yield from routes(each.url_patterns, prefix + str(each.pattern))
        elif isinstance(each, URLPattern):
            yield prefix + str(each.pattern), each.name


STAFF_ONLY = {
    "campaign-verdicts",
    "campaign-dry-run",
    "campaign-act",
    "ota-stop",
    "releases",
    "release",
    "release-artifact",
    "release-sbom",
}
"""Routes of the API that customers are turned away from, whatever they ask."""
ROUTES = [(route, name) for route, name in routes() if name in LOOKS]
CLOSED = [(route, name) for route, name in routes() if name in STAFF_ONLY]


def fill(route, device):
    """A route with this device's values in its parameters; a parameter nobody foresaw fails."""
    tenant, kind = device.tenant.slug, device.device_type.slug
    values = {"device_id": device.device_id, "act": "pause", "pk": 1, "tenant": tenant, "device_type": kind}
    values |= {"site": device.site_id, "member": device.tenant.memberships.order_by("pk")[0].pk}
    values["invitation"] = device.tenant.invitations.order_by("pk")[0].pk
    if "<int:campaign>" in route:
        values["campaign"] = device.updates.order_by("pk")[0].campaign_id
    if "exports/<int:pk>" in route:
        values["pk"] = device.exports.get().pk
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[found[1]]), route)


def asked(name, device):
    """What a route must be asked."""
    if name in ("band", "comparable", "comparison"):
        return {"metric": "temperature_c"} | ({"device": device.device_id} if name == "comparison" else {})
    return {}


def marks(device):
    """What must not be seen of a device."""
    return [device.device_id, device.name, device.hardware_id, device.tenant.name, device.site.name]


@pytest.fixture
def foreign(ca):
    return world.add(TenantFactory(name="Foreign Ltd"), 7)


@pytest.fixture
def own(ca):
    return world.add(TenantFactory(name="Own Inc"), 8)


@pytest.mark.parametrize(("route", "name"), ROUTES, ids=[name for _, name in ROUTES])
class TestEveryRoute:
    def test_shows_a_member_their_own(self, client, own, route, name):
        client.force_login(member(own.tenant))
        assert client.get(fill(route, own), asked(name, own)).status_code == 200

    def test_lets_nobody_in_who_is_not_signed_in(self, client, own, route, name):
        answer = client.get(fill(route, own))
        assert answer.status_code in (302, 401, 403)
        assert answer.status_code != 302 or answer.headers["Location"].startswith("/sign-in/?next=")

    def test_shows_nothing_to_somebody_without_a_membership(self, client, own, route, name):
        client.force_login(UserFactory())
        question = asked(name, own)
        answer = client.get(fill(route, own), question)
        assert answer.status_code == (404 if "<" in route or "device" in question else 200)
        assert [mark for mark in marks(own) if mark in answer.content.decode()] == []

    def test_shows_nothing_more_to_somebody_who_lost_their_membership(self, client, own, route, name):
        user = member(own.tenant)
        client.force_login(user)
        client.get(fill(route, own), asked(name, own))
        Membership.objects.filter(user=user).delete()
        answer = client.get(fill(route, own), asked(name, own))
        assert [mark for mark in marks(own) if mark in answer.content.decode()] == []


@pytest.mark.parametrize(("route", "name"), CLOSED, ids=[name for _, name in CLOSED])
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_what_is_the_staffs_is_closed_to_customers(client, own, route, name, method):
    client.force_login(member(own.tenant))
    answer = getattr(client, method)(fill(route, own), {"reason": "because"}, content_type="application/json")
    assert answer.status_code == 403
    assert [mark for mark in marks(own) if mark in answer.content.decode()] == []


def test_all_of_these_routes_are_there():
    assert {name for _, name in routes()} >= LOOKS | STAFF_ONLY


@pytest.mark.parametrize("role", Membership.Role.values)
def test_every_role_sees_its_tenants_devices(client, own, role):
    client.force_login(member(own.tenant, role))
    page = client.get("/devices/").content.decode()
    assert own.name in page


def test_the_overview_counts_what_is_mine(client, own, foreign):
    client.force_login(member(own.tenant))
    context = client.get("/").context
    assert (context["devices"], context["online"], context["away"], context["fresh"]) == (1, 1, 0, 1)


def test_the_list_is_searched_and_filtered(client, own):
    DeviceFactory(tenant=own.tenant, name="Other", hardware_id="SN-77")
    client.force_login(member(own.tenant))

    def found(**query):
        return [device.name for device in client.get("/devices/", query).context["page"].object_list]

    assert found(q="oth") == ["Other"]
    assert found(q="sn-77") == ["Other"]
    assert found(q=own.device_id) == [own.name]
    assert found(type=own.device_type.slug) == [own.name]
    assert (found(state="online"), found(state="offline")) == ([own.name], ["Other"])
    assert found(state="decommissioned") == []
    assert len(found(state="nonsense")) == 2


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%FF", "type=%00", "page=0", "page=-1", "page=x", f"page={'9' * 20}", "state=%00", "q=" + "x" * 5000],
)
def test_odd_questions_are_answered(client, own, query):
    client.force_login(member(own.tenant))
    assert client.get(f"/devices/?{query}").status_code == 200


def test_what_devices_wrote_is_shown_as_text(client, own):
    client.force_login(member(own.tenant))
    for path in ("/", "/devices/", f"/devices/{own.device_id}/"):
        page = client.get(path)
        assert world.SCRIPT not in page.content.decode()
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert "no-store" in page.headers["Cache-Control"]


def test_the_index_of_the_api_leads_to_every_room(client, own):
    client.force_login(member(own.tenant))
    told = client.get("/api/v1/").json()
    assert told["releases_url"] == "http://testserver/api/v1/releases{?version,device_type,state,limit,cursor}"
    assert told["firmware_keys_url"] == "http://testserver/api/v1/firmware/keys"
    assert client.get(told["firmware_keys_url"]).status_code in (200, 503)


def test_a_device_that_never_spoke_has_a_page(client):
    device = DeviceFactory()
    client.force_login(member(device.tenant))
    assert client.get(f"/devices/{device.device_id}/").status_code == 200
    assert client.get("/").status_code == 200


def test_staff_see_every_tenants_devices(client, own, foreign):
    client.force_login(StaffFactory())
    page = client.get("/devices/").content.decode()
    assert own.name in page and foreign.name in page
    assert Device.objects.count() == 2


def test_the_figures_of_a_large_fleet_are_kept_for_a_moment_and_each_tenants_for_itself(
    client, own, foreign, monkeypatch
):
    monkeypatch.setattr(kept, "MANY", 1)
    client.force_login(member(own.tenant))
    assert client.get("/").context["devices"] == 1
    DeviceFactory(tenant=own.tenant, state="active")
    assert client.get("/").context["devices"] == 1
    client.force_login(member(foreign.tenant))
    page = client.get("/")
    assert own.name not in page.content.decode() and foreign.name in page.content.decode()
    monkeypatch.setattr(overview, "KEPT_SECONDS", 0)
    cache.clear()
    client.force_login(member(own.tenant))
    assert client.get("/").context["devices"] == 2
