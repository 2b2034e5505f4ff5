"""The page of tokens: made and shown once, listed as text, revoked; and nobody else's."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from devices.models import ApiToken, Membership
from devices.people import api_tokens
from devices.people.scopes import DEVICES_READ
from tests.factories import StaffFactory, TenantFactory, UserFactory, member
from tests.fleetportal.world import SCRIPT

pytestmark = pytest.mark.django_db
PAGE = "/tokens/"


@pytest.fixture
def tenant():
    return TenantFactory(name="Acme")


@pytest.fixture
def person(client, tenant):
    user = member(tenant, "viewer")
    client.force_login(user)
    return user


def make(client, tenant, **changes):
    return client.post(PAGE, {"name": "nightly", "tenant": tenant.pk, "scopes": [DEVICES_READ], "days": 90} | changes)


def shown(answer):
    return re.findall(r"fpa_[A-Za-z0-9_-]{43}", answer.content.decode())


def test_a_token_is_shown_once(client, person, tenant):
    answer = make(client, tenant)
    (token,) = shown(answer)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert api_tokens.check(token, timezone.now()).row.name == "nightly"
    page = client.get(PAGE)
    assert shown(page) == []
    assert "nightly" in page.content.decode()
    assert token[:12] in page.content.decode()


def test_a_viewer_is_offered_only_what_a_viewer_may(client, person, tenant):
    text = client.get(PAGE).content.decode()
    assert 'value="devices:read"' in text
    assert 'value="devices:write"' not in text
    answer = make(client, tenant, scopes=["devices:write"])
    assert answer.status_code == 400
    assert not ApiToken.objects.exists()


def test_a_role_of_one_organisation_is_none_in_another(client, person, tenant):
    other = TenantFactory()
    Membership.objects.create(user=person, tenant=other, role="owner")
    answer = make(client, tenant, scopes=["team:manage"])
    assert answer.status_code == 400
    assert "no more than you may" in answer.content.decode()
    assert make(client, other, scopes=["team:manage"]).status_code == 200


@pytest.mark.parametrize("change", [{"name": ""}, {"scopes": []}, {"days": 731}, {"days": "x"}, {"tenant": 0}])
def test_mistakes_are_told(client, person, tenant, change):
    answer = client.post(PAGE, {"name": "x", "tenant": tenant.pk, "scopes": [DEVICES_READ], "days": 90} | change)
    assert answer.status_code == 400
    assert 'class="error"' in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_revoking_is_at_once_and_ones_own(client, person, tenant):
    (token,) = shown(make(client, tenant))
    row = ApiToken.objects.get()
    stranger = Client()
    stranger.force_login(member(tenant))
    assert stranger.post(f"/tokens/{row.pk}/revoke/").status_code == 404
    assert client.get(f"/tokens/{row.pk}/revoke/").status_code == 405
    assert client.post(f"/tokens/{row.pk}/revoke/", follow=True).status_code == 200
    assert Client().get("/api/v1/devices", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert "Revoked" in client.get(PAGE).content.decode()


def test_names_are_text(client, person, tenant):
    api_tokens.make(person, tenant, SCRIPT, [DEVICES_READ], timedelta(days=1), timezone.now())
    text = client.get(PAGE).content.decode()
    assert "&lt;script&gt;" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize("kind", [UserFactory, StaffFactory])
def test_who_is_member_of_nothing_is_told_so(client, kind):
    client.force_login(kind())
    answer = client.get(PAGE)
    assert answer.status_code == 200
    assert "you are a member of none" in answer.content.decode()
    assert client.post(PAGE, {"name": "x"}).status_code == 400


def test_strangers_are_sent_to_sign_in(client):
    for path in (PAGE, "/tokens/1/revoke/", "/tokens/apps/x/end/"):
        answer = client.post(path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/sign-in/")
