"""Sites, groups, events, certificates, tenants and me, over the API."""

import pytest

from devices import evidence
from devices.models import Event, Group, Site
from devices.people.scopes import ROLE_SCOPES, SCOPES
from tests.devices.api.programs import caller
from tests.factories import DeviceFactory, SiteFactory, StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
SITES = "/api/v1/sites"


@pytest.fixture
def tenant(db):
    return TenantFactory(slug="acme", name="Acme")


@pytest.fixture
def operator(tenant, client):
    user = member(tenant, "operator", first_name="Jo", email="jo@example.com")
    client.force_login(user)
    return user


def post(client, told, **headers):
    return client.post(SITES, told, content_type="application/json", headers=headers)


class TestMe:
    def test_tells_a_person_who_they_are(self, client, tenant, operator):
        told = client.get("/api/v1/me").json()
        assert (told["username"], told["email"], told["is_staff"]) == (operator.username, "jo@example.com", False)
        assert told["memberships"] == [
            {"tenant": {"slug": "acme", "name": "Acme"}, "role": "operator", "scopes": sorted(ROLE_SCOPES["operator"])}
        ]
        assert told["credential"] == {"kind": "session", "name": "", "scopes": sorted(SCOPES), "tenant": None}

    def test_tells_a_program_what_it_may(self, tenant, operator):
        operator.memberships.create(tenant=TenantFactory(), role="owner")
        told = caller(operator, tenant, "readings:read").get("/api/v1/me").json()
        assert [each["tenant"]["slug"] for each in told["memberships"]] == ["acme"]
        assert told["credential"]["scopes"] == ["readings:read"]
        assert (told["credential"]["kind"], told["credential"]["tenant"]) == ("token", "acme")

    def test_is_for_somebody(self, client):
        assert client.get("/api/v1/me").status_code == 401


