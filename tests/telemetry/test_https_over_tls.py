"""Telemetry through the devices' door as a process: real TLS, client certificates, bodies without a length."""

import json

import pytest
from django.utils import timezone

from devices import certificates, contract, tokens
from devices.models import Certificate, Device, Presence
from telemetry.models import DeadLetter, Reading
from telemetry.tables import partitions
from tests.devices import https_door as https
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import envelope

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca")]
URL, ROTATE = "/api/v1/telemetry", "/api/v1/devices/token"


@pytest.fixture(scope="module")
def door(_authorities, tmp_path_factory):
    with https.opened(tmp_path_factory.mktemp("telemetry-door") / "log", LOG_LEVEL="DEBUG") as opened:
        yield opened


@pytest.fixture
def token():
    partitions.make_ahead(timezone.now())
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return tokens.make(device, timezone.now())[1]


@pytest.fixture
def who(tmp_path):
    partitions.make_ahead(timezone.now())
    identity = peers.enrolled(tmp_path)
    SchemaFactory(device_type=peers.row(identity).device_type)
    return identity


def body(*envelopes):
    return json.dumps(list(envelopes)).encode()


def chunks(payload, size=10_000):
    """Sent without a Content-Length."""
    for start in range(0, len(payload), size):
        yield payload[start : start + size]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_device_with_a_token_posts_and_rotates(door, token):
    assert door.ask("POST", URL, body(envelope()), **bearer(token)).status == 200
    answer = door.ask("POST", ROTATE, **bearer(token))
    assert answer.status == 201
    new = json.loads(answer.body)["token"]
    assert door.ask("POST", URL, body(envelope()), **bearer(new)).status == 200
    assert Reading.objects.count() == 2
    log = door.log.read_text()
    assert "/api/v1/devices/token" in log
    assert token[12:] not in log and new[12:] not in log


def test_a_device_with_a_certificate_posts_without_a_token(door, who):
    told = envelope()
    answer = door.ask("POST", URL, body(told), who)
    assert (answer.status, json.loads(answer.body)) == (200, {"stored": [told["msg_id"]], "refused": []})
    assert Reading.objects.get().device == peers.row(who)
    assert Presence.objects.get(device=peers.row(who)).online
    assert Certificate.objects.get().state == "active"  # proven by use, at this door too


def test_a_revoked_certificate_and_a_claims_are_401_and_a_quarantined_device_403(door, who, tmp_path):
    Device.objects.update(state="quarantined")
    assert door.ask("POST", URL, body(envelope()), who).status == 403
    Device.objects.update(state="active")
    certificates.revoke(Certificate.objects.get(), "stolen", None, timezone.now())
    answer = door.ask("POST", URL, body(envelope()), who)
    assert (answer.status, answer.code) == (401, "certificate_revoked")
    assert not Reading.objects.exists()


def test_a_token_decides_beside_a_certificate(door, who, token):
    assert door.ask("POST", URL, body(envelope()), who, **bearer(token)).status == 200
    assert Reading.objects.get().device != peers.row(who)
    answer = door.ask("POST", URL, body(envelope()), who, **bearer("fpd_" + "a" * 43))
    assert (answer.status, answer.code) == (401, "token_unknown")


def test_a_certificate_gets_no_token(door, who):
    answer = door.ask("POST", ROTATE, None, who)
    assert (answer.status, answer.code) == (401, "credential_missing")


def test_a_body_without_a_length_is_taken_and_refused_by_its_real_size(door, token):
    fits = body(envelope()).ljust(contract.MAX_PAYLOAD_BYTES)
    assert door.ask("POST", URL, chunks(fits), **bearer(token)).status == 200
    answer = door.ask("POST", URL, chunks(fits + b" "), **bearer(token))
    assert (answer.status, answer.code) == (413, "too_large")
    assert (Reading.objects.count(), DeadLetter.objects.count()) == (1, 0)


def test_headers_that_are_garbage_are_no_crash(door, token):
    for value in ("Bearer", "Bearer \xff\xfe", "Bearer " + "a" * 8000, "\t", "bearer,bearer"):
        assert door.ask("POST", URL, body(envelope()), Authorization=value).status == 401
    assert door.ask("POST", f"{URL}?token={token}", body(envelope())).status == 401
