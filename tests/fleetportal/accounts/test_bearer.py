"""Who calls the API with a bearer token: let in for what it includes, and refused at once when it is over."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from devices.models import ApiToken, Membership, RepeatedRequest
from devices.people import api_tokens
from devices.people.scopes import DEVICES_READ, DEVICES_WRITE, READINGS_READ
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, member

pytestmark = pytest.mark.django_db
DEVICES = "/api/v1/devices"
TOKENS = "/api/v1/tokens"
DAY = timedelta(days=1)


@pytest.fixture
def tenant():
    return TenantFactory(slug="acme")


@pytest.fixture
def person(tenant):
    return member(tenant, "operator")


@pytest.fixture
def token(person, tenant):
    return api_tokens.make(person, tenant, "a script", [DEVICES_READ, DEVICES_WRITE], DAY, timezone.now())[1]


def ask(token, path=DEVICES, method="get", data=None, **more):
    """As a program does: no session, no CSRF token."""
    client = Client(enforce_csrf_checks=True)
    headers = {"Authorization": token if " " in token else f"Bearer {token}"} | more
    return getattr(client, method)(path, data, content_type="application/json", headers=headers)


def refusal(answer):
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    return answer.status_code, answer.json()["error_code"], answer.headers.get("WWW-Authenticate")


def ids(answer):
    assert answer.status_code == 200, answer.content
    return {each["device_id"] for each in answer.json()["results"]}


def test_a_token_shows_the_devices_of_its_tenant_and_no_others_of_its_person(tenant, person, token):
    mine = DeviceFactory(tenant=tenant)
    other = DeviceFactory()
    Membership.objects.create(user=person, tenant=other.tenant, role="owner")
    assert ids(ask(token)) == {mine.device_id}
    assert ask(token, f"{DEVICES}/{other.device_id}").status_code == 404


def test_a_token_of_staff_shows_no_more_than_its_tenant(tenant):
    staff = StaffFactory()
    Membership.objects.create(user=staff, tenant=tenant, role="viewer")
    mine = DeviceFactory(tenant=tenant)
    DeviceFactory()
    token = api_tokens.make(staff, tenant, "x", [DEVICES_READ], DAY, timezone.now())[1]
    assert ids(ask(token)) == {mine.device_id}


def test_a_token_writes_without_a_csrf_token_and_a_session_does_not(tenant, person, token):
    device = DeviceFactory(tenant=tenant)
    url = f"{DEVICES}/{device.device_id}"
    told = {"If-Match": ask(token, url).headers["ETag"]}
    assert ask(token, url, "patch", {"name": "Renamed"}, **told).json()["name"] == "Renamed"
    client = Client(enforce_csrf_checks=True)
    client.force_login(person)
    told = {"If-Match": client.get(url).headers["ETag"]}
    assert client.patch(url, {"name": "Again"}, content_type="application/json", headers=told).status_code == 403


def test_a_scope_that_it_lacks_or_its_person_lost(tenant, person):
    device = DeviceFactory(tenant=tenant)
    url, now = f"{DEVICES}/{device.device_id}", timezone.now()
    reader = api_tokens.make(person, tenant, "x", [READINGS_READ], DAY, now)[1]
    assert refusal(ask(reader))[:2] == (403, "permission_denied")
    writer = api_tokens.make(person, tenant, "x", [DEVICES_READ, DEVICES_WRITE], DAY, now)[1]
    Membership.objects.update(role="viewer")
    assert ask(writer, url).status_code == 200
    assert refusal(ask(writer, url, "patch", {"name": "No"}))[:2] == (403, "permission_denied")


@pytest.mark.parametrize(("path", "method"), [(DEVICES, "delete"), (f"{DEVICES}/x/latest", "put"), (TOKENS, "patch")])
def test_what_an_address_does_not_do_is_told_so_whatever_one_may(token, path, method):
    assert refusal(ask(token, path, method))[:2] == (405, "method_not_allowed")


def test_an_anonymous_call_is_asked_for_a_token():
    assert refusal(Client().get(DEVICES)) == (401, "not_authenticated", 'Bearer realm="api"')


INVALID = 'Bearer realm="api", error="invalid_token"'


@pytest.mark.parametrize(
    "sent", ["fpa_" + "a" * 43, "fpd_" + "a" * 43, "a.b.c", "Bearer ", "bearer x", "BEARER \x7f", "x" * 20_000, "ÿ.ÿ.ÿ"]
)
def test_what_nobody_knows(token, sent):
    assert refusal(ask(sent)) == (401, "token_unknown", INVALID)


def test_a_session_does_not_mend_a_token_that_is_wrong(person):
    client = Client()
    client.force_login(person)
    assert client.get(DEVICES).status_code == 200
    assert client.get(DEVICES, headers={"Authorization": "Bearer fpa_x"}).status_code == 401
    assert client.get(DEVICES, headers={"Authorization": "Basic eDp5"}).status_code == 200


def test_expired_and_revoked_are_told_apart(token, person):
    ApiToken.objects.update(expires_at=timezone.now())
    assert refusal(ask(token)) == (401, "token_expired", INVALID)
    ApiToken.objects.update(revoked_at=timezone.now())
    assert refusal(ask(token)) == (401, "token_revoked", INVALID)


def test_who_is_out_of_service_or_left(token, person):
    person.is_active = False
    person.save()
    assert refusal(ask(token))[:2] == (401, "token_revoked")
    person.is_active = True
    person.save()
    assert ask(token).status_code == 200
    Membership.objects.all().delete()
    assert refusal(ask(token))[:2] == (401, "token_revoked")


def test_use_is_noted(token):
    assert ApiToken.objects.get().last_used_at is None
    ask(token)
    noted = ApiToken.objects.get().last_used_at
    assert noted is not None
    ask(token)
    assert ApiToken.objects.get().last_used_at == noted


def test_guesses_of_an_address_are_made_to_wait_and_old_tokens_are_no_guesses(token):
    ApiToken.objects.update(expires_at=timezone.now())
    assert {ask(token).status_code for _ in range(35)} == {401}
    codes = [ask("fpa_" + "a" * 43).status_code for _ in range(31)]
    assert (set(codes[:30]), codes[30]) == ({401}, 429)
    assert ask("fpa_" + "b" * 43).headers["Retry-After"]


def test_guesses_keep_no_good_token_of_the_same_address_out(token):
    codes = {ask("fpa_" + "a" * 43).status_code for _ in range(31)}
    assert codes == {401, 429}
    assert ask(token).status_code == 200
    assert ask("fpa_" + "a" * 43).status_code == 429


class TestTokensOverTheApi:
    @pytest.fixture
    def mine(self, person):
        client = Client()
        client.force_login(person)
        return client

    def post(self, client, **changes):
        told = {"name": "nightly", "tenant": "acme", "scopes": [DEVICES_READ], "days": 30} | changes
        return client.post(TOKENS, told, content_type="application/json")

    def test_made_listed_read_and_revoked(self, mine, tenant):
        made = self.post(mine)
        assert made.status_code == 201, made.content
        assert made.headers["Cache-Control"] == "no-store"
        token = made.json()["token"]
        assert ask(token).status_code == 200
        (listed,) = mine.get(TOKENS).json()["results"]
        assert "token" not in listed
        assert (listed["tenant"], listed["prefix"]) == ("acme", token[:12])
        assert listed["last_used_at"]
        url = made.headers["Location"]
        assert mine.get(url).json() == listed
        assert [mine.delete(url).status_code for _ in range(2)] == [204, 204]
        assert ask(token).status_code == 401

    def test_a_lost_answer_is_given_again_and_makes_no_second_token(self, mine, tenant):
        told = {"name": "Reports", "tenant": tenant.slug, "scopes": [DEVICES_READ]}
        headers = {"Idempotency-Key": "7a1c"}
        first, again = (mine.post(TOKENS, told, content_type="application/json", headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json() and again.headers["Idempotency-Replayed"] == "true"
        assert "no-store" in again.headers["Cache-Control"]
        assert ApiToken.objects.count() == 1
        assert first.json()["token"].encode() not in bytes(RepeatedRequest.objects.get().body)

    def test_a_token_makes_no_token_and_sees_none(self, token, tenant):
        told = {"name": "more", "tenant": "acme", "scopes": [DEVICES_READ]}
        assert refusal(ask(token, TOKENS, "post", told))[:2] == (403, "permission_denied")
        assert ask(token, TOKENS).status_code == 403
        assert ask(token, f"{TOKENS}/{ApiToken.objects.get().pk}", "delete").status_code == 403
        assert ApiToken.objects.count() == 1

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"scopes": ["team:manage"]}, 400), ({"scopes": []}, 400), ({"scopes": ["nonsense"]}, 400),
            ({"scopes": "devices:read"}, 400), ({"days": 731}, 400), ({"days": 0}, 400), ({"name": ""}, 400),
            ({"name": 7}, 400), ({"tenant": "another"}, 404), ({"tenant": None}, 400), ({"extra": 1}, 400),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, mine, change, status):
        TenantFactory(slug="another")
        assert self.post(mine, **change).status_code == status
        assert not ApiToken.objects.exists()

    def test_nobody_sees_or_ends_anothers(self, mine, tenant):
        other = member(tenant)
        row = api_tokens.make(other, tenant, "theirs", [DEVICES_READ], DAY, timezone.now())[0]
        assert mine.get(TOKENS).json()["results"] == []
        assert mine.get(f"{TOKENS}/{row.pk}").status_code == 404
        assert mine.delete(f"{TOKENS}/{row.pk}").status_code == 404
        assert ApiToken.objects.get().revoked_at is None


def test_without_an_address_of_its_own_the_portal_knows_no_token_and_fails_at_none(person, settings):
    settings.PORTAL_URL = ""
    assert refusal(ask("a.b.c")) == (401, "token_unknown", INVALID)
    assert Client().get("/.well-known/openid-configuration").status_code == 404
