"""`POST /api/v1/devices/provision` and the shape of every error of the API."""

import urllib.parse
from ipaddress import ip_network

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import reverse
from django.utils import timezone
from rest_framework import exceptions

from devices import admission, approvals, certificates, problems
from devices.api.provisioning import ProvisionView
from devices.errors import DeviceError, DomainError
from devices.models import Approval, Claim, Device
from tests.devices import peers
from tests.factories import DeviceTypeFactory, UserFactory

pytestmark = pytest.mark.django_db
URL = "/api/v1/devices/provision"


@pytest.fixture
def kind(ca):
    return DeviceTypeFactory(slug="logger")


@pytest.fixture
def ask(client):
    """Ask as a device does."""

    def post(token, content_type="application/json", client_certificate=None, **body):
        asked = {"device_type": "logger", "hardware_id": "hw-1", "csr": peers.csr()} | body
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        headers |= client_certificate or {}
        return client.post(URL, asked, content_type=content_type, headers=headers)

    return post


def problem_of(answer):
    """The code, after a look at the shape."""
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["title"] and body["type"] == "about:blank"
    assert body["correlation_id"]
    assert answer.headers["X-Correlation-ID"] == body["correlation_id"]
    return answer.status_code, body["error_code"]


def test_a_new_device_gets_its_identity_and_where_to_connect(kind, ask, settings):
    answer = ask(peers.claim_token(device_type=kind))
    assert answer.status_code == 201
    body = answer.json()
    device = Device.objects.get()
    assert (body["device_id"], body["tenant"], body["device_type"]) == (device.device_id, device.tenant.slug, "logger")
    assert body["certificate"] == device.certificates.get().pem
    assert body["chain"].count("BEGIN CERTIFICATE") == 1
    assert body["endpoints"] == {
        "mqtt": {"host": settings.DEVICE_MQTT_HOST, "port": settings.DEVICE_MQTT_PORT},
        "https": settings.DEVICE_HTTPS_URL,
    }


def test_the_same_device_with_the_same_key_gets_200_and_the_same_answer(kind, ask):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    first, again = ask(token, csr=csr), ask(token, csr=csr)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_without_a_claim_it_says_what_to_send(kind, ask, client):
    assert problem_of(ask(None)) == (401, "claim_missing")
    assert problem_of(ask("")) == (401, "claim_missing")
    basic = client.post(URL, {}, content_type="application/json", headers={"Authorization": "Basic abc"})
    assert problem_of(basic) == (401, "claim_missing")


def test_an_unknown_claim_is_401_and_a_claim_in_the_url_or_body_is_none(kind, ask, client):
    token = peers.claim_token(device_type=kind)
    assert problem_of(ask("fpc_unknown")) == (401, "claim_unknown")
    answer = client.post(f"{URL}?claim={token}", {"claim": token}, content_type="application/json")
    assert problem_of(answer) == (401, "claim_missing")


def test_a_claim_that_does_not_admit_is_403_with_the_reason(kind, ask):
    token = peers.claim_token(device_type=kind, hardware_ids=["hw-9"])
    assert problem_of(ask(token)) == (403, "claim_other_hardware")
    assert problem_of(ask(token, device_type="pump")) == (403, "claim_other_type")
    Claim.objects.update(expires_at=timezone.now())
    assert problem_of(ask(token)) == (403, "claim_expired")
    Claim.objects.update(revoked_at=timezone.now())
    assert problem_of(ask(token)) == (403, "claim_revoked")
    assert problem_of(ask(peers.claim_token(device_type=kind, max_devices=0))) == (403, "claim_used_up")


def test_conflicts_are_409_with_the_reason(kind, ask):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    assert ask(token, csr=csr).status_code == 201
    assert problem_of(ask(peers.claim_token(device_type=kind))) == (409, "hardware_id_taken"), "of another tenant"
    assert problem_of(ask(token, csr=csr, hardware_id="hw-2")) == (409, "key_reused")
    Device.objects.update(state="quarantined")
    assert problem_of(ask(token, csr=csr)) == (409, "device_not_active")


def test_who_must_wait_for_somebody_is_told_how_long_and_gets_it_then(kind, ask):
    token, csr = peers.claim_token(device_type=kind, approve_by_hand=True), peers.csr()
    answer = ask(token, csr=csr)
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, str(approvals.RETRY_SECONDS))
    assert answer.json() == {"state": "waiting", "detail": admission.WAITS}
    assert not Device.objects.exists()
    approvals.decide(Approval.objects.get(), approve=True, user=UserFactory(), reason="known", now=timezone.now())
    assert ask(token, csr=csr).status_code == 201
    approved = ask(token)
    assert approved.status_code == 202, "a known device with a new key waits, too"
    approvals.decide(
        Approval.objects.latest("pk"), approve=False, user=UserFactory(), reason="stolen", now=timezone.now()
    )
    assert problem_of(ask(token, csr=Approval.objects.latest("pk").csr)) == (403, "rejected")


