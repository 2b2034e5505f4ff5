"""Apps sign people in, by an independent client library; and everything that they must be refused."""

from datetime import timedelta

import jwt
import pytest
import time_machine
from allauth.idp.oidc.models import Token
from authlib.integrations.base_client.errors import OAuthError
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from joserfc.errors import InvalidKeyIdError

from devices.models import Event, SigningKey, SpentToken
from devices.people import families, signing_keys
from fleetportal.accounts import attempts
from tests.factories import DeviceFactory, StaffFactory, TenantFactory, member
from tests.fleetportal.accounts.apps import SCOPES, Portal, answer_of, register

pytestmark = pytest.mark.django_db


@pytest.fixture
def portal(db):
    return Portal()


@pytest.fixture
def person():
    return member(TenantFactory(name="Acme"), "operator", username="ann", email="ann@example.com", first_name="Ann")


@pytest.fixture
def visit(portal, person):
    return portal.person(person)


@pytest.fixture
def app(portal):
    return portal.app()


def error_of(call, *args, **kwargs):
    with pytest.raises(OAuthError) as caught:
        call(*args, **kwargs)
    return caught.value.error


class TestSigningIn:
    def test_a_public_app_signs_its_person_in_and_reads_their_devices_and_no_others(self, app, visit, person):
        mine = DeviceFactory(tenant=person.memberships.get().tenant)
        DeviceFactory()
        answer = visit.decide(app.address())
        told = answer_of(answer.headers["Location"])
        assert set(told) == {"code", "state", "iss"}
        assert (told["state"], told["iss"]) == (app.state, app.url)
        tokens = app.exchange(answer.headers["Location"])
        assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 600)
        assert set(tokens["scope"].split()) == set(SCOPES.split())
        identity = app.claims(tokens["id_token"])
        assert identity["iss"] == app.url == app.told["issuer"]
        assert (identity["aud"], identity["sub"], identity["nonce"]) == (app.app.pk, str(person.pk), "n-1")
        assert (identity["email"], identity["email_verified"]) == ("ann@example.com", False)
        access = app.claims(tokens["access_token"])
        assert (access["sub"], access["aud"], access["client_id"]) == (str(person.pk), app.url, app.app.pk)
        assert set(access["scope"].split()) == set(SCOPES.split())
        assert access["exp"] - access["iat"] == 600
        answer = app.api(tokens["access_token"])
        assert answer.status_code == 200, answer.text
        assert [each["device_id"] for each in answer.json()["results"]] == [mine.device_id]
        assert app.userinfo(tokens["access_token"]).json() == {
            "sub": str(person.pk), "name": "Ann", "given_name": "Ann", "preferred_username": "ann",
            "email": "ann@example.com", "email_verified": False,
        }  # fmt: skip

    def test_an_app_with_a_secret_needs_it_and_the_proof(self, portal, visit):
        app = portal.app(register("confidential"))
        assert app.sign_in(visit)["refresh_token"]
        app.oauth.client_secret = "wrong"
        assert error_of(app.sign_in, visit) == "invalid_client"
        assert (
            "error=invalid_request"
            in visit.http.get(app.address().replace("code_challenge=", "nothing=")).headers["Location"]
        )

    def test_what_is_discovered_comes_from_a_setting_and_not_from_the_request(self, portal, settings):
        settings.ALLOWED_HOSTS = ["*"]
        told = portal.http.get("/.well-known/openid-configuration", headers={"Host": "evil.example"}).json()
        assert "evil" not in str(told)
        assert told["issuer"] == portal.url
        assert told["code_challenge_methods_supported"] == ["S256"]
        assert told["response_types_supported"] == ["code"]
        assert told["grant_types_supported"] == ["authorization_code", "refresh_token"]

    def test_who_says_no_gives_nothing(self, app, visit):
        told = answer_of(visit.decide(app.address(), "deny").headers["Location"])
        assert told == {"error": "access_denied", "state": app.state, "iss": app.url}

    def test_nobody_is_asked_before_they_have_signed_in(self, app, portal):
        answer = portal.http.get(app.address())
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/sign-in/?next=/identity/o/authorize")

    def test_a_form_of_somebody_else_decides_nothing(self, app, visit):
        address = app.address()
        assert visit.http.post(address, data={"decision": "allow"}).status_code == 403

    def test_nothing_is_granted_unseen(self, app, visit):
        app.sign_in(visit)
        told = answer_of(visit.http.get(app.address(prompt="none")).headers["Location"])
        assert told["error"] == "login_required"
        assert told["state"] == app.state

    def test_a_person_hands_on_no_more_than_they_may(self, portal, visit):
        app = portal.app(register(scopes=f"{SCOPES} devices:write team:manage firmware:write"), app_scopes())
        page = visit.http.get(app.address()).text
        assert "Add devices; name, tag and place them" in page
        assert "which your role does not include" in page
        granted = set(app.sign_in(visit)["scope"].split())
        assert granted == {*SCOPES.split(), "devices:write"}

    def test_without_offline_access_there_is_no_refresh_token(self, portal, visit):
        app = portal.app(register(), "openid devices:read")
        tokens = app.sign_in(visit)
        assert "refresh_token" not in tokens
        assert app.api(tokens["access_token"]).status_code == 200

    def test_the_page_names_app_person_company_and_what_for_as_text(self, portal, visit):
        app = portal.app(register(name="<script>alert(1)</script>"))
        answer = visit.http.get(app.address())
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert(1)" not in answer.text
        for words in ("ann", "Acme", "app.example", "See readings, charts and exports", "Know that it is you"):
            assert words in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert "form-action 'self' https://app.example" in policy
        assert "unsafe" not in policy


