"""The keys that devices are built with: told to everybody, at both doors, at little cost."""

import pytest
from django.core.cache import cache
from django.utils import timezone

from firmware import permits, trust
from firmware.api import keys
from tests.firmware import signers

pytestmark = pytest.mark.django_db
URL = "/api/v1/firmware/keys"


@pytest.fixture(params=["fleetportal.urls", "fleetportal.device_urls"], ids=["portal", "device door"])
def door(request, settings, tmp_path):
    """Both doors, with a permit key."""
    settings.CA_DIRECTORY = tmp_path / "ca"
    settings.ROOT_URLCONF = request.param
    permits.public_key()
    return settings


def names(client):
    return [each["name"] for each in client.get(URL).json()["keys"]]


def test_the_permit_key_is_opened_once_for_many_who_ask(door, client, tmp_path, django_assert_num_queries):
    first = client.get(URL)
    door.CA_DIRECTORY = tmp_path / "empty"
    with django_assert_num_queries(0):
        again = [client.get(URL) for _ in range(3)]
    assert {each.content for each in again} == {first.content}
    assert client.get(URL, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_a_revoked_key_is_told_no_longer_than_half_a_minute(door, client):
    row = signers.trusted(signers.new_key(), "a")
    assert names(client) == ["a"]
    assert keys.KEPT_SECONDS <= 30
    trust.revoke_key(row, None, "x", timezone.now())
    cache.delete(keys._KEY)  # as half a minute does
    assert names(client) == []


def test_a_failure_is_not_kept(door, client, tmp_path):
    good, door.CA_DIRECTORY = door.CA_DIRECTORY, tmp_path / "empty"
    assert client.get(URL).json()["error_code"] == "ca_key_unavailable"
    door.CA_DIRECTORY = good
    assert client.get(URL).status_code == 200


def test_nobody_asks_without_end(door, client, monkeypatch):
    throttle = keys.KeysView.throttle_classes[0]
    assert throttle.THROTTLE_RATES["keys"] == "600/min"
    monkeypatch.setattr(throttle, "THROTTLE_RATES", {"keys": "2/min"})
    assert [client.get(URL).status_code for _ in range(3)] == [200, 200, 429]


def test_they_are_told_while_the_cache_is_away(door, client):
    signers.trusted(signers.new_key(), "a")
    door.CACHES = {"default": door.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert [names(client), names(client)] == [["a"], ["a"]]