def test_the_claim_decides_the_type_where_it_is_left_out_and_a_hardware_id_is_needed(kind, client):
    headers = {"Authorization": f"Bearer {peers.claim_token(device_type=kind)}"}
    answer = client.post(URL, {"csr": peers.csr()}, content_type="application/json", headers=headers)
    assert problem_of(answer) == (400, "hardware_id")
    asked = {"csr": peers.csr(), "hardware_id": "hw-1"}
    answer = client.post(URL, asked, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["device_type"]) == (201, "logger")


def test_behind_a_proxy_a_device_renews_with_its_certificate(kind, ask, settings):
    settings.CLIENT_CERTIFICATE_PROXIES = [ip_network("127.0.0.1")]
    first = ask(peers.claim_token(device_type=kind)).json()
    header = {"Client-Cert": urllib.parse.quote(first["certificate"], safe="")}
    second = ask(None, client_certificate=header)
    assert second.status_code == 200
    assert second.json()["device_id"] == first["device_id"]
    assert second.json()["certificate"] != first["certificate"]
    settings.CLIENT_CERTIFICATE_PROXIES = []
    assert problem_of(ask(None, client_certificate=header)) == (400, "forged_header")


def test_a_bad_request_is_400_and_says_which_field(kind, ask):
    token = peers.claim_token(device_type=kind)
    assert problem_of(ask(token, csr="nothing")) == (400, "csr_refused")
    assert problem_of(ask(token, hardware_id="a\u202eb")) == (400, "hardware_id")
    answer = ask(token, hardware_id="", csr="x" * 20_000)
    assert problem_of(answer) == (400, "invalid")
    assert set(answer.json()["errors"]) == {"hardware_id", "csr"}


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"x"', '{"csr": ["a"]}', "[" * 10_000, '{"hardware_id": "\\ud800"}']
)
def test_bodies_of_any_kind_are_answered_not_crashed_on(kind, client, body):
    token = peers.claim_token(device_type=kind)
    answer = client.post(URL, body, content_type="application/json", headers={"Authorization": f"Bearer {token}"})
    assert problem_of(answer)[0] == 400


def test_other_methods_and_media_types_are_refused_in_the_same_shape(kind, ask, client):
    assert problem_of(client.get(URL)) == (405, "method_not_allowed")
    assert client.get(URL).headers["Allow"] == "POST, OPTIONS"
    assert (
        problem_of(ask(peers.claim_token(device_type=kind), content_type="multipart/form-data; boundary=x", csr="y"))[0]
        == 415
    )


def test_a_missing_ca_is_503_without_details(kind, ask, settings, tmp_path):
    settings.CA_DIRECTORY = tmp_path
    answer = ask(peers.claim_token(device_type=kind))
    assert problem_of(answer) == (503, "ca_key_unavailable")
    assert str(tmp_path) not in answer.content.decode()


def test_somebody_who_asks_too_often_is_told_when_to_come_back(kind, ask, monkeypatch):
    monkeypatch.setattr(ProvisionView.throttle_classes[0], "THROTTLE_RATES", {"provision": "2/min"})
    for _ in range(2):
        assert ask("fpc_guess").status_code == 401
    answer = ask("fpc_guess")
    assert problem_of(answer) == (429, "throttled")
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_the_route_has_its_name():
    assert reverse("provision") == URL


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DomainError("no"), 400, "domain_error"),
        (DeviceError("no", "own_code", 418), 418, "own_code"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.NotFound(), 404, "not_found"),
        (Http404(), 404, "not_found"),
        (PermissionDenied("secret"), 403, "permission_denied"),
        (exceptions.ValidationError({"a": ["b"]}), 400, "invalid"),
    ],
)
def test_every_error_has_one_shape(error, status, code):
    answer = problems.handle(error, {})
    assert (answer.status_code, answer.data["error_code"], answer.data["status"]) == (status, code, status)
    assert "secret" not in str(answer.data)


def test_an_unforeseen_error_stays_a_500_without_details():
    assert problems.handle(RuntimeError("password=hunter2"), {}) is None


def test_refusing_a_revoked_device_names_no_serial(kind, ask):
    token, csr = peers.claim_token(device_type=kind), peers.csr()
    ask(token, csr=csr)
    row = Device.objects.get().certificates.get()
    certificates.revoke(row, "stolen", None, timezone.now())
    answer = ask(token, csr=csr)
    assert problem_of(answer) == (409, "key_revoked")
    assert row.serial not in answer.content.decode()
