"""Who waited for a lock is asked again: what they were when they came is not what they are when it is theirs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from devices.models import ApiToken, Invitation, Membership
from devices.people import credentials, team
from tests.factories import TenantFactory, member
from tests.fleet import eventually

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD, ANOTHER = "a long enough password", "quite another one 7"
DAY = timedelta(days=1)


@pytest.fixture
def pair():
    """Two owners of a team, and their browsers."""
    tenant = TenantFactory()
    people = member(tenant, "owner"), member(tenant, "owner")
    browsers = Client(), Client()
    for person, browser in zip(people, browsers, strict=True):
        browser.force_login(person)
    return tenant, people[1].memberships.get(), *browsers


def race(monkeypatch, module, name, first, second):
    """The first one is held up in `module.name`, inside its transaction, until the second one waits for it."""
    real, inside, go = getattr(module, name), threading.Event(), threading.Event()

    def slow(*args, **kwargs):
        result = real(*args, **kwargs)
        inside.set()
        assert go.wait(10)
        return result

    def run(work):
        try:
            return work().status_code
        finally:
            connection.close()

    monkeypatch.setattr(module, name, slow)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run, first)
        assert inside.wait(10)
        two = pool.submit(run, second)
        eventually(waits, what="the second one to wait")
        go.set()
        return one.result(10), two.result(10)


def waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        return cursor.fetchone() is not None


def test_a_demoted_owner_does_not_make_themselves_owner_again(monkeypatch, pair):
    _, theirs, first, second = pair
    url = f"/team/members/{theirs.pk}/role/"
    told = race(
        monkeypatch, team, "_end_invitations",
        lambda: first.post(url, {"role": "viewer"}), lambda: second.post(url, {"role": "owner"}),
    )  # fmt: skip
    theirs.refresh_from_db()
    assert (told, theirs.role) == ((302, 403), "viewer")


@pytest.mark.parametrize("what", ["invitations", "members", "second factor"])
def test_a_removed_owner_changes_nothing_any_more(monkeypatch, pair, what):
    tenant, theirs, first, second = pair
    other = member(tenant, "viewer").memberships.get()
    works = {
        "invitations": lambda: second.post(
            f"/api/v1/tenants/{tenant.slug}/invitations", {"email": "again@example.com", "role": "owner"},
            content_type="application/json",
        ),
        "members": lambda: second.post(f"/team/members/{other.pk}/remove/"),
        "second factor": lambda: second.post(f"/team/{tenant.slug}/second-factor/", {"required": "yes"}),
    }  # fmt: skip
    told = race(
        monkeypatch, team, "_end_invitations", lambda: first.post(f"/team/members/{theirs.pk}/remove/"), works[what]
    )
    tenant.refresh_from_db()
    assert told == (302, 403)
    assert not Invitation.objects.filter(revoked_at=None).exists()
    assert Membership.objects.filter(pk=other.pk).exists() and not tenant.mfa_required


def test_a_session_that_a_new_password_ends_makes_no_token_meanwhile(monkeypatch, pair):
    tenant, theirs, _, thief = pair
    owner = Client()
    owner.force_login(theirs.user)
    told = {"oldpassword": PASSWORD, "password1": ANOTHER, "password2": ANOTHER}
    asked = {"name": "x", "tenant": tenant.slug, "scopes": ["devices:read"], "days": 700}
    codes = race(
        monkeypatch, credentials, "password_set",
        lambda: owner.post("/account/password/change/", told),
        lambda: thief.post("/api/v1/tokens", asked, content_type="application/json"),
    )  # fmt: skip
    assert codes == (302, 403)
    assert not ApiToken.objects.filter(expires_at__gt=timezone.now(), revoked_at=None).exists()
