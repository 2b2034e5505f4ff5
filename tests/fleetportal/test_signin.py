import re

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from fleetportal import signin
from fleetportal.accounts import guesses
from fleetportal.accounts.adapter import UNKNOWN_ADDRESS
from tests.factories import DeviceFactory, StaffFactory, UserFactory, member

pytestmark = pytest.mark.django_db
URL = "/sign-in/"
PASSWORD = "a long enough password"


def sign_in(client, username, password=PASSWORD, path=URL, **headers):
    return client.post(path, {"username": username, "password": password}, headers=headers)


@pytest.fixture
def customer():
    return member(DeviceFactory().tenant, username="customer", password=PASSWORD)


def test_customers_land_on_their_overview_and_staff_in_the_admin(client, customer):
    assert sign_in(client, "customer").headers["Location"] == "/"
    client.logout()
    StaffFactory(username="staff", password=PASSWORD)
    assert sign_in(client, "staff").headers["Location"] == "/admin/"


def test_somebody_is_sent_on_to_where_they_wanted(client, customer):
    assert client.get("/devices/").headers["Location"] == "/sign-in/?next=/devices/"
    assert sign_in(client, "customer", path=URL + "?next=/devices/").headers["Location"] == "/devices/"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "\\\\evil",
    ],
)
def test_nobody_is_sent_to_another_site(client, customer, elsewhere):
    answer = client.post(URL, {"username": "customer", "password": PASSWORD, "next": elsewhere})
    assert answer.headers["Location"] == "/"


def test_a_filtered_list_of_the_admin_is_found_again_after_signing_in(client):
    StaffFactory(username="staff", password=PASSWORD)
    wanted = "/admin/devices/device/?state__exact=active&q=a%26b"
    door = client.get(client.get(wanted).headers["Location"]).headers["Location"]
    assert sign_in(client, "staff", path=door).headers["Location"] == wanted


def test_a_customer_at_the_admins_door_is_sent_to_their_overview_and_not_in_circles(client, customer):
    client.force_login(customer)
    chain = client.get("/admin/", follow=True).redirect_chain
    assert chain[-1][0] == "/"
    assert len(chain) <= 3


def test_somebody_signed_in_does_not_see_the_form(client, customer):
    client.force_login(customer)
    assert client.get(URL).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("username", "password"), [("customer", "wrong"), ("nobody", PASSWORD), ("", ""), ("a\0b", "x")]
)
def test_a_wrong_name_and_a_wrong_password_look_the_same(client, customer, username, password):
    answer = sign_in(client, username, password)
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


def test_an_inactive_person_does_not_get_in(client):
    UserFactory(username="gone", password=PASSWORD, is_active=False)
    assert sign_in(client, "gone").headers["Location"] == "/account/inactive/"
    assert "_auth_user_id" not in client.session
    assert sign_in(client, "gone", "wrong").status_code == 200


def test_the_address_is_as_good_as_the_name(client):
    UserFactory(username="eva", email="eva@example.com", password=PASSWORD)
    assert sign_in(client, "Eva@Example.com").headers["Location"] == "/"
    assert client.session["_auth_user_id"]


def test_one_too_many_is_not_judged(client, customer, settings):
    """Else the page would tell which of a thousand guesses was right."""
    settings.SIGN_IN_ATTEMPTS = 1
    sign_in(client, "customer", "wrong")
    pages = [sign_in(client, "customer", password).content for password in (PASSWORD, "wrong")]
    token = re.compile(rb'csrfmiddlewaretoken" value="[^"]+"|data-now="[0-9]+"')
    assert token.sub(b"", pages[0]) == token.sub(b"", pages[1])


def test_the_librarys_own_address_leads_here(client):
    assert client.get("/account/login/?next=/devices/").headers["Location"] == "/sign-in/?next=/devices/"


def test_nobody_signs_up_by_themselves(client):
    answer = client.post(
        "/account/signup/", {"username": "me", "email": "me@example.com", "password1": PASSWORD, "password2": PASSWORD}
    )
    assert "by invitation" in answer.content.decode().lower()
    assert not User.objects.exists()


