"""The staff's pages of apps: registered, their secret shown once; and of tokens that people made, which they revoke."""

import re
from datetime import timedelta

import pytest
from allauth.idp.oidc.models import Client as App
from allauth.idp.oidc.models import Token
from django.contrib import admin
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from devices.admin.apps import mistake_in
from devices.models import ApiToken, Event
from devices.people import api_tokens, signing_keys
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal import world

pytestmark = pytest.mark.django_db
LIST = reverse("admin:allauth_idp_oidc_client_changelist")
ADD = reverse("admin:allauth_idp_oidc_client_add")
MAY = ["superuser", "Security officer"]
MAY_NOT = ["Fleet operator", "Firmware author", "Firmware approver", "Support"]


def somebody(who):
    return StaffFactory() if who == "superuser" else world.staff(who)


def register(client, **changes):
    told = {"name": "Cold Watch", "type": "confidential", "redirect_uris": "https://app.example/back"}
    told |= {"asks": ["devices:read", "offline_access"]}
    return client.post(ADD, told | changes, follow=True)


def secrets_on(answer):
    return re.findall(r'<pre class="pem" id="secret\d*"[^>]*>([A-Za-z0-9_-]{43})</pre>', answer.content.decode())


@pytest.mark.parametrize("who", MAY)
def test_an_app_is_registered_and_its_secret_shown_once(client, who):
    client.force_login(somebody(who))
    answer = register(client)
    (secret,) = secrets_on(answer)
    app = App.objects.get()
    assert app.check_secret(secret)
    assert secret not in app.secret
    assert set(app.get_scopes()) == {"openid", "offline_access", "devices:read"}
    assert app.get_grant_types() == ["authorization_code", "refresh_token"]
    assert (app.get_response_types(), app.skip_consent, app.allow_uri_wildcards) == (["code"], False, False)
    assert "no-store" in answer.headers["Cache-Control"]
    page = client.get(reverse("admin:allauth_idp_oidc_client_change", args=[app.pk])).content.decode()
    assert secret not in page and app.secret not in page
    assert secret not in str([each.get_decoded() for each in Session.objects.all()])
    assert secret not in str(list(Event.objects.values("detail")))


@pytest.mark.parametrize("who", MAY_NOT)
def test_nobody_else_sees_them(client, who):
    App.objects.create(name="x")
    client.force_login(somebody(who))
    assert client.get(LIST).status_code == 403
    assert register(client).status_code == 403
    told = {"action": "new_secret", "_selected_action": [App.objects.get().pk], "reason": "x"}
    assert client.post(LIST, told).status_code == 403
    assert App.objects.get().name == "x"


def test_a_new_secret_ends_the_old_one(client):
    client.force_login(StaffFactory())
    (old,) = secrets_on(register(client))
    app = App.objects.get()
    told = {"action": "new_secret", "_selected_action": [app.pk]}
    assert secrets_on(client.post(LIST, told)) == []
    (new,) = secrets_on(client.post(LIST, told | {"reason": "got lost"}))
    app.refresh_from_db()
    assert app.check_secret(new) and not app.check_secret(old)
    assert Event.objects.get(kind="client.secret_renewed").reason == "got lost"


def test_a_public_app_has_none(client):
    client.force_login(StaffFactory())
    assert secrets_on(register(client, type="public")) == []
    assert App.objects.get().type == "public"


def test_removing_an_app_ends_what_it_can_do(client):
    client.force_login(StaffFactory())
    register(client)
    app = App.objects.get()
    Token.objects.create(type="rt", hash="h", client=app, user=member(TenantFactory()))
    url = reverse("admin:allauth_idp_oidc_client_delete", args=[app.pk])
    answer = client.post(url, {"post": "yes", "why": "no longer used"}, follow=True)
    assert answer.status_code == 200
    assert not App.objects.exists()
    assert not Token.objects.exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/back", "http://localhost/back", "https://*.example/back", "https://app.example/back#x",
        "https://me@app.example/", "javascript:alert(1)", "data:text/html,x", "nonsense", "https://", "app:/back", "https://[",
    ],
)  # fmt: skip
def test_addresses_nobody_is_sent_back_to(client, uri):
    assert mistake_in(uri)
    client.force_login(StaffFactory())
    assert register(client, redirect_uris=uri).status_code == 200
    assert not App.objects.exists()


@pytest.mark.parametrize(
    "uri", ["https://app.example/back?x=1", "http://127.0.0.1/back", "http://[::1]/", "com.example.app:/back"]
)
def test_addresses_that_are_fine(uri):
    assert mistake_in(uri) == ""


def test_tokens_of_apps_are_no_rows_to_edit():
    assert not admin.site.is_registered(Token)


def test_staff_revoke_a_token_that_got_lost_and_see_nothing_of_it(client):
    tenant = TenantFactory()
    row, token = api_tokens.make(member(tenant), tenant, "x", ["devices:read"], timedelta(days=1), timezone.now())
    client.force_login(world.staff("Security officer"))
    url = reverse("admin:devices_apitoken_changelist")
    page = client.get(reverse("admin:devices_apitoken_change", args=[row.pk])).content.decode()
    assert row.token_hash not in page
    assert token not in page
    told = {"action": "revoke", "_selected_action": [row.pk], "reason": "lost"}
    assert client.post(url, told, follow=True).status_code == 200
    assert ApiToken.objects.get().revoked_at
    assert Event.objects.get(kind="apitoken.revoked").reason == "lost"


def test_signing_keys_are_looked_at(client):
    signing_keys.public(timezone.now())
    client.force_login(StaffFactory())
    text = client.get(reverse("admin:devices_signingkey_changelist")).content.decode()
    assert "In use" in text
    assert "PRIVATE" not in text
