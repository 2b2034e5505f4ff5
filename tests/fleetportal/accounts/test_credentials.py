"""What ends with a password, what asks for it again, what is written down, and what waits while Valkey is away."""

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.idp.oidc.models import Token
from allauth.mfa.models import Authenticator
from authlib.integrations.base_client.errors import OAuthError
from django.core import mail
from django.test import Client
from django.utils import timezone
from redis import RedisError

from devices.models import ApiToken, Event
from devices.people import api_tokens
from devices.people.scopes import DEVICES_READ
from fleetportal.accounts.middleware import TryAgain
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal.accounts.apps import Portal
from tests.fleetportal.accounts.codes import code, equip

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
ANOTHER = "quite another one 7"
DEVICES = "/api/v1/devices"


def token_of(user):
    tenant = user.memberships.get().tenant
    return api_tokens.make(user, tenant, "x", [DEVICES_READ], timedelta(days=1), timezone.now())[1]


@pytest.fixture
def olga():
    return member(TenantFactory(), "owner", username="olga", email="olga@example.com", password=PASSWORD)


@pytest.fixture
def signed_in(client, olga):
    client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
    return client


def reset(password=ANOTHER):
    """By the link of a mail, in a browser that nobody is signed in with."""
    client = Client()
    client.post("/account/password/reset/", {"email": "olga@example.com"})
    link = re.search(r"http://testserver(/\S+)", mail.outbox[-1].body)[1]
    form = client.get(link).headers["Location"]
    return client.post(form, {"password1": password, "password2": password})


def change(client, password=ANOTHER):
    told = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    return client.post("/account/password/change/", told)


def kinds():
    return list(Event.objects.filter(kind__startswith="account.").order_by("pk").values_list("kind", flat=True))


class TestANewPassword:
    @pytest.fixture
    def held(self, olga):
        """An app that olga let in, a token of hers and one of somebody else: who may still read?"""
        portal = Portal()
        app = portal.app()
        granted = app.sign_in(portal.person(olga))
        other = member(olga.memberships.get().tenant, "viewer")
        values = [granted["access_token"], token_of(olga), token_of(other)]
        assert [app.api(each).status_code for each in values] == [200, 200, 200]
        return lambda: [app.api(each).status_code for each in values]

    def test_by_mail_ends_sessions_apps_and_tokens(self, signed_in, olga, held):
        assert reset().status_code == 302
        assert held() == [401, 401, 200]
        assert signed_in.get("/").status_code == 302
        assert kinds() == ["account.password_reset"]
        event = Event.objects.get(kind="account.password_reset")
        assert (event.user, event.detail) == (olga, {"person": "olga", "tokens": 1, "apps": 1})
        ended = Event.objects.filter(kind__in=["apitoken.revoked", "app.ended"])
        assert sorted(ended.values_list("kind", "reason")) == [
            ("apitoken.revoked", "A new password was set"),
            ("app.ended", "A new password was set"),
        ]

    def test_by_the_old_one_ends_all_but_this_session(self, signed_in, held):
        elsewhere = Client()
        elsewhere.post("/sign-in/", {"username": "olga", "password": PASSWORD})
        assert change(signed_in).status_code == 302
        assert held() == [401, 401, 200]
        assert [each.get("/").status_code for each in (signed_in, elsewhere)] == [200, 302]
        assert kinds() == ["account.password_changed"]

    def test_that_staff_set_ends_all(self, signed_in, olga, held):
        staff, browser = StaffFactory(is_superuser=True), Client()
        browser.force_login(staff)
        told = {"password1": ANOTHER, "password2": ANOTHER, "usable_password": "true", "why": "Phoned us"}
        assert browser.post(f"/admin/auth/user/{olga.pk}/password/", told).status_code == 302
        assert held() == [401, 401, 200]
        assert signed_in.get("/").status_code == 302
        event = Event.objects.get(kind="account.password_set")
        assert (event.user, event.detail) == (staff, {"person": "olga", "tokens": 1, "apps": 1})
        assert {each.user for each in Event.objects.filter(kind__in=["apitoken.revoked"])} == {staff}

    @pytest.mark.parametrize("way", [reset, change])
    def test_spoils_a_code_that_was_granted_before(self, signed_in, olga, way):
        app = Portal().app()
        location = app.portal.person(olga).decide(app.address()).headers["Location"]
        assert way(*([signed_in] if way is change else [])).status_code == 302
        with pytest.raises(OAuthError, match="invalid_grant"):
            app.exchange(location)
        assert not Token.objects.exists()

    def test_that_is_refused_ends_nothing(self, signed_in, held):
        assert change(signed_in, "short").status_code == 200
        assert reset("short").status_code == 200
        assert held() == [200, 200, 200]
        assert kinds() == []

    def test_ends_all_though_no_mail_can_be_sent(self, signed_in, held, settings):
        signed_in.raise_request_exception = False
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        change(signed_in)
        assert held() == [401, 401, 200]