def test_after_too_many_failures_even_the_right_password_has_to_wait(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 3
    assert [sign_in(client, "customer", "wrong").status_code for _ in range(3)] == [200] * 3
    answer = sign_in(client, "customer")
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_others_are_not_slowed_down_with_them(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 2
    for name in ("CUSTOMER", "customer"):
        sign_in(client, name, "wrong")
    assert sign_in(client, "customer").status_code == 429
    member(DeviceFactory().tenant, username="other", password=PASSWORD)
    assert sign_in(client, "other").status_code == 302


@pytest.mark.parametrize("spelling", ["customer ", " CUSTOMER", "ｃｕｓｔｏｍｅｒ"])
def test_another_spelling_of_the_name_is_the_same_name(client, customer, settings, spelling):
    settings.SIGN_IN_ATTEMPTS = 2
    for _ in range(2):
        assert sign_in(client, spelling, "wrong").status_code == 200
    assert sign_in(client, "customer").status_code == 429


def test_an_address_cannot_try_ever_more_names(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 2
    answers = [sign_in(client, f"name-{number}", "wrong").status_code for number in range(21)]
    assert answers == [200] * 20 + [429]


def test_the_wait_ends(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 1
    sign_in(client, "customer", "wrong")
    assert sign_in(client, "customer").status_code == 429
    key, _ = signin.keys(client.post(URL, {"username": "customer"}).wsgi_request)
    assert 0 < cache._cache.get_client().ttl(cache.make_key(key)) <= guesses.WINDOW_SECONDS
    cache.delete(key)
    assert sign_in(client, "customer").status_code == 302


def test_a_success_is_not_counted(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 2
    for _ in range(4):
        assert sign_in(client, "customer").status_code == 302
        client.logout()


def test_a_forwarded_address_of_the_senders_own_making_changes_nothing(client, customer, settings):
    settings.SIGN_IN_ATTEMPTS = 2
    for number in range(2):
        sign_in(client, "customer", "wrong", **{"X-Forwarded-For": f"10.0.0.{number}"})
    assert sign_in(client, "customer", **{"X-Forwarded-For": "10.0.0.9"}).status_code == 429


def test_behind_a_proxy_each_address_is_counted_for_itself(client, customer, settings):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    settings.SIGN_IN_ATTEMPTS = 1
    here, there = {"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-For": "spoofed, 203.0.113.8"}
    assert sign_in(client, "customer", "wrong", **here).status_code == 200
    assert sign_in(client, "customer", **here).status_code == 429
    assert sign_in(client, "customer", **there).status_code == 302
    assert UserSession.objects.get().ip == "203.0.113.8"


def test_an_address_that_is_none_keeps_nobody_out(client, customer, settings):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    assert sign_in(client, "customer", **{"X-Forwarded-For": "203.0.113.8:4711"}).status_code == 302
    assert UserSession.objects.get().ip == UNKNOWN_ADDRESS


def test_no_name_stands_in_the_cache(client, customer, rf):
    assert "customer" not in "".join(signin.keys(rf.post(URL, {"username": "customer"})))


def test_a_cache_that_is_away_locks_nobody_out(client, customer, settings):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert sign_in(client, "customer", "wrong").status_code == 200
    assert sign_in(client, "customer").status_code == 302


@pytest.mark.parametrize("username", ["nobody", "a@b.example", "customer", "me@b.example", "eve@b.example"])
def test_the_time_that_it_takes_does_not_tell_who_is_there(client, customer, monkeypatch, username):
    User.objects.update(email="me@b.example")
    UserFactory(username="eve@b.example", email="eve@b.example")
    hashed, encode = [], MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *args: hashed.append(args) or encode(*args))
    sign_in(client, username, "wrong")
    assert len(hashed) == 1


def test_signing_in_needs_the_token_of_the_form():
    assert sign_in(Client(enforce_csrf_checks=True), "customer").status_code == 403


def test_the_session_is_a_new_one_after_signing_in(client, customer):
    client.get(URL)
    session = client.session
    session["left"] = "by somebody else"
    session.save()
    before = session.session_key
    client.cookies["sessionid"] = before
    sign_in(client, "customer")
    assert client.session.session_key != before


def test_signing_out_is_a_post_and_ends_the_session(client, customer):
    client.force_login(customer)
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert "_auth_user_id" not in client.session