def app_scopes():
    return f"{SCOPES} devices:write team:manage firmware:write"


class TestRefusedAtTheDoor:
    @pytest.mark.parametrize(
        "uri",
        [
            "https://app.example/back/", "https://app.example/back?x=1", "https://app.example/back#x",
            "https://app.example:444/back", "http://app.example/back", "https://evil@app.example/back",
            "https://app.example.evil/back", "javascript:alert(1)", "",
        ],
    )  # fmt: skip
    def test_another_address_is_never_sent_to(self, app, visit, uri):
        app.oauth.redirect_uri = uri
        answer = visit.http.get(app.address())
        assert answer.status_code == 400
        assert "Location" not in answer.headers

    def test_an_app_on_ones_own_machine_takes_any_port(self, portal, visit):
        app = portal.app(register(redirect_uris="http://127.0.0.1/back"))
        app.oauth.redirect_uri = "http://127.0.0.1:53123/back"
        assert visit.http.get(app.address()).status_code == 200
        app.oauth.redirect_uri = "http://127.0.0.1:53123/other"
        assert visit.http.get(app.address()).status_code == 400

    def test_an_app_that_nobody_registered(self, app, visit):
        assert visit.http.get(app.address().replace(app.app.pk, "nobody")).status_code == 400

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            (("code_challenge_method=S256", "code_challenge_method=plain"), "invalid_request"),
            (("&code_challenge_method=S256", ""), "invalid_request"),
            (("code_challenge=", "no_challenge="), "invalid_request"),
            (("code_challenge=", "code_challenge=%20"), "invalid_request"),
            (("response_type=code", "response_type=token"), "unauthorized_client"),
            (("response_type=code", "response_type=code+id_token"), "unauthorized_client"),
            (("devices%3Aread", "firmware%3Awrite"), "invalid_scope"),
        ],
    )
    def test_what_is_not_done(self, app, visit, change, error):
        address = app.address()
        assert change[0] in address
        answer = visit.http.get(address.replace(*change))
        assert answer.status_code == 302
        assert f"error={error}" in answer.headers["Location"]
        assert "code=" not in answer.headers["Location"].replace("error_code", "")

    def test_a_wrong_verifier_gets_nothing_and_the_right_one_still_does(self, app, visit):
        location = visit.decide(app.address()).headers["Location"]
        assert error_of(app.exchange, location, code_verifier="x" * 64) == "invalid_grant"
        assert app.exchange(location)["access_token"]

    def test_a_code_is_good_for_its_app_and_address_only(self, app, visit, portal):
        location = visit.decide(app.address()).headers["Location"]
        other = portal.app(register(name="Other"))
        other.state, other.verifier = app.state, app.verifier
        assert error_of(other.exchange, location) == "invalid_grant"
        app.oauth.redirect_uri = "https://app.example/other"
        assert error_of(app.exchange, location) in ("invalid_grant", "invalid_request")

    def test_a_code_used_twice_is_refused_and_what_it_got_is_over(self, app, visit):
        location = visit.decide(app.address()).headers["Location"]
        tokens = app.exchange(location)
        assert app.api(tokens["access_token"]).status_code == 200
        assert error_of(app.exchange, location) == "invalid_grant"
        assert app.api(tokens["access_token"]).status_code == 401
        assert error_of(app.refresh, tokens["refresh_token"]) == "invalid_grant"
        assert Event.objects.filter(kind="app.replayed").exists()

    @pytest.mark.parametrize("grant", ["password", "client_credentials", "implicit", "nonsense", ""])
    def test_other_grants(self, portal, grant):
        app = register("confidential")
        told = {"grant_type": grant, "username": "ann", "password": "a long enough password"}
        answer = portal.http.post("/identity/o/api/token", data=told, auth=(app.pk, "a secret that nobody guesses"))
        assert answer.status_code in (400, 401)
        assert "access_token" not in answer.text

    def test_wrong_secrets_are_made_to_wait(self, portal):
        app = register("confidential")
        told = {"grant_type": "refresh_token", "refresh_token": "x"}
        codes = [
            portal.http.post("/identity/o/api/token", data=told, auth=(app.pk, "wrong")).status_code for _ in range(31)
        ]
        assert set(codes[:30]) == {401}
        assert codes[30] == 429

    def test_and_whoever_is_right_at_the_same_address_is_not(self, portal, visit):
        wrong, right = register("confidential", name="Wrong"), portal.app(register("confidential", name="Right"))
        told = {"grant_type": "refresh_token", "refresh_token": "x"}
        for _ in range(31):
            portal.http.post("/identity/o/api/token", data=told, auth=(wrong.pk, "wrong"))
        assert right.exchange(visit.decide(right.address()).headers["Location"])["access_token"]

    def test_many_names_do_not_make_many_guesses(self, portal, monkeypatch):
        monkeypatch.setattr(attempts, "MOST_OF_ALL", 5)
        told = {"grant_type": "refresh_token", "refresh_token": "x"}
        codes = [
            portal.http.post("/identity/o/api/token", data=told | {"client_id": f"app-{number}"}).status_code
            for number in range(6)
        ]
        assert codes == [401] * 5 + [429]


