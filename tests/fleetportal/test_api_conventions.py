"""What holds at every route of the API, whoever wrote it: walked by the URL configuration."""

import json
import re

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client
from django.urls import get_resolver
from rest_framework.throttling import SimpleRateThrottle

from devices.models import Device
from devices.people.permissions import scope_of
from devices.people.scopes import SCOPES
from tests.devices.api.programs import caller, token
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OPEN = {"provision", "token", "access-token", "telemetry", "firmware-keys", "schema"}
"""Routes of devices, and for everybody."""


def _views():
    for each in get_resolver().url_patterns:
        route, view = str(each.pattern), getattr(getattr(each, "callback", None), "view_class", None)
        if route.startswith("api/v1/") and view is not None:
            yield route, each.name, view


VIEWS = [each for each in _views() if each[1] not in OPEN]
NAMES = [name for _, name, _ in VIEWS]
LISTS = [
    "/api/v1/devices", "/api/v1/sites", "/api/v1/groups", "/api/v1/tenants", "/api/v1/device-types",
    "/api/v1/exports", "/api/v1/campaigns", "/api/v1/releases", "/api/v1/tokens",
]  # fmt: skip


def fill(route, device):
    values = {"device_id": device.device_id, "tenant": device.tenant.slug, "device_type": device.device_type.slug}
    return "/" + re.sub(
        r"<(?:\w+:)?(\w+)>", lambda found: str(values.get(found[1], 1)), route.replace("<slug:act>", "pause")
    )


def assert_problem(answer, status, code=None):
    assert answer.status_code == status, answer.content[:500]
    assert answer["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert (told["status"], told["type"]) == (status, "about:blank")
    assert told["title"]
    assert told["detail"]
    assert told["correlation_id"] == answer["X-Correlation-ID"]
    assert code in (None, told["error_code"])
    return told


@pytest.fixture
def device(db):
    return DeviceFactory(tenant=TenantFactory(slug="acme"))


@pytest.fixture
def staff(client):
    client.force_login(StaffFactory())
    return client


@pytest.fixture
def owner(client, device):
    client.force_login(member(device.tenant))
    return client


@pytest.mark.parametrize(("route", "name", "view"), VIEWS, ids=NAMES)
class TestEveryRoute:
    def test_asks_who_that_is(self, client, device, route, name, view):
        method = next(each for each in METHODS if each in view().allowed_methods)
        answer = client.generic(method, fill(route, device))
        if name != "api-index":
            assert_problem(answer, 401)

    def test_says_which_methods_it_has(self, staff, device, route, name, view):
        missing = [each for each in METHODS if each not in view().allowed_methods]
        for method in missing:
            answer = staff.generic(method, fill(route, device))
            assert_problem(answer, 405, "method_not_allowed")
            assert set(answer["Allow"].split(", ")) - {"HEAD"} == set(view().allowed_methods)

    def test_keeps_its_answers_from_others(self, staff, device, route, name, view):
        answer = staff.get(fill(route, device))
        assert {"private", "public"} & set(answer["Cache-Control"].split(", "))
        assert "Cookie" in answer["Vary"]

    def test_names_a_scope_for_each_of_its_methods_or_none_at_all(self, staff, device, route, name, view):
        named = {each: scope_of(view, each) for each in view().allowed_methods if each != "OPTIONS"}
        told = [scope for scope in named.values() if scope]
        assert len(told) in (0, len(named)), named
        assert set(told) <= SCOPES.keys()

    def test_takes_no_text_that_cannot_be_kept(self, staff, device, route, name, view):
        for query in ("q=%00", "%FF=1", "a=b&cursor=%C3%28"):
            told = assert_problem(staff.get(f"{fill(route, device)}?{query}"), 400, "invalid")
            assert told["path"].startswith("$.")

    def test_understands_json_only_where_it_takes_some(self, staff, device, route, name, view):
        for method in {"POST", "PATCH"} & set(view().allowed_methods):
            answer = staff.generic(method, fill(route, device), "<xml/>", content_type="text/xml")
            assert answer.status_code in (415, 404, 428), answer.content
            answer = staff.generic(method, fill(route, device), "{", content_type="application/json")
            assert answer.status_code in (400, 404, 415, 428), answer.content
            assert answer["Content-Type"] == "application/problem+json"

    def test_answers_in_json(self, staff, device, route, name, view):
        if "GET" in view().allowed_methods and not route.endswith(("/file", "/artifact", "/sbom", "schema")):
            assert_problem(staff.get(fill(route, device), headers={"Accept": "text/html"}), 406, "not_acceptable")


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/nothing", "/api/v1/devices/", "/api/v1/devices/%00"])
def test_what_is_not_there_is_a_problem(owner, path):
    assert_problem(owner.get(path), 404, "not_found")


@pytest.mark.parametrize("path", LISTS)
def test_lists_refuse_places_that_are_none(staff, path):
    for query in ("cursor=garbage", "limit=0", "limit=9999999999999999999999", "limit=%D9%A3"):
        assert_problem(staff.get(f"{path}?{query}"), 400, "invalid")


@pytest.mark.parametrize(
    "path",
    ["devices?site=0", f"devices?site={2**63}", "devices?online=maybe", "devices?state=odd", "devices?ordering=odd",
     "devices?q=" + "x" * 201, f"campaigns?release={2**64}"],
)  # fmt: skip
def test_questions_out_of_range_are_refused(staff, path):
    assert_problem(staff.get(f"/api/v1/{path}"), 400, "invalid")


@pytest.mark.parametrize("path", ["sites", "exports", "campaigns", "tenants/acme/members"])
def test_numbers_too_large_for_a_column_are_nobodys(staff, device, path):
    assert_problem(staff.get(f"/api/v1/{path}/{10**30}"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"name": "a\\u0000"}', "$.name"),
        ('{"name": "\\ud800"}', "$.name"),
        ('{"name": ["x", {"y": "\\udfff"}]}', "$.name[1].y"),
        ('{"a\\u0000": 1}', "$"),
    ],
)
def test_text_in_a_body_can_be_kept(owner, body, path):
    told = assert_problem(owner.post("/api/v1/sites", body, content_type="application/json"), 400, "invalid")
    assert told["path"] == path


