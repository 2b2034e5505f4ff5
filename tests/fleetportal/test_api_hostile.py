"""What somebody tries who means no good, or whose client is odd: each was answered wrongly once."""

import json
import time
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone

from devices.models import Device, Membership
from telemetry.exporting import exports
from tests.devices.api.programs import caller
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, member
from tests.fleetportal import world
from tests.fleetportal.test_api_conventions import assert_problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def device(db):
    return DeviceFactory(tenant=TenantFactory(slug="acme"))


@pytest.fixture
def owner(client, device):
    client.force_login(member(device.tenant))
    return client


class TestBodies:
    @pytest.mark.parametrize(
        "charset", ["punycode", "idna", "utf-7", "utf-16", "latin-1", "unicode_escape", "bz2", "odd"]
    )
    def test_json_is_utf_8_whatever_its_type_says(self, owner, charset):
        kind = f"application/json; charset={charset}"
        answer = owner.generic("POST", "/api/v1/sites", b'{"name": "x"}', content_type=kind)
        assert_problem(answer, 415, "unsupported_media_type")

    @pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', "us-ascii"])
    def test_those_who_say_what_json_is_are_understood(self, owner, charset):
        kind = f"application/json; charset={charset}"
        answer = owner.generic("POST", "/api/v1/sites", b'{"name": "x"}', content_type=kind)
        assert answer.status_code == 201, answer.content

    def test_a_small_body_keeps_no_processor_busy(self, owner):
        start = time.process_time()
        owner.generic("POST", "/api/v1/sites", b"b" * 300_000, content_type="application/json; charset=punycode")
        assert time.process_time() - start < 2

    @pytest.mark.parametrize("body", ['{"name": "a", "name": "b"}', '{"name": "a", "x": [{"y": 1, "y": 2}]}'])
    def test_a_name_that_is_told_twice_is_refused(self, owner, body):
        answer = owner.post("/api/v1/sites", body, content_type="application/json")
        assert "twice" in assert_problem(answer, 400, "parse_error")["detail"]

    def test_a_number_of_thousands_of_digits_tells_nothing_of_our_insides(self, owner):
        answer = owner.post("/api/v1/sites", "9" * 5000, content_type="application/json")
        assert "sys." not in assert_problem(answer, 400, "parse_error")["detail"]

    @pytest.mark.parametrize("body", [{"x": 1}, {"name": 1}, {"name": "x", "tenant": "foreign"}])
    def test_all_mistakes_are_lists_by_field(self, owner, body):
        answer = owner.post("/api/v1/sites", body, content_type="application/json")
        told = assert_problem(answer, 400, "invalid")["errors"]
        assert all(isinstance(each, list) for each in told.values()), told


class TestPlaces:
    @pytest.mark.parametrize("name", ["Ж" * 200, "\U0001f9ca" * 200, "\x1b" * 200], ids=["letters", "signs", "escapes"])
    def test_a_page_goes_on_behind_a_long_name(self, owner, device, name):
        for _ in range(2):
            DeviceFactory(tenant=device.tenant, name=name)
        seen, address = [], "/api/v1/devices?limit=1"
        while address:
            answer = owner.get(address)
            assert answer.status_code == 200, answer.content
            seen += [each["device_id"] for each in answer.json()["results"]]
            address = answer.json()["next"]
        assert sorted(seen) == sorted(Device.objects.values_list("device_id", flat=True))

    def test_a_place_of_somebody_else_shows_nothing_of_theirs(self, owner, device):
        foreign = [DeviceFactory(name=f"Foreign {each}") for each in range(2)]
        stranger = caller(member(foreign[0].tenant), foreign[0].tenant, "devices:read")
        DeviceFactory(tenant=foreign[0].tenant)
        place = stranger.get("/api/v1/devices?limit=1").json()["next"]
        shown = owner.get(place).json()
        assert not {each.device_id for each in foreign} & {each["device_id"] for each in shown["results"]}


class TestFiles:
    @pytest.fixture
    def export(self, device, owner, settings):
        now = timezone.now()
        user = Membership.objects.get(tenant=device.tenant).user
        made = exports.request(user, [device.device_id], now - timedelta(hours=1), now, "csv", "reading", now)
        exports.run(made.pk)
        return made

    @pytest.mark.parametrize("accept", ["text/csv", "*/*", "application/octet-stream", "application/json"])
    def test_a_file_is_given_to_whoever_asks_for_its_type(self, owner, export, accept):
        answer = owner.get(f"/api/v1/exports/{export.pk}/file", headers={"Accept": accept})
        assert answer.status_code == 200, answer.content
        assert answer["Content-Type"].startswith("text/csv")

    def test_a_file_that_is_gone_is_a_problem_for_them_too(self, owner, export):
        owner.delete(f"/api/v1/exports/{export.pk}")
        answer = owner.get(f"/api/v1/exports/{export.pk}/file", headers={"Accept": "text/csv"})
        assert_problem(answer, 410, "export_gone")

    def test_an_export_is_asked_for_again_only_if_it_changed(self, owner, export):
        first = owner.get(f"/api/v1/exports/{export.pk}")
        again = owner.get(f"/api/v1/exports/{export.pk}", headers={"If-None-Match": first["ETag"]})
        assert again.status_code == 304

    def test_times_have_a_zone_as_everywhere(self, owner, device):
        body = {"devices": [device.device_id], "since": "2026-11-21T00:00:00", "until": "2026-11-22T00:00:00Z"}
        told = assert_problem(owner.post("/api/v1/exports", body, content_type="application/json"), 400, "invalid")
        assert told["path"] == "$.since"


