"""Where somebody is signed in: told in words, seen when it was used, ended one by one."""

from datetime import timedelta

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices.models import Event
from fleetportal.accounts import seen
from tests.factories import TenantFactory, UserFactory, member

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough password"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 Version/26.1 Mobile Safari/604.1"


@pytest.fixture
def owner():
    return member(TenantFactory(), username="olga", password=PASSWORD)


@pytest.fixture
def client(owner):
    return browser("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")


@pytest.fixture
def phone(owner):
    return browser(PHONE)


def browser(user_agent, username="olga"):
    """Somebody signed in."""
    found = Client(headers={"user-agent": user_agent})
    found.post("/sign-in/", {"username": username, "password": PASSWORD})
    return found


def row_of(client):
    return UserSession.objects.get(session_key=client.session.session_key)


def end(row):
    return f"/account/sessions/{row.pk}/end/"


def test_are_told_in_words_with_the_own_one_first(client, phone):
    browser("<script>alert(1)</script>")
    page = client.get("/account/sessions/")
    assert [each["words"] for each in page.context["rows"]] == [
        "Firefox on Linux",
        "Unknown browser",
        "Safari on iPhone",
    ]
    text = page.content.decode()
    assert "&lt;script&gt;alert(1)" in text and "<script>alert" not in text
    assert text.count("This one") == 1


def test_one_is_ended_and_the_others_stay(client, phone):
    other = browser("ColdWatch/3.1 (Android)")
    answer = client.post(end(row_of(phone)), follow=True)
    assert "Safari on iPhone is signed out." in answer.content.decode()
    assert phone.get("/").headers["Location"].startswith("/sign-in/")
    assert client.get("/").status_code == other.get("/").status_code == 200
    event = Event.objects.get(kind="account.sessions_ended")
    assert (event.actor, event.detail) == ("olga", {"sessions": 1})


def test_ending_the_own_one_is_signing_out(client, phone):
    row = row_of(client)
    assert client.post(end(row)).headers["Location"] == "/sign-in/"
    assert client.get("/").headers["Location"].startswith("/sign-in/")
    assert phone.get("/").status_code == 200
    assert not UserSession.objects.filter(pk=row.pk).exists()


def test_a_link_ends_nothing(client, phone):
    assert client.get(end(row_of(phone))).status_code == 405
    assert phone.get("/").status_code == 200


def test_somebody_elses_does_not_exist(client):
    UserFactory(username="other", password=PASSWORD)
    other = browser(PHONE, "other")
    assert client.post(end(row_of(other))).status_code == 404
    assert other.get("/").status_code == 200
    assert not Event.objects.filter(kind="account.sessions_ended").exists()


def test_nobody_ends_nothing(phone):
    assert Client().post(end(row_of(phone))).headers["Location"].startswith("/sign-in/")
    assert phone.get("/").status_code == 200


class TestLastSeen:
    @pytest.fixture
    def long_ago(self, client):
        """The session was used an hour ago, and this process knows it."""
        row = row_of(client)
        UserSession.objects.update(last_seen_at=timezone.now() - timedelta(hours=1))
        return row

    def pass_time(self, monkeypatch, seconds):
        now = seen.time.monotonic() + seconds
        monkeypatch.setattr(seen.time, "monotonic", lambda: now)

    def ago(self, row):
        row.refresh_from_db()
        return timezone.now() - row.last_seen_at

    def test_is_written_when_it_is_used_again(self, client, long_ago, monkeypatch):
        self.pass_time(monkeypatch, seen.EVERY_SECONDS + 1)
        client.get("/preferences/")
        assert self.ago(long_ago) < timedelta(minutes=1)

    def test_costs_no_query_on_the_pages_until_then(self, client, long_ago):
        with CaptureQueriesContext(connection) as asked:
            client.get("/preferences/")
        assert not [each for each in asked if "usersession" in each["sql"]]
        assert self.ago(long_ago) > timedelta(minutes=59)

    def test_is_shown(self, client, phone):
        UserSession.objects.filter(pk=row_of(phone).pk).update(last_seen_at=timezone.now() - timedelta(days=3))
        text = client.get("/account/sessions/").content.decode()
        assert "last seen" in text and "3\xa0days ago" in text

    def test_does_not_lengthen_a_session(self, client, long_ago, monkeypatch):
        kept = Session.objects.get(pk=client.session.session_key).expire_date
        self.pass_time(monkeypatch, seen.EVERY_SECONDS + 1)
        client.get("/preferences/")
        assert Session.objects.get(pk=client.session.session_key).expire_date == kept

    def test_takes_no_memory_without_end(self, monkeypatch):
        monkeypatch.setattr(seen, "_written", {})
        monkeypatch.setattr(seen, "_MOST", 3)
        assert [seen.is_due(key) for key in ("a", "a", "b", "c", "d", "a")] == [True, False, True, True, True, True]
