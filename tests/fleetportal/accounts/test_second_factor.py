"""Who must show a second factor gets nowhere without, whatever session they have."""

import asyncio

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt
from allauth.usersessions.models import UserSession
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from devices.models import Membership
from devices.people import second_factor
from firmware.consumers import CampaignConsumer
from fleetportal import roles
from fleetportal.accounts import checks
from telemetry.consumers import LiveConsumer
from tests.factories import StaffFactory, TenantFactory, member
from tests.fleetportal.accounts.codes import SECRET, code, equip

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"


@pytest.fixture
def strict():
    return TenantFactory(mfa_required=True)


def sign_in(client, username, password=PASSWORD):
    return client.post("/sign-in/", {"username": username, "password": password})


def give(client, digits, path="/account/2fa/authenticate/"):
    return client.post(path, {"code": digits})


class TestWhoMust:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("staff", [True, True, False, False]),
            ("owner", [False, False, True, False]),
            ("viewer,operator", [False, False, False, True]),
            ("security-officer", [False, True, False, False]),
            ("", [False, False, False, False]),
        ],
    )
    def test_is_told_by_role(self, settings, words, expected):
        settings.MFA_REQUIRED = frozenset(word for word in words.split(",") if word)
        tenant, officer = TenantFactory(), StaffFactory()
        officer.groups.add(Group.objects.get(name="Security officer"))
        people = [StaffFactory(), officer, member(tenant, "owner"), member(tenant, "viewer")]
        assert [second_factor.is_required(each) for each in people] == expected

    def test_is_told_by_any_of_their_tenants(self, strict):
        user = member(strict)
        other = member(TenantFactory())
        staff = StaffFactory()
        Membership.objects.create(user=staff, tenant=strict, role="viewer")
        assert second_factor.is_required(user)
        assert second_factor.is_required(staff)
        assert not second_factor.is_required(other)

    @pytest.mark.parametrize("word", ["Staff", "superuser", "security officer", "*"])
    def test_a_word_that_names_nobody_stops_the_start(self, settings, word):
        settings.MFA_REQUIRED = frozenset({"staff", word})
        with pytest.raises(ImproperlyConfigured, match="MFA_REQUIRED"):
            second_factor.check_words(roles.ROLES)

    def test_every_staff_role_can_be_named(self, settings):
        settings.MFA_REQUIRED = frozenset({"fleet-operator", "firmware-author", "support", "owner"})
        second_factor.check_words(roles.ROLES)

    def test_a_deployment_without_it_for_staff_is_warned_of(self, settings):
        settings.MFA_REQUIRED = frozenset({"owner"})
        assert [each.id for each in checks.staff_show_a_second_factor()] == ["accounts.W001"]
        settings.MFA_REQUIRED = frozenset({"staff"})
        assert checks.staff_show_a_second_factor() == []


class TestWithoutOne:
    @pytest.fixture(autouse=True)
    def somebody(self, client, strict):
        self.user = member(strict, "owner", username="olga", password=PASSWORD)
        client.force_login(self.user)

    @pytest.mark.parametrize(
        "path",
        ["/", "/devices/", "/team/", "/preferences/", "/account/sessions/", "/account/password/change/", "/nowhere/"],
    )
    def test_pages_lead_to_where_it_is_set_up(self, client, path):
        answer = client.get(path)
        if path == "/nowhere/":  # there is no page to keep anybody out of
            assert answer.status_code == 404
        else:
            assert answer.headers["Location"] == "/account/2fa/"

    def test_that_page_says_why(self, client):
        page = client.get("/account/2fa/")
        assert page.status_code == 200
        assert "asks for a second factor" in page.content.decode()

    @pytest.mark.parametrize("method", ["get", "post", "delete"])
    def test_the_api_answers_with_a_problem(self, client, method):
        answer = getattr(client, method)("/api/v1/exports")
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["error_code"] == "mfa_required"

    def test_staff_do_not_get_into_the_admin(self, client, settings):
        settings.MFA_REQUIRED = frozenset({"staff"})
        client.force_login(StaffFactory())
        for path in ("/admin/", "/admin/devices/device/", "/devices/"):
            assert client.get(path).headers["Location"] == "/account/2fa/"

    def test_signing_out_stays_possible(self, client):
        assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
        assert "_auth_user_id" not in client.session

    @pytest.mark.django_db(transaction=True)
    def test_setting_it_up_opens_everything(self, client):
        client.logout()
        assert sign_in(client, "olga").headers["Location"] == "/"
        client.post("/account/reauthenticate/", {"password": PASSWORD})
        page = client.get("/account/2fa/totp/activate/")
        answer = client.post("/account/2fa/totp/activate/", {"code": code(page.context["form"].secret)})
        assert answer.headers["Location"] == "/account/2fa/recovery-codes/"
        assert client.get("/").status_code == 200
        assert client.get("/api/v1/exports").status_code == 200


