"""A device gets a JWT for ten minutes with what it has; and it ends at once with what it came by."""

import json
from datetime import timedelta

import jwt
import pytest
import time_machine
from django.utils import timezone

from devices import access_tokens, certificates, pki, tokens
from devices.errors import TokenError
from devices.models import Device, DeviceToken, SigningKey
from devices.people import signing_keys
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import envelope

pytestmark = pytest.mark.django_db
URL = "/api/v1/devices/access-token"
ME = "http://localhost"


@pytest.fixture
def device():
    return DeviceFactory(device_type=SchemaFactory().device_type)


@pytest.fixture
def token(device):
    return tokens.make(device, timezone.now())[1]


@pytest.fixture
def certificate(ca, device):
    request = pki.read_request(peers.csr(subject=device.hardware_id).encode())
    return certificates.issue(device, request, timezone.now())


def get(client, token):
    answer = client.post(URL, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201, answer.content
    return answer.json()["access_token"]


def post(client, token, path="/api/v1/telemetry"):
    body = json.dumps(envelope())
    return client.post(path, body, content_type="application/json", headers={"Authorization": f"Bearer {token}"})


def code(answer):
    return answer.status_code, answer.json().get("error_code")


def test_a_device_gets_one_with_its_token_and_speaks_with_it(client, device, token, days):
    answer = client.post(URL, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 600)
    claims = signing_keys.read(told["access_token"], "device+jwt", timezone.now(), audience=ME)
    assert (claims["sub"], claims["aud"], claims["iss"]) == (device.device_id, ME, ME)
    assert claims["exp"] - claims["iat"] == 600
    answer = post(client, told["access_token"])
    assert answer.status_code == 200, answer.content
    assert answer.json()["stored"]


def test_it_gets_nobody_another_credential(client, token):
    mine = get(client, token)
    assert code(post(client, mine, URL)) == (401, "credential_missing")
    assert code(post(client, mine, "/api/v1/devices/token")) == (401, "credential_missing")


def test_it_has_its_time(client, token):
    mine = get(client, token)
    with time_machine.travel(timezone.now() + timedelta(seconds=601), tick=False):
        assert code(post(client, mine)) == (401, "token_expired")


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_out_of_service_is_refused_at_once(client, device, token, state):
    mine = get(client, token)
    Device.objects.update(state=state)
    assert code(post(client, mine)) == (403, state)


def test_it_ends_with_the_token_it_came_by(client, token):
    mine = get(client, token)
    DeviceToken.objects.update(revoked_at=timezone.now())
    assert code(post(client, mine)) == (401, "token_revoked")
    DeviceToken.objects.update(revoked_at=None, expires_at=timezone.now())
    assert code(post(client, mine)) == (401, "token_revoked")


def test_it_ends_with_the_certificate_it_came_by(client, device, certificate, days):
    mine = access_tokens.make(device, certificate, timezone.now())
    assert post(client, mine).status_code == 200
    certificates.revoke(certificate, "lost", None, timezone.now())
    assert code(post(client, mine)) == (401, "token_revoked")


def test_it_lives_no_longer_than_that_certificate(device, certificate):
    end = certificate.not_after
    mine = access_tokens.make(device, certificate, end - timedelta(minutes=1))
    assert access_tokens.check(mine, end - timedelta(seconds=1)) == device
    with pytest.raises(TokenError, match="no longer good"):
        access_tokens.check(mine, end)


def test_it_ends_with_the_key_that_signed_it(client, token):
    mine = get(client, token)
    signing_keys.replace_all(timezone.now(), "stolen")
    assert code(post(client, mine)) == (401, "token_unknown")
    assert SigningKey.objects.count() == 1


def test_what_was_signed_for_something_else(client, device, token):
    now = timezone.now()
    row = DeviceToken.objects.get()
    mine = signing_keys.read(access_tokens.make(device, row, now), access_tokens.KIND, now, audience=ME)
    stranger = DeviceFactory()
    for change, kind in (
        ({}, "at+jwt"),
        ({}, "JWT"),
        ({"aud": "another"}, access_tokens.KIND),
        ({"iss": "http://evil.example"}, access_tokens.KIND),
    ):
        assert code(post(client, signing_keys.sign(mine | change, kind, now))) == (401, "token_unknown")
    for change in ({"sub": stranger.device_id}, {"by": None}, {"by": {}}, {"by": {"token": "1"}}, {"by": {"token": 0}}):
        bad = signing_keys.sign(mine | change, access_tokens.KIND, now)
        assert code(post(client, bad)) == (401, "token_revoked")
    unsigned = jwt.encode(mine, None, algorithm="none", headers={"typ": access_tokens.KIND})
    assert code(post(client, unsigned)) == (401, "token_unknown")


def test_it_opens_no_door_of_people(client, token):
    answer = client.get("/api/v1/devices", headers={"Authorization": f"Bearer {get(client, token)}"})
    assert code(answer) == (401, "token_unknown")


def test_nobody_gets_one_without_a_credential(client):
    assert code(client.post(URL)) == (401, "credential_missing")
    assert client.get(URL).status_code in (401, 405)


def test_without_an_address_of_its_own_the_portal_knows_none(client, device, settings):
    settings.PORTAL_URL = ""
    assert code(post(client, "a.b.c")) == (401, "token_unknown")
