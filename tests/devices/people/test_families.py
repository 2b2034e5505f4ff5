"""Families of tokens: what is over is dropped and what may be replayed is remembered; the rest is in test_oidc.py."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from allauth.idp.oidc.models import Client, Token

from devices.models import Event, SigningKey, SpentToken
from devices.people import families
from fleetportal.tasks import tend_apps
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def person():
    return UserFactory()


def token(person, name="app", kind="rt", family=None, expires_at=NOW + DAY):
    client, _ = Client.objects.get_or_create(name=name)
    data = {"family": str(family or uuid.uuid4()), "since": NOW.isoformat()}
    return Token.objects.create(
        type=kind, hash=uuid.uuid4().hex, client=client, user=person, data=data, scopes="openid", expires_at=expires_at
    )


def test_what_is_over_is_dropped_and_what_can_be_replayed_is_remembered(person):
    token(person, expires_at=NOW - DAY)
    kept = token(person, expires_at=NOW - DAY + timedelta(seconds=1))
    for days, digest in ((31, "old"), (30.9, "young")):
        SpentToken.objects.create(token_hash=digest, family=uuid.uuid4(), user=person, spent_at=NOW - days * DAY)
    assert families.tidy(NOW) == 2
    assert Token.objects.get() == kept
    assert SpentToken.objects.get().token_hash == "young"


def test_the_clock_makes_keys_and_drops_what_is_over(person):
    token(person, expires_at=NOW - 400 * DAY)
    tend_apps()
    tend_apps()
    assert SigningKey.objects.count() == 1
    assert not Token.objects.exists()


def test_a_family_ends_alone_and_with_evidence(person):
    family = uuid.uuid4()
    token(person, family=family), token(person, kind="at", family=family)
    other, strangers = token(person), token(UserFactory(), family=family)
    assert families.end(family, person, "why")
    assert not families.end(family, person, "why")
    assert set(Token.objects.all()) == {other, strangers}
    event = Event.objects.get(kind="app.ended")
    assert (event.user, event.reason, event.detail) == (person, "why", {"app": "app", "tokens": 2})


def test_taking_an_app_away_ends_all_its_families_of_this_person(person):
    token(person), token(person)
    stay = [token(person, "another"), token(UserFactory())]
    assert [each["client"].name for each in families.connected(person, NOW)] == ["another", "app"]
    assert families.disconnect(person, Client.objects.get(name="app"))
    assert not families.disconnect(person, Client.objects.get(name="app"))
    assert set(Token.objects.all()) == set(stay)


def test_use_is_noted_once_and_not_of_what_is_gone(person):
    row = token(person, kind="at")
    assert families.used(row)
    row.refresh_from_db()
    assert row.data["used"] is True
    assert families.used(row)
    gone = token(person, kind="at")
    Token.objects.filter(pk=gone.pk).delete()
    assert not families.used(gone)