class TestAnotherAddress:
    def ask(self, client):
        return client.post("/account/email/", {"action_add": "", "email": "new@example.com"})

    def test_needs_the_password_again(self, signed_in):
        assert self.ask(signed_in).headers["Location"].startswith("/account/reauthenticate/")
        assert not EmailAddress.objects.filter(email="new@example.com").exists()
        assert mail.outbox == []

    def test_or_the_second_factor(self, client, olga):
        equip(olga)
        client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
        client.post("/account/2fa/authenticate/", {"code": code()})
        assert "reauthenticate" in self.ask(client).headers["Location"]
        client.post("/account/2fa/reauthenticate/", {"code": code(ahead=1)})
        self.ask(client)
        assert [each.to for each in mail.outbox] == [["new@example.com"]]

    def test_leaves_evidence_when_it_is_confirmed(self, signed_in, olga):
        EmailAddress.objects.create(user=olga, email="olga@example.com", primary=True, verified=True)
        signed_in.post("/account/reauthenticate/", {"password": PASSWORD})
        self.ask(signed_in)
        assert kinds() == []
        link = re.search(r"http://testserver(/account/confirm-email/\S+)", mail.outbox[0].body)[1]
        signed_in.post(link)
        event = Event.objects.get(kind="account.email_changed")
        told = {"person": "olga", "before": "olga@example.com", "email": "new@example.com"}
        assert (event.user, event.detail) == (olga, told)
        olga.refresh_from_db()
        assert olga.email == "new@example.com"


class TestEvidence:
    def test_of_a_second_factor_that_its_owner_sets_up_and_removes(self, signed_in, olga):
        signed_in.post("/account/reauthenticate/", {"password": PASSWORD})
        secret = signed_in.get("/account/2fa/totp/activate/").context["form"].secret
        signed_in.post("/account/2fa/totp/activate/", {"code": code(secret)})
        assert kinds() == ["account.second_factor_added", "account.recovery_codes_made"]
        signed_in.post("/account/2fa/recovery-codes/generate/")
        assert kinds()[2:] == ["account.recovery_codes_made"]
        signed_in.post("/account/2fa/totp/deactivate/")
        assert kinds()[3:] == ["account.second_factor_removed"]
        assert not Authenticator.objects.exists()
        told = Event.objects.filter(kind__startswith="account.").order_by("pk")
        assert {each.user for each in told} == {olga}
        assert [each.detail["type"] for each in told] == ["totp", "recovery_codes", "recovery_codes", "totp"]

    def test_of_one_that_staff_remove_names_both(self, client, olga):
        row, staff = equip(olga), StaffFactory(is_superuser=True)
        client.force_login(staff)
        client.post(f"/admin/mfa/authenticator/{row.pk}/delete/", {"post": "yes", "why": "Phone lost"})
        event = Event.objects.get(kind="account.second_factor_removed")
        assert (event.user, event.detail) == (staff, {"person": "olga", "type": "totp"})

    def test_of_its_use_there_is_none(self, client, olga):
        equip(olga)
        before = kinds()
        client.post("/sign-in/", {"username": "olga", "password": PASSWORD})
        client.post("/account/2fa/authenticate/", {"code": code()})
        assert client.get("/").status_code == 200
        assert kinds() == before

    def test_of_sessions_that_are_ended_from_elsewhere(self, signed_in, olga):
        signed_in.post("/account/sessions/")
        assert kinds() == []
        Client().post("/sign-in/", {"username": "olga", "password": PASSWORD})
        signed_in.post("/account/sessions/")
        event = Event.objects.get(kind="account.sessions_ended")
        assert (event.user, event.detail) == (olga, {"sessions": 1})


def test_nobody_has_us_write_to_a_stranger(client, olga):
    assert client.post("/account/password/reset/", {"email": "stranger@example.com"}).status_code == 302
    assert mail.outbox == []


class TestWhileValkeyIsAway:
    @pytest.fixture(autouse=True)
    def away(self, settings, olga):
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}

    def test_a_page_that_needs_it_says_to_come_again(self, client):
        client.raise_request_exception = False
        answer = client.post("/account/password/reset/", {"email": "olga@example.com"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        page = answer.content.decode()
        assert "Try again in a moment" in page and "fleetportal.css" in page
        assert mail.outbox == []

    def test_what_else_fails_is_no_matter_of_waiting(self, rf):
        judge = TryAgain(lambda _: None).process_exception
        assert judge(rf.get("/account/email/"), RedisError()).status_code == 503
        assert judge(rf.get("/identity/o/authorize"), RedisError()).status_code == 503
        assert judge(rf.get("/devices/"), RedisError()) is None
        assert judge(rf.get("/account/email/"), ValueError()) is None


def test_what_was_revoked_before_ends_no_second_time(olga):
    token_of(olga)
    ApiToken.objects.update(revoked_at=timezone.now())
    reset()
    assert not Event.objects.filter(kind="apitoken.revoked").exists()