class TestRefreshing:
    def test_tokens_go_on_and_a_replay_ends_them_all(self, app, visit):
        first = app.sign_in(visit)
        second = app.refresh(first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        assert app.api(second["access_token"]).status_code == 200
        assert error_of(app.refresh, first["refresh_token"]) == "invalid_grant"
        assert app.api(second["access_token"]).status_code == 401
        assert app.api(first["access_token"]).json()["error_code"] == "token_revoked"
        assert error_of(app.refresh, second["refresh_token"]) == "invalid_grant"
        assert not Token.objects.exists()
        assert Event.objects.get(kind="app.ended").reason

    def test_a_lost_answer_may_be_asked_for_again_and_what_was_lost_is_worth_nothing(self, app, visit):
        first = app.sign_in(visit)
        lost = app.refresh(first["refresh_token"])
        again = app.refresh(first["refresh_token"])
        assert app.api(lost["access_token"]).status_code == 401
        assert app.api(again["access_token"]).status_code == 200
        assert error_of(app.refresh, lost["refresh_token"]) == "invalid_grant"  # somebody has both answers
        assert error_of(app.refresh, again["refresh_token"]) == "invalid_grant"
        assert app.api(again["access_token"]).status_code == 401

    def test_after_half_a_minute_nobody_lost_an_answer(self, app, visit):
        first = app.sign_in(visit)
        second = app.refresh(first["refresh_token"])
        SpentToken.objects.update(spent_at=timezone.now() - families.PATIENCE - timedelta(seconds=1))
        assert error_of(app.refresh, first["refresh_token"]) == "invalid_grant"
        assert error_of(app.refresh, second["refresh_token"]) == "invalid_grant"

    def test_a_narrower_access_token_leaves_the_rest(self, app, visit):
        first = app.sign_in(visit)
        narrow = app.oauth.refresh_token(
            app.told["token_endpoint"], refresh_token=first["refresh_token"], scope="openid devices:read"
        )
        assert set(app.claims(narrow["access_token"])["scope"].split()) == {"openid", "devices:read"}
        assert set(app.refresh(narrow["refresh_token"])["scope"].split()) == set(SCOPES.split())

    def test_another_app_gets_nothing_for_it(self, app, visit, portal):
        first = app.sign_in(visit)
        other = portal.app(register(name="Other"))
        assert error_of(other.refresh, first["refresh_token"]) == "invalid_grant"
        assert app.refresh(first["refresh_token"])["access_token"]

    def test_an_inactive_person_gets_nothing(self, app, visit, person):
        tokens = app.sign_in(visit)
        location = visit.decide(app.address()).headers["Location"]
        assert app.api(tokens["access_token"]).status_code == 200
        person.is_active = False
        person.save()
        assert app.api(tokens["access_token"]).status_code == 401
        assert app.userinfo(tokens["access_token"]).status_code == 401
        assert error_of(app.refresh, tokens["refresh_token"]) == "invalid_grant"
        assert error_of(app.exchange, location) == "invalid_grant"

    @pytest.mark.parametrize("which", ["access_token", "refresh_token"])
    def test_a_token_given_back_ends_its_family(self, app, visit, which, portal):
        tokens, others = app.sign_in(visit), portal.app(app.app)
        kept = others.sign_in(visit)
        assert app.revoke(tokens[which]) == 200
        assert app.api(tokens["access_token"]).json()["error_code"] == "token_revoked"
        assert error_of(app.refresh, tokens["refresh_token"]) == "invalid_grant"
        assert app.api(kept["access_token"]).status_code == 200  # another sign-in of the same app

    def test_an_app_gives_back_only_its_own(self, app, visit, portal):
        tokens = app.sign_in(visit)
        other = portal.app(register(name="Other"))
        assert other.revoke(tokens["refresh_token"]) == 200
        assert app.api(tokens["access_token"]).status_code == 200

    def test_a_token_has_its_time(self, app, visit):
        tokens = app.sign_in(visit)
        Token.objects.filter(type="at").update(expires_at=timezone.now())
        assert app.api(tokens["access_token"]).json()["error_code"] == "token_expired"
        Token.objects.filter(type="rt").update(expires_at=timezone.now())
        assert error_of(app.refresh, tokens["refresh_token"]) == "invalid_grant"


class TestKeys:
    def test_a_new_key_is_told_a_day_before_and_old_tokens_verify_after_it(self, app, visit, portal):
        tokens = app.sign_in(visit)
        old = SigningKey.objects.get()
        SigningKey.objects.update(not_before=timezone.now() - signing_keys.EVERY + timedelta(hours=23))
        assert signing_keys.prepare(timezone.now())
        told = {key["kid"] for key in portal.http.get(app.told["jwks_uri"]).json()["keys"]}
        assert len(told) == 2
        with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1), tick=False):
            later = signing_keys.sign({"sub": "x"}, "JWT", timezone.now())
        SigningKey.objects.exclude(pk=old.pk).update(not_before=timezone.now() - timedelta(seconds=1))
        assert app.claims(tokens["access_token"])
        fresh = app.refresh(tokens["refresh_token"])
        kids = {kid_of(each) for each in (tokens["access_token"], fresh["access_token"])}
        assert kids == told
        assert kid_of(later) == kid_of(fresh["access_token"])
        assert app.api(tokens["access_token"]).status_code == 200

    def test_when_a_key_got_lost_nothing_it_signed_is_believed(self, app, visit, capsys):
        tokens = app.sign_in(visit)
        call_command("rotate_signing_key", reason="stolen")
        assert "1 signing keys are gone" in capsys.readouterr().out
        assert app.api(tokens["access_token"]).status_code == 401
        with pytest.raises(InvalidKeyIdError):
            app.claims(tokens["access_token"])
        fresh = app.refresh(tokens["refresh_token"])
        assert app.claims(fresh["access_token"])
        assert app.api(fresh["access_token"]).status_code == 200
        assert Event.objects.get(kind="signingkey.replaced").reason == "stolen"


