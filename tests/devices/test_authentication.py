"""Who is let in at an HTTPS door of devices, and what the door says to all others. With a device that rotates."""

import json
import logging

import pytest
from django.db import connection
from django.utils import timezone
from django.views.debug import ExceptionReporter

from devices import authentication, tokens
from devices.models import Device, DeviceToken, Event
from tests.devices import bearers
from tests.factories import DeviceFactory

pytestmark = pytest.mark.django_db
URL = "/api/v1/devices/token"


@pytest.fixture
def device():
    return DeviceFactory()


@pytest.fixture
def token(device):
    return tokens.make(device, timezone.now())[1]


@pytest.fixture
def ask(client):
    """Ask for the next token."""

    def post(authorization=None, **headers):
        if authorization is not None:
            headers["Authorization"] = authorization
        return client.post(URL, headers=headers)

    return post


def refusal(answer):
    """Status and code, after a look at the shape."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="devices"'
    return answer.status_code, answer.json()["error_code"]


def test_a_device_gets_its_next_token_and_both_are_good(ask, device, token):
    answer = ask(f"Bearer {token}")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body) == {"token", "expires_at"}
    row = tokens.check(body["token"], timezone.now())
    assert row.device == device
    assert body["expires_at"] == row.expires_at.isoformat().replace("+00:00", "Z")
    assert tokens.check(token, timezone.now()).replaced_by == row
    assert ask(f"Bearer {body['token']}").status_code == 201


def test_asking_again_replaces_what_was_not_used(ask, device, token):
    answers = [ask(f"Bearer {token}").json()["token"] for _ in range(4)]
    assert bearers.good(device, timezone.now()) == 2
    assert refusal(ask(f"Bearer {answers[0]}")) == (401, "token_revoked")
    assert ask(f"Bearer {answers[-1]}").status_code == 201
    assert refusal(ask(f"Bearer {token}")) == (409, "token_replaced")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer   "])
def test_the_scheme_is_recognised_in_any_case(ask, token, scheme):
    assert ask(scheme + token).status_code == 201


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "credential_missing"),
        ("", "credential_missing"),
        ("Basic dXNlcjpwYXNz", "credential_missing"),
        ("Bearer", "token_unknown"),
        ("Bearer ", "token_unknown"),
        ("Bearer \0", "token_unknown"),
        ("Bearer fpd_\0" + "a" * 42, "token_unknown"),
        ("Bearer fpd_" + "a" * 43, "token_unknown"),
        ("Bearer fpd_" + "a" * 43 + ", Bearer fpd_" + "b" * 43, "token_unknown"),
        ("Bearer fpc_" + "a" * 43, "token_unknown"),
        ("Bearer ' OR 1=1 --", "token_unknown"),
        ("Bearer " + "ÿ" * 47, "token_unknown"),
        ("Bearer " + "a" * 60_000, "token_unknown"),
        ("\0\x01\x02", "credential_missing"),
    ],
)
def test_what_is_no_credential_is_401_and_no_crash(ask, token, authorization, code):
    assert refusal(ask(authorization)) == (401, code)


def test_a_token_is_taken_from_the_header_only(client, token):
    for answer in (
        client.post(f"{URL}?token={token}&access_token={token}"),
        client.post(URL, {"token": token, "access_token": token}),
        client.post(URL, headers={"Cookie": f"token={token}"}),
        client.post(URL, headers={"X-Api-Key": token}),
    ):
        assert refusal(answer) == (401, "credential_missing")


def test_an_expired_and_a_revoked_token_are_told_apart(ask, token):
    DeviceToken.objects.update(expires_at=timezone.now())
    assert refusal(ask(f"Bearer {token}")) == (401, "token_expired")
    DeviceToken.objects.update(revoked_at=timezone.now())
    assert refusal(ask(f"Bearer {token}")) == (401, "token_revoked")


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_out_of_service_is_403(ask, token, state):
    Device.objects.update(state=state)
    assert refusal(ask(f"Bearer {token}")) == (403, state)
    assert DeviceToken.objects.count() == 1


def test_a_person_who_is_signed_in_is_no_device(client, admin_client):
    assert refusal(admin_client.post(URL)) == (401, "credential_missing")


def test_only_post_is_answered(client, token):
    answer = client.get(URL, headers={"Authorization": f"Bearer {token}"})
    assert refusal(answer) == (405, "method_not_allowed")
    assert refusal(client.get(URL)) == (401, "credential_missing")


def test_too_many_rotations_of_one_device_are_told_when_to_come_back(ask, token):
    other = tokens.make(DeviceFactory(), timezone.now())[1]
    for _ in range(10):
        assert ask(f"Bearer {token}").status_code == 201
    answer = ask(f"Bearer {token}")
    assert refusal(answer) == (429, "throttled")
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    assert ask(f"Bearer {other}").status_code == 201


def test_the_limit_is_the_devices_and_not_a_tokens(ask, token):
    current = token
    for _ in range(10):
        current = ask(f"Bearer {current}").json()["token"]
        bearers.use(current, timezone.now())
        DeviceToken.objects.exclude(prefix=current[:12]).update(expires_at=timezone.now())
    assert refusal(ask(f"Bearer {current}")) == (429, "throttled")


def test_a_cache_that_is_away_keeps_nobody_out(ask, token, settings):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert ask(f"Bearer {token}").status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_503_and_when_to_come_back(ask):
    token = tokens.make(DeviceFactory(), timezone.now())[1]
    healthy = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    try:
        answer = ask(f"Bearer {token}")
    finally:
        connection.settings_dict["PORT"] = healthy
    assert refusal(answer) == (503, "try_again")
    assert answer.headers["Retry-After"] == str(authentication.RETRY_SECONDS)
    assert ask(f"Bearer {token}").status_code == 201


# --- where a token must not be seen ---------------------------------------------------------------------------------


def test_no_log_line_and_no_evidence_tells_a_token(ask, token, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    new = ask(f"Bearer {token}").json()["token"]
    ask(f"Bearer {token}x")
    ask(f"Bearer {new}")
    told = caplog.text + "".join(capfd.readouterr()) + json.dumps(list(Event.objects.values_list("detail", flat=True)))
    assert "/api/v1/devices/token" in told  # the lines are there
    assert token[12:] not in told
    assert new[12:] not in told


def test_an_error_report_hides_the_token(rf, token, settings, monkeypatch):
    """Django's report shows the local variables of each frame, and the request's head."""
    request = rf.post(URL, headers={"Authorization": f"Bearer {token}"})
    view = authentication.DeviceView()

    def fall(_row, _now):
        raise ZeroDivisionError

    monkeypatch.setattr(tokens, "_require_good", fall)
    with pytest.raises(ZeroDivisionError) as error:
        view.initial(view.initialize_request(request))
    frames = error.tb.tb_next  # below this test's own, which knows the token
    reporter = ExceptionReporter(request, error.type, error.value, frames)
    report = reporter.get_traceback_text() + reporter.get_traceback_html()
    assert "in _by_token" in report and "in check" in report
    assert token[12:] not in report