class TestSites:
    def test_one_is_made_and_changed_with_evidence(self, client, tenant, operator):
        made = post(client, {"name": "Hamburg", "timezone": "Europe/Berlin"})
        assert made.status_code == 201, made.json()
        told = made.json()
        assert (made["Location"], told["tenant"], told["region"]) == (told["url"], "acme", "")
        tag = client.get(told["url"])["ETag"]
        changed = client.patch(
            told["url"], {"region": "North"}, content_type="application/json", headers={"If-Match": tag}
        )
        assert changed.json() == told | {"region": "North"}
        assert changed["ETag"] == client.get(told["url"])["ETag"] != tag
        assert list(Event.objects.order_by("id").values_list("kind", flat=True)) == ["site.added", "site.edited"]
        assert Event.objects.latest("id").detail["before"] == {"region": ""}

    def test_a_change_needs_what_was_looked_at(self, client, tenant, operator):
        site = SiteFactory(tenant=tenant)
        for headers, status in (({}, 428), ({"If-Match": '"x"'}, 412)):
            answer = client.patch(f"{SITES}/{site.pk}", {"name": "x"}, content_type="application/json", headers=headers)
            assert answer.status_code == status

    def test_a_name_is_taken_once(self, client, tenant, operator):
        SiteFactory(tenant=tenant, name="Hamburg")
        answer = post(client, {"name": "Hamburg"})
        assert (answer.status_code, answer.json()["error_code"]) == (409, "name_taken")
        other = SiteFactory(tenant=tenant, name="Berlin")
        tag = client.get(f"{SITES}/{other.pk}")["ETag"]
        answer = client.patch(
            f"{SITES}/{other.pk}", {"name": "Hamburg"}, content_type="application/json", headers={"If-Match": tag}
        )
        assert answer.status_code == 409

    def test_made_twice_by_the_same_key_it_is_one(self, client, tenant, operator):
        headers = {"Idempotency-Key": "2f1b"}
        first, again = post(client, {"name": "Hamburg"}, **headers), post(client, {"name": "Hamburg"}, **headers)
        assert first.json() == again.json()
        assert Site.objects.count() == 1
        other = post(client, {"name": "Berlin"}, **headers)
        assert (other.status_code, other.json()["error_code"]) == (422, "idempotency_key_reused")
        assert post(client, {"name": "Hamburg"}).status_code == 409

    def test_a_refused_request_may_be_corrected(self, client, tenant, operator):
        headers = {"Idempotency-Key": "2f1b"}
        assert post(client, {"name": ""}, **headers).status_code == 400
        assert post(client, {"name": "Hamburg"}, **headers).status_code == 201

    @pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
    def test_a_key_that_is_none_is_refused(self, client, tenant, operator, key):
        answer = post(client, {"name": "Hamburg"}, **{"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["path"]) == (400, "$.Idempotency-Key")

    def test_an_answer_is_not_told_to_another_credential(self, client, tenant, operator):
        headers = {"Idempotency-Key": "2f1b"}
        assert post(client, {"name": "Hamburg"}, **headers).status_code == 201
        program = caller(operator, tenant, "devices:write")
        assert post(program, {"name": "Hamburg"}, **headers).status_code == 422

    @pytest.mark.parametrize(
        ("told", "path"),
        [({}, "$.name"), ({"name": "x", "timezone": "Mars"}, "$.timezone"), ({"name": "x", "colour": 1}, "$.colour")],
    )
    def test_says_where_the_mistake_is(self, client, tenant, operator, told, path):
        assert post(client, told).json()["path"] == path

    def test_viewers_look_only(self, client, tenant):
        client.force_login(member(tenant, "viewer"))
        assert client.get(SITES).status_code == 200
        assert post(client, {"name": "x"}).status_code == 403

    def test_those_of_other_tenants_are_not_there(self, client, tenant, operator):
        site = SiteFactory()
        assert client.get(SITES).json()["results"] == []
        assert client.get(f"{SITES}/{site.pk}").status_code == 404
        assert client.get(SITES, {"tenant": site.tenant.slug}).json()["results"] == []
        assert client.get(f"{SITES}/{'9' * 40}").status_code == 404


def test_groups_are_listed_by_name_and_tenant(client, tenant, operator):
    other = TenantFactory()
    operator.memberships.create(tenant=other, role="viewer")
    Group.objects.create(tenant=tenant, name="Kitchen")
    Group.objects.create(tenant=other, name="Attic")
    Group.objects.create(tenant=TenantFactory(), name="Foreign")

    def names(**asked):
        return [each["name"] for each in client.get("/api/v1/groups", asked).json()["results"]]

    assert names() == ["Attic", "Kitchen"]
    assert names(tenant="acme") == ["Kitchen"]


def test_tenants_are_those_that_i_am_in(client, tenant, operator):
    other = TenantFactory()
    told = client.get("/api/v1/tenants").json()["results"]
    assert [each["slug"] for each in told] == ["acme"]
    assert client.get(told[0]["url"]).json() == told[0]
    assert client.get(f"/api/v1/tenants/{other.slug}").status_code == 404
    client.force_login(StaffFactory())
    assert len(client.get("/api/v1/tenants").json()["results"]) == 2


class TestEvents:
    @pytest.fixture
    def device(self, tenant):
        return DeviceFactory(tenant=tenant)

    def events(self, client, device, **asked):
        return client.get(f"/api/v1/devices/{device.device_id}/events", asked).json()["results"]

    def test_are_told_newest_first(self, client, device, operator):
        evidence.record("reported.log", device=device, actor=device.device_id, detail={"text": world.SCRIPT})
        evidence.record("device.edited", device=device, user=operator, detail={"changes": {}})
        told = self.events(client, device)
        assert [each["kind"] for each in told] == ["device.edited", "reported.log"]
        assert (told[0]["actor"], told[1]["detail"]) == (operator.username, {"text": world.SCRIPT})
        assert [each["kind"] for each in self.events(client, device, kind="reported.log")] == ["reported.log"]
        assert client.get(f"/api/v1/devices/{device.device_id}/events?kind=%00").status_code == 400

    def test_do_not_say_which_of_our_people_did_what_by_which_notes(self, client, device, operator):
        staff = StaffFactory(username="the-boss")
        evidence.record("device.quarantined", device=device, user=staff, reason="Odd", detail={"note": "internal"})
        (told,) = self.events(client, device)
        assert (told["actor"], told["reason"], told["detail"]) == ("staff", "Odd", {})
        client.force_login(staff)
        (told,) = self.events(client, device)
        assert (told["actor"], told["detail"]) == ("the-boss", {"note": "internal"})


def test_certificates_of_a_device_are_told_newest_first(client, ca, tenant, operator):
    device = world.add(tenant)
    (told,) = client.get(f"/api/v1/devices/{device.device_id}/certificates").json()["results"]
    certificate = device.certificates.get()
    assert (told["serial"], told["state"], told["fingerprint"]) == (
        certificate.serial, certificate.state, certificate.fingerprint
    )  # fmt: skip
    assert "pem" not in told


def test_somebody_without_a_membership_sees_nothing(client, ca, tenant):
    world.add(tenant)
    client.force_login(UserFactory())
    for name in ("devices", "sites", "groups", "tenants", "device-types"):
        assert client.get(f"/api/v1/{name}").json()["results"] == []
    assert post(client, {"name": "x"}).status_code == 403