class TestWithOne:
    @pytest.fixture(autouse=True)
    def somebody(self, strict):
        self.user = member(strict, "owner", username="olga", password=PASSWORD)

    def test_signing_in_asks_for_it_and_then_pages_ask_no_more(self, client):
        equip(self.user)
        assert sign_in(client, "olga").headers["Location"] == "/account/2fa/authenticate/"
        assert "_auth_user_id" not in client.session
        assert client.get("/devices/").headers["Location"] == "/sign-in/?next=/devices/"
        assert give(client, code()).headers["Location"] == "/"
        assert client.get("/devices/").status_code == 200

    def test_it_costs_no_query(self, client, settings):
        equip(self.user)
        sign_in(client, "olga")
        give(client, code())
        settings.MFA_REQUIRED = frozenset({"owner", "staff", "security-officer"})
        with CaptureQueriesContext(connection) as queries:
            client.get("/devices/")
        told = " ".join(each["sql"] for each in queries)
        assert "mfa_required" not in told.replace('"devices_tenant"."mfa_required"', "", 1)
        assert "mfa_authenticator" not in told

    def test_a_session_from_before_has_to_show_it(self, client):
        """Somebody who had the password only must not be let in by what its owner set up."""
        client.force_login(self.user)
        equip(self.user)
        answer = client.get("/devices/?q=x")
        assert answer.headers["Location"] == "/account/2fa/reauthenticate/?next=%2Fdevices%2F%3Fq%3Dx"
        for path in ("/account/2fa/totp/activate/", "/account/2fa/webauthn/add/", "/account/reauthenticate/"):
            assert client.get(path).headers["Location"].startswith("/account/2fa/reauthenticate/")
        assert client.get("/account/2fa/reauthenticate/").status_code == 200
        answer = client.post("/account/2fa/reauthenticate/?next=/devices/", {"code": code(), "next": "/devices/"})
        assert answer.headers["Location"] == "/devices/"
        assert client.get("/devices/").status_code == 200

    def test_a_code_is_good_once(self, client):
        equip(self.user)
        digits = code()
        sign_in(client, "olga")
        give(client, digits)
        other = Client()
        sign_in(other, "olga")
        assert give(other, digits).status_code == 200
        assert give(other, digits[:3] + " " + digits[3:]).status_code == 200
        assert "_auth_user_id" not in other.session
        assert give(other, code(ahead=1)).status_code == 302

    def test_a_recovery_code_stands_for_a_lost_phone(self, client):
        equip(self.user)
        row = Authenticator.objects.get(user=self.user, type="recovery_codes")
        sign_in(client, "olga")
        assert give(client, row.wrap().get_unused_codes()[0]).headers["Location"] == "/"
        assert client.get("/").status_code == 200

    def test_codes_are_not_guessed(self, client, settings):
        settings.SIGN_IN_ATTEMPTS = 3
        equip(self.user)
        sign_in(client, "olga")
        pages = [give(client, "000000").content.decode() for _ in range(4)]
        assert ["Too many attempts" in page for page in pages] == [False, False, False, True]
        assert "Too many attempts" in give(client, code()).content.decode()
        assert "_auth_user_id" not in client.session

    def test_a_cache_that_is_away_locks_nobody_out(self, client, settings):
        equip(self.user)
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
        sign_in(client, "olga")
        assert give(client, "000000").status_code == 200
        assert give(client, code()).headers["Location"] == "/"

    def test_with_the_last_one_other_sessions_end(self, client):
        row = equip(self.user)
        sign_in(client, "olga")
        give(client, code())
        assert UserSession.objects.count() == 1
        row.delete()  # as staff do for somebody whose phone is lost
        assert not Session.objects.exists()
        assert client.get("/").headers["Location"] == "/sign-in/?next=/"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("consumer", [LiveConsumer, CampaignConsumer])
@pytest.mark.parametrize("shown", [False, True])
def test_sockets_are_refused(consumer, shown, settings):
    settings.MFA_REQUIRED = frozenset({"staff"})
    staff = StaffFactory()
    session = {"_auth_user_id": str(staff.pk)} | ({"second_factor": str(staff.pk)} if shown else {})

    async def frames():
        scope = {"type": "websocket", "path": "/", "user": staff, "session": session, "channel": "x",
                 "url_route": {"kwargs": {"pk": 1}}}  # fmt: skip
        socket = ApplicationCommunicator(consumer.as_asgi(), scope)
        await socket.send_input({"type": "websocket.connect"})
        told = [await socket.receive_output(5)]
        if not (shown and consumer is LiveConsumer):
            told.append(await socket.receive_output(5))
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(5)
        return told

    told = asyncio.run(frames())
    assert told[0]["type"] == "websocket.accept"
    if shown and consumer is LiveConsumer:
        assert len(told) == 1
    else:
        assert told[1]["code"] == 4403  # without a second factor; with it, as there is no such campaign


def test_nobody_lacks_what_they_need_not_have():
    assert not second_factor.lacks(AnonymousUser(), {})
    assert not second_factor.lacks(None, None)
    assert not second_factor.is_shown({"second_factor": "1"})
    assert not second_factor.is_shown({"second_factor": "1", "_auth_user_id": "2"})


def test_what_is_kept_of_a_second_factor_makes_nobody_a_code():
    user = member(TenantFactory())
    totp = equip(user)
    assert SECRET not in str(totp.data)
    codes = Authenticator.objects.get(user=user, type="recovery_codes")
    assert decrypt(codes.data["seed"]) not in str(codes.data)
    assert decrypt(totp.data["secret"]) == SECRET