def kid_of(token):

    return jwt.get_unverified_header(token)["kid"]


def test_what_else_is_signed_opens_no_door(app, visit):
    tokens = app.sign_in(visit)
    assert app.api(tokens["id_token"]).status_code == 401
    assert app.api(tokens["refresh_token"]).status_code == 401
    assert app.userinfo(tokens["id_token"]).status_code == 401


def test_staff_hand_on_what_staff_see(portal):
    staff = StaffFactory()
    app = portal.app(register())
    device = DeviceFactory()
    answer = app.api(app.sign_in(portal.person(staff))["access_token"])
    assert device.device_id in answer.text


def test_apps_that_are_connected_are_listed_and_taken_away(app, visit):
    tokens = app.sign_in(visit)
    page = visit.http.get("/tokens/").text
    assert "Cold Watch" in page
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    answer = visit.http.post(f"/tokens/apps/{app.app.pk}/end/", data={"csrfmiddlewaretoken": token})
    assert answer.status_code == 302
    assert app.api(tokens["access_token"]).status_code == 401
    assert error_of(app.refresh, tokens["refresh_token"]) == "invalid_grant"
    again = visit.http.post(f"/tokens/apps/{app.app.pk}/end/", data={"csrfmiddlewaretoken": token})
    assert again.status_code == 404


def test_while_valkey_is_away_a_code_waits(app, visit, settings):
    back = visit.decide(app.address()).headers["Location"]
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    told = {"grant_type": "authorization_code", "code": answer_of(back)["code"], "client_id": app.app.pk}
    answer = Client().post("/identity/o/api/token", told)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"]