class TestOneThing:
    """Its ETag: whoever has it asks again for nothing."""

    @pytest.mark.parametrize("role", ["viewer", "staff"])
    def test_is_told_again_only_if_it_changed(self, client, device, ca, role):
        own = world.add(device.tenant, 2)
        client.force_login(StaffFactory() if role == "staff" else member(device.tenant, role))
        update = own.updates.get()
        addresses = [f"campaigns/{update.campaign_id}", f"exports/{own.exports.get().pk}"]
        if role == "staff":
            addresses.append(f"releases/{update.campaign.release_id}")
        for address in addresses:
            first = client.get(f"/api/v1/{address}")
            assert first.status_code == 200, first.content
            again = client.get(f"/api/v1/{address}", headers={"If-None-Match": first["ETag"]})
            assert (again.status_code, again.content) == (304, b""), address


class TestWaiting:
    def test_who_guesses_codes_is_told_how_long_to_wait(self, owner, settings):
        settings.CLAIM_CODE_GUESSES = 1
        answers = [
            owner.post("/api/v1/devices", {"code": "AAAA-AAAA-AAAA-AAAA"}, content_type="application/json")
            for _ in range(3)
        ]
        assert_problem(answers[-1], 429, "too_many_guesses")
        assert int(answers[-1]["Retry-After"]) > 0

    def test_behind_a_proxy_a_guesser_is_alone(self, device, settings, client):
        """All calls come from the proxy's address: it must not be what is counted."""
        cache.clear()
        settings.CLAIM_CODE_GUESSES = 1
        settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
        wrong = {"code": "AAAA-AAAA-AAAA-AAAA"}

        def ask(person, address):
            program = caller(person, device.tenant, "devices:write")
            headers = {"X-Forwarded-For": f"203.0.113.200, {address}"}
            return program.post("/api/v1/devices", wrong, content_type="application/json", headers=headers)

        for _ in range(12):  # each of them once, all from one office
            ask(member(device.tenant), "198.51.100.7")
        assert ask(member(device.tenant), "198.51.100.7").status_code == 429
        assert ask(member(device.tenant), "192.0.2.9").status_code == 404


class TestChanges:
    @pytest.fixture
    def viewer(self, device):
        return member(device.tenant, "viewer").memberships.get()

    def patch(self, owner, row, role, **headers):
        address = f"/api/v1/tenants/acme/members/{row.pk}"
        return owner.patch(address, {"role": role}, content_type="application/json", headers=headers)

    def test_a_role_is_changed_by_who_saw_it(self, owner, viewer):
        assert_problem(self.patch(owner, viewer, "operator"), 428, "precondition_required")
        seen = owner.get(f"/api/v1/tenants/acme/members/{viewer.pk}")["ETag"]
        assert self.patch(owner, viewer, "operator", **{"If-Match": seen}).status_code == 200
        assert_problem(self.patch(owner, viewer, "owner", **{"If-Match": seen}), 412, "precondition_failed")
        viewer.refresh_from_db()
        assert viewer.role == "operator"

    def test_a_tag_is_kept_once(self, owner, device):
        address = f"/api/v1/devices/{device.device_id}"
        answer = owner.patch(
            address,
            {"tags": ["b", "a", "b"]},
            content_type="application/json",
            headers={"If-Match": owner.get(address)["ETag"]},
        )
        assert answer.json()["tags"] == ["b", "a"]


def test_a_program_of_a_member_is_refused_releases_and_not_thrown_out(device):
    """401 would tell an app that its token is no longer good."""
    program = caller(member(device.tenant), device.tenant, "firmware:read")
    assert_problem(program.get("/api/v1/releases"), 403, "permission_denied")


def test_the_example_of_an_event_is_what_is_told(owner, device):
    address = f"/api/v1/devices/{device.device_id}"
    headers = {"If-Match": owner.get(address)["ETag"]}
    owner.patch(address, {"name": "Cold room 3"}, content_type="application/json", headers=headers)
    told = owner.get(f"{address}/events?kind=device.edited").json()["results"][0]["detail"]
    schema = json.loads(owner.get("/api/v1/schema").content)
    operation = schema["paths"]["/api/v1/devices/{device_id}/events"]["get"]
    example = operation["responses"]["200"]["content"]["application/json"]["examples"]
    shown = next(iter(example.values()))["value"]["results"][0]["detail"]
    assert shown == told | {"changes": {"name": ["", "Cold room 3"]}}
