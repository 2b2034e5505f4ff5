"""One device over the API: read, changed by who may, added by its code."""

import pytest
from django.utils import timezone

from devices import claim_codes, claims
from devices.models import Device, Event, Presence, Site
from fleetportal import roles
from tests.devices import peers
from tests.devices.api.programs import caller
from tests.factories import DeviceFactory, DeviceTypeFactory, SiteFactory, StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = "/api/v1/devices"


@pytest.fixture
def device(db):
    return DeviceFactory(name="Cold room", tags=["old"])


@pytest.fixture
def operator(device, client):
    user = member(device.tenant, "operator")
    client.force_login(user)
    return user


def address(device):
    return f"{LIST}/{device.device_id}"


def patch(client, device, told, match=None):
    tag = match if match is not None else client.get(address(device))["ETag"]
    headers = {"If-Match": tag} if tag else {}
    return client.patch(address(device), told, content_type="application/json", headers=headers)


class TestReading:
    def test_tells_who_where_and_how_it_is(self, client, device, operator):
        Presence.objects.filter(device=device).update(online=True, firmware_version="1.4.2", rssi_dbm=-61, skew_ms=12)
        told = client.get(address(device)).json()
        assert (told["device_id"], told["tenant"], told["name"]) == (device.device_id, device.tenant.slug, "Cold room")
        assert (told["online"], told["firmware_version"], told["rssi_dbm"], told["clock_skew_ms"]) == (
            True, "1.4.2", -61, 12
        )  # fmt: skip
        assert told["url"] == f"http://testserver{address(device)}"

    def test_is_not_sent_again_to_who_has_it(self, client, device, operator):
        first = client.get(address(device))
        again = client.get(address(device), headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
        Presence.objects.filter(device=device).update(online=True)
        assert client.get(address(device), headers={"If-None-Match": first["ETag"]}).status_code == 200

    def test_knows_a_device_that_was_never_heard_of(self, client, operator, device):
        Presence.objects.all().delete()
        told = client.get(address(device)).json()
        assert (told["online"], told["last_seen_at"], told["firmware_version"]) == (False, None, "")

    def test_of_another_tenant_there_is_none(self, client, device, operator):
        assert client.get(address(DeviceFactory())).status_code == 404


class TestChanging:
    def test_names_tags_and_places_it_and_leaves_evidence(self, client, device, operator):
        site = SiteFactory(tenant=device.tenant)
        answer = patch(client, device, {"name": "Cellar", "tags": ["b", "a"], "site": site.pk})
        assert answer.status_code == 200, answer.json()
        told = answer.json()
        assert (told["name"], told["tags"], told["site"]) == ("Cellar", ["b", "a"], {"id": site.pk, "name": site.name})
        assert answer["ETag"] == client.get(address(device))["ETag"]
        event = Event.objects.get(kind="device.edited")
        assert (event.device, event.user) == (device, operator)
        assert event.detail["changes"]["name"] == ["Cold room", "Cellar"]

    def test_leaves_what_is_not_told(self, client, device, operator):
        assert patch(client, device, {"name": "Cellar"}).json()["tags"] == ["old"]
        assert patch(client, device, {"site": None}).json()["name"] == "Cellar"

    def test_asks_what_was_looked_at(self, client, device, operator):
        answer = patch(client, device, {"name": "x"}, match="")
        assert (answer.status_code, answer.json()["error_code"]) == (428, "precondition_required")
        answer = patch(client, device, {"name": "x"}, match="*")
        assert answer.status_code == 428

    def test_refuses_a_change_of_what_somebody_else_changed(self, client, device, operator):
        tag = client.get(address(device))["ETag"]
        assert patch(client, device, {"name": "first"}, tag).status_code == 200
        answer = patch(client, device, {"name": "second"}, tag)
        assert (answer.status_code, answer.json()["error_code"]) == (412, "precondition_failed")
        assert Device.objects.get(pk=device.pk).name == "first"

    def test_forgives_that_the_device_moved_meanwhile(self, client, device, operator):
        tag = client.get(address(device))["ETag"]
        Presence.objects.filter(device=device).update(online=True, last_seen_at=timezone.now())
        assert patch(client, device, {"name": "first"}, tag).status_code == 200

    @pytest.mark.parametrize(
        ("told", "path"),
        [
            ({"nmae": "x"}, "$.nmae"),
            ({"name": 5}, "$.name"),
            ({"name": "x" * 201}, "$.name"),
            ({"tags": ["Upper"]}, "$.tags[0]"),
            ({"tags": ["a"] * 21}, "$.tags"),
            ({"site": 2**70}, "$.site"),
            ({"site": 0}, "$.site"),
            ([], "$"),
        ],
    )
    def test_says_where_the_mistake_is(self, client, device, operator, told, path):
        answer = patch(client, device, told)
        assert (answer.status_code, answer.json()["path"]) == (400, path)

    def test_refuses_a_site_of_another_tenant(self, client, device, operator):
        assert patch(client, device, {"site": SiteFactory().pk}).json()["path"] == "$.site"

    def test_is_for_operators_and_owners(self, client, device):
        for role, status in (("viewer", 403), ("operator", 200), ("owner", 200)):
            client.force_login(member(device.tenant, role))
            assert patch(client, device, {"name": role}).status_code == status
        assert Event.objects.count() == 2

    def test_is_for_staff_with_the_permission(self, client, device):
        client.force_login(StaffFactory(is_superuser=False))
        assert patch(client, device, {"name": "x"}).status_code == 403
        client.force_login(StaffFactory())
        assert patch(client, device, {"name": "x"}).status_code == 200
        client.force_login(world.staff(next(iter(roles.ROLES))))
        assert client.get(address(device)).status_code == 200

    def test_asks_a_program_for_the_scope(self, client, device):
        owner = member(device.tenant)
        reads = caller(owner, device.tenant, "devices:read")
        assert patch(reads, device, {"name": "x"}).status_code == 403
        writes = caller(owner, device.tenant, "devices:write")
        assert writes.get(address(device)).status_code == 403
        tag = reads.get(address(device))["ETag"]
        assert patch(writes, device, {"name": "x"}, tag).status_code == 200
        owner.memberships.update(role="viewer")
        assert patch(writes, device, {"name": "y"}, tag).status_code in (401, 403)

    def test_of_another_tenant_there_is_none_to_change(self, client, device, operator):
        other = DeviceFactory()
        assert patch(client, other, {"name": "x"}, '"a.b"').status_code == 404


class TestAdding:
    @pytest.fixture
    def code(self, db, ca):
        claim = claims.of_token(peers.claim_token(TenantFactory(), DeviceTypeFactory()))
        return claim_codes.make(claim, "SN-1", None, timezone.now())[1]

    def post(self, client, told, **headers):
        return client.post(LIST, told, content_type="application/json", headers=headers)

    def test_makes_a_device_mine(self, client, device, operator, code):
        answer = self.post(client, {"code": code.lower(), "name": "New"})
        assert answer.status_code == 201, answer.json()
        told = answer.json()
        assert (told["state"], told["name"], told["tenant"]) == ("registered", "New", device.tenant.slug)
        assert answer["Location"] == told["url"]
        assert client.get(told["url"]).status_code == 200

    def test_is_done_once_and_answered_twice(self, client, device, operator, code):
        first = self.post(client, {"code": code}, **{"Idempotency-Key": "k-1"})
        again = self.post(client, {"code": code}, **{"Idempotency-Key": "k-1"})
        assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
        assert (again["Idempotency-Replayed"], again["Location"]) == ("true", first["Location"])
        assert "Idempotency-Replayed" not in first
        assert self.post(client, {"code": code}).json()["error_code"] == "code_used"

    def test_a_viewer_may_not(self, client, device, code):
        client.force_login(member(device.tenant, "viewer"))
        assert self.post(client, {"code": code}).status_code == 403
        assert self.post(client, {"code": code, "tenant": device.tenant.slug}).status_code == 403

    def test_asks_which_tenant_where_there_are_several(self, client, device, operator, code):
        other = TenantFactory()
        operator.memberships.create(tenant=other, role="owner")
        assert self.post(client, {"code": code}).json()["path"] == "$.tenant"
        assert self.post(client, {"code": code, "tenant": TenantFactory().slug}).json()["path"] == "$.tenant"
        assert self.post(client, {"code": code, "tenant": other.slug}).json()["tenant"] == other.slug

    def test_an_unknown_code_is_404(self, client, device, operator):
        answer = self.post(client, {"code": "AAAA-AAAA-AAAA-AAAA"})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "code_unknown")


def test_what_is_written_on_a_site_is_told_as_it_is(client, device, operator):
    Site.objects.create(tenant=device.tenant, name=world.SCRIPT)
    answer = client.get("/api/v1/sites")
    assert answer.json()["results"][0]["name"] == world.SCRIPT
    assert answer["Content-Type"] == "application/json"