@pytest.mark.parametrize("body", ["", "{", "[1,2", '{"name": NaN}', "[" * 100_000, "9" * 5000, b"\xff\xfe{}", "nul"])
def test_a_body_that_is_no_json_is_refused(owner, body):
    answer = owner.post("/api/v1/sites", body, content_type="application/json")
    assert_problem(answer, 400)


def test_a_body_is_bounded(owner, settings):
    body = json.dumps({"name": "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE})
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = owner.post("/api/v1/sites", body, content_type="application/json", headers=headers)
        assert_problem(answer, 413, "too_large")


def test_a_session_needs_the_csrf_token_and_a_program_none(device):
    user = member(device.tenant)
    page = Client(enforce_csrf_checks=True)
    page.force_login(user)
    assert_problem(page.post("/api/v1/sites", {"name": "x"}, content_type="application/json"), 403, "permission_denied")
    program = Client(
        enforce_csrf_checks=True, headers={"Authorization": f"Bearer {token(user, device.tenant, 'devices:write')}"}
    )
    assert program.post("/api/v1/sites", {"name": "x"}, content_type="application/json").status_code == 201


def test_our_own_faults_are_problems_without_details(device, monkeypatch):
    client = Client(raise_request_exception=False)
    client.force_login(member(device.tenant))

    def broken(*args, **kwargs):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("devices.api.me._credential", broken)
    answer = client.get("/api/v1/me")
    assert_problem(answer, 500, "server_error")
    assert b"secret" not in answer.content


def test_a_database_that_is_away_is_told_to_come_again(owner, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("connection refused to 10.0.0.1")

    monkeypatch.setattr("devices.api.me._credential", away)
    answer = owner.get("/api/v1/me")
    assert_problem(answer, 503, "try_again")
    assert answer["Retry-After"]
    assert b"10.0.0.1" not in answer.content


class TestRates:
    @pytest.fixture(autouse=True)
    def _rate(self, monkeypatch):
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "api", "3/min")
        cache.clear()

    def test_what_is_left_is_told(self, owner):
        told = [owner.get("/api/v1/me") for _ in range(4)]
        assert [each.status_code for each in told] == [200, 200, 200, 429]
        assert [each["RateLimit-Remaining"] for each in told] == ["2", "1", "0", "0"]
        assert {each["RateLimit-Limit"] for each in told} == {"3"}
        assert all(0 < int(each["RateLimit-Reset"]) <= 60 for each in told)
        assert_problem(told[3], 429, "throttled")
        assert 0 < int(told[3]["Retry-After"]) <= 60

    def test_each_credential_has_its_own(self, client, device):
        user = member(device.tenant)
        client.force_login(user)
        one, other = (caller(user, device.tenant, "devices:read") for _ in range(2))
        for each in (client, one, other):
            assert [each.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]

    def test_a_cache_that_is_away_lets_through(self, owner, settings):
        settings.CACHES = settings.CACHES | {
            "default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}
        }
        answers = [owner.get("/api/v1/me") for _ in range(5)]
        assert {each.status_code for each in answers} == {200}
        assert "RateLimit-Limit" not in answers[0]


def test_what_people_wrote_is_told_as_they_wrote_it(staff, device):
    Device.objects.filter(pk=device.pk).update(name=world.SCRIPT)
    answer = staff.get(f"/api/v1/devices/{device.device_id}")
    assert answer.json()["name"] == world.SCRIPT
    assert answer["X-Content-Type-Options"] == "nosniff"
