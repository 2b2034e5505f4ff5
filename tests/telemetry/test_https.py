"""`POST /api/v1/telemetry`: what a device would publish over MQTT, and the same verdicts."""

import json
from datetime import timedelta

import cbor2
import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devices import contract, presence, registry, tokens
from devices.models import Device, DeviceToken, Event, Finding, Presence
from devices.registry import Incoming
from devices.watching import Watched
from telemetry import ingest, live
from telemetry.https import TelemetryView
from telemetry.models import DeadLetter, Reading
from tests.devices.hostile import CORPUS
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.hearing import Ear
from tests.telemetry.messages import envelope, topic

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("channels")]  # Valkey tells every process
URL = "/api/v1/telemetry"


@pytest.fixture
def device(days):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    return device


@pytest.fixture
def token(device):
    return tokens.make(device, timezone.now())[1]


@pytest.fixture
def post(client, token):
    """Post as the device does."""

    def send(body, credential=token, **headers):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers |= {"Authorization": f"Bearer {credential}"} if credential else {}
        return client.post(URL, payload, content_type="application/octet-stream", headers=headers)

    return send


def refusal(answer):
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["error_code"]


def test_one_envelope_is_stored_and_settled(post, device):
    told = envelope()
    answer = post(told)
    assert (answer.status_code, answer.json()) == (200, {"stored": [told["msg_id"]], "refused": []})
    assert answer.headers["Content-Type"] == "application/json"
    reading = Reading.objects.get()
    assert (reading.device, str(reading.msg_id), reading.metrics[0]) == (device, told["msg_id"], 4.5)


def test_an_array_gets_a_verdict_for_each(post, device):
    good, bad, old = envelope(), envelope(values={"temperature_c": "x"}), envelope(ts=0)
    answer = post([good, bad, old])
    assert answer.status_code == 200
    assert answer.json()["stored"] == [good["msg_id"]]
    assert answer.json()["refused"] == [
        {"msg_id": bad["msg_id"], "reason": "schema"}, {"msg_id": old["msg_id"], "reason": "ts_old"}
    ]  # fmt: skip
    assert set(DeadLetter.objects.values_list("topic", "device")) == {(topic(device), device.pk)}


def test_what_was_all_refused_is_settled_too(post):
    told = envelope(schema_version=9)
    answer = post(told)
    assert answer.status_code == 200
    assert answer.json() == {"stored": [], "refused": [{"msg_id": told["msg_id"], "reason": "schema_version"}]}


def test_a_repeated_request_is_stored_once_and_settled_again(post):
    told = [envelope(), envelope()]
    assert post(told).json() == post(told).json()
    assert Reading.objects.count() == 2


def test_cbor_is_taken_whatever_the_media_type_says(client, token):
    told = envelope()
    answer = client.post(
        URL, cbor2.dumps([told]), content_type="application/json", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.json()["stored"] == [told["msg_id"]]


# --- the same verdicts as over MQTT ---------------------------------------------------------------------------------


def bodies():
    """Name → payload, one of everything a device could send."""
    ahead = (timezone.now() + timedelta(hours=25)).isoformat(timespec="milliseconds")
    envelopes = {
        "good": {},
        "another schema": {"schema_version": 2},
        "no values": {"values": {}},
        "out of range": {"values": {"temperature_c": 81}},
        "an unknown field": {"values": {"temperature_c": 1, "unnamed": 1}},
        "no time": {"ts": "noon"},
        "an old time": {"ts": 0},
        "a time ahead": {"ts": ahead},
        "no id": {"msg_id": "1"},
        "NUL in a value": {"values": {"temperature_c": 1, "note": "a\0b"}},
    }
    made = {name: json.dumps(envelope(**changes)).encode() for name, changes in envelopes.items()}
    made["all of them"] = b"[" + b",".join(made.values()) + b"]"
    made["in CBOR"] = cbor2.dumps([envelope(**changes) for changes in envelopes.values()])
    made["500"] = json.dumps([envelope() for _ in range(500)]).encode()
    made["501"] = json.dumps([envelope() for _ in range(501)]).encode()
    made["an empty array"] = b"[]"
    made["256 KiB"] = json.dumps(envelope()).encode().ljust(contract.MAX_PAYLOAD_BYTES)
    return made | CORPUS


BODIES = bodies()


def over_mqtt(device, payload):
    """Settled and refused, as the device hears of it and as it is kept."""
    outcome = ingest.store_batch([Incoming(topic(device), payload, 1)])
    settled = [json.loads(contract.encode(answer)) for answer in outcome.settled.values()]
    return settled, [(item.reason, item.path) for item in outcome.refused]


def kept(device):
    letters = DeadLetter.objects.filter(device=device).order_by("payload", "reason")
    return Reading.objects.filter(device=device).count(), [
        (bytes(letter.payload), letter.reason, letter.path, letter.detail, letter.count) for letter in letters
    ]


@pytest.mark.parametrize("name", BODIES)
def test_every_payload_gets_the_verdict_it_gets_over_mqtt(post, device, name):
    twin = DeviceFactory(device_type=device.device_type)
    settled, refused = over_mqtt(twin, BODIES[name])
    answer = post(BODIES[name])
    if settled:
        assert (answer.status_code, [answer.json()]) == (200, settled)
    elif refused[0][0] == "too_large":
        assert refusal(answer) == (413, "too_large")
        return  # refused unread: there is nothing to keep
    else:
        assert (*refusal(answer), answer.json()["path"]) == (400, *refused[0])
    assert kept(device) == kept(twin)


# --- who may, how much, how often -----------------------------------------------------------------------------------


def test_a_device_speaks_for_itself_only(post, device):
    """There is no place in a request to name another."""
    other = DeviceFactory(device_type=device.device_type)
    post([envelope(device_id=other.device_id, topic=topic(other))], X_Device_Id=other.device_id)
    assert set(Reading.objects.values_list("device", flat=True)) == {device.pk}


def test_without_a_good_token_nothing_is_read_or_kept(post, token):
    assert refusal(post(envelope(), "")) == (401, "credential_missing")
    assert refusal(post(envelope(), "fpd_" + "a" * 43)) == (401, "token_unknown")
    assert refusal(post(b"\0", "\0")) == (401, "token_unknown")
    DeviceToken.objects.update(expires_at=timezone.now())
    assert refusal(post(envelope())) == (401, "token_expired")
    DeviceToken.objects.update(revoked_at=timezone.now())
    answer = post(envelope())
    assert refusal(answer) == (401, "token_revoked")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="devices"'
    assert (Reading.objects.count(), DeadLetter.objects.count()) == (0, 0)


@pytest.mark.parametrize("state", ["quarantined", "decommissioned"])
def test_a_device_out_of_service_is_403(post, token, state):
    Device.objects.update(state=state)
    assert refusal(post(envelope())) == (403, state)
    assert (Reading.objects.count(), DeadLetter.objects.count()) == (0, 0)


def test_a_device_quarantined_while_its_request_is_under_way_is_403_too(post, monkeypatch):
    def read_slowly(request):
        Device.objects.update(state="quarantined")
        return json.dumps(envelope()).encode()

    monkeypatch.setattr("telemetry.https._body", read_slowly)
    assert refusal(post(envelope())) == (403, "quarantined")
    assert DeadLetter.objects.get().reason == "quarantined"


@pytest.mark.parametrize("told", [str(contract.MAX_PAYLOAD_BYTES + 1), "9" * 5000, "-1", "abc", "1e3"])
def test_a_length_that_is_too_much_or_none_is_refused_unread(client, token, told):
    class Unread:
        def read(self, *_):
            raise AssertionError("read")

        readline = read

    environ = {"CONTENT_LENGTH": told, "wsgi.input": Unread()}
    answer = client.post(
        URL, b"x", content_type="application/json", headers={"Authorization": f"Bearer {token}"}, **environ
    )
    assert refusal(answer) == (413, "too_large")


def test_too_many_requests_of_one_device_are_told_when_to_come_back(post, device, monkeypatch):
    throttle = TelemetryView.throttle_classes[0]
    assert throttle.THROTTLE_RATES["ingest"] == "120/min"
    monkeypatch.setattr(throttle, "THROTTLE_RATES", {"ingest": "3/min"})
    for _ in range(3):
        assert post(envelope()).status_code == 200
    answer = post(envelope())
    assert refusal(answer) == (429, "throttled")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    other = tokens.make(DeviceFactory(device_type=device.device_type), timezone.now())[1]
    assert post(envelope(), other).status_code == 200
    assert refusal(post(envelope(), tokens.make(device, timezone.now())[1])) == (429, "throttled")


def test_a_cache_that_is_away_keeps_nothing_out(post, settings):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert post(envelope()).status_code == 200


@pytest.mark.parametrize("error", [DataError("no such number"), ValueError("no such number")], ids=repr)
def test_what_the_database_cannot_take_is_kept_and_stays_with_the_device(post, device, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(ingest, "store", fail)
    answer = post(envelope())
    assert refusal(answer) == (503, "unstorable")
    assert "number" not in answer.content.decode()
    assert int(answer.headers["Retry-After"]) > 60
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.device, letter.detail) == (
        "unstorable",
        device,
        f"{type(error).__name__}: no such number",
    )


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_503_and_the_same_request_is_stored_later(client):
    device = DeviceFactory()
    SchemaFactory(device_type=device.device_type)
    headers = {"Authorization": f"Bearer {tokens.make(device, timezone.now())[1]}"}
    told = json.dumps(envelope())
    healthy = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    try:
        answer = client.post(URL, told, content_type="application/json", headers=headers)
    finally:
        connection.settings_dict["PORT"] = healthy
    assert refusal(answer) == (503, "try_again")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.post(URL, told, content_type="application/json", headers=headers).status_code == 200


# --- presence and those who watch -----------------------------------------------------------------------------------


def state(device):
    return Presence.objects.values_list("online", "ended", "session").get(device=device)


def test_a_device_that_only_posts_is_online_until_it_is_silent_and_again_when_it_posts(post, device):
    before = timezone.now()
    assert state(device) == (False, "", -1)
    post(envelope())
    row = Presence.objects.get(device=device)
    assert state(device) == (True, "", -1)
    assert before < row.last_seen_at and before < row.changed_at
    presence.mark_silent(timezone.now() + timedelta(hours=1), 86400)
    assert state(device) == (False, "silence", -1)
    post(envelope())
    assert state(device) == (True, "", -1)
    kinds = Event.objects.filter(kind__startswith="device.").order_by("id").values_list("kind", "detail")
    assert list(kinds) == [("device.online", {"over": "https"}), ("device.silent", {})]


def test_what_is_refused_was_heard_and_brings_no_device_online(post, device):
    post(envelope(ts=0))
    assert state(device) == (False, "", -1)
    assert Presence.objects.get(device=device).last_seen_at is not None


def test_a_birth_over_mqtt_is_believed_over_what_was_posted_and_a_will_is_not_undone(post, device):
    known = registry.look_up([device.device_id])[device.device_id]
    post(envelope())
    assert presence.birth(known, contract.Status(contract.State.ONLINE, 0, "b", 0), timezone.now())
    assert state(device) == (True, "", 0)
    presence.will(known, contract.Status(contract.State.OFFLINE, 0, "b", 0), timezone.now())
    post(envelope())
    assert state(device) == (False, "will", 0)  # its MQTT session has ended; when it was seen is told beside it
    assert timezone.now() - Presence.objects.get(device=device).last_seen_at < timedelta(seconds=5)


def test_those_who_watch_see_it_at_once(post, device):
    ear = Ear(device.device_id)
    Watched().add([device.device_id])
    live._own.clear()  # as in a process that has not taken any telemetry yet
    post(envelope(values={"temperature_c": 7}))
    seen = ear.next()
    if "presence" not in seen:
        seen |= ear.next()
    assert seen["device"] == device.device_id
    assert seen["reading"]["metrics"][0] == 7.0
    assert seen["presence"]["online"] is True


def test_the_pusher_of_a_process_is_one_and_is_replaced_when_it_died():
    first = live.of_this_process()
    assert live.of_this_process() is first
    first.stop()
    assert live.of_this_process() is not first
    assert live.of_this_process().healthy


def test_it_costs_the_database_the_same_for_one_envelope_and_for_500(post, device):
    post(envelope())
    counts = []
    for told in ([envelope()], [envelope() for _ in range(500)]):
        with CaptureQueriesContext(connection) as queries:
            assert post(told).status_code == 200
        counts.append(len(queries))
    assert counts == [QUERIES, QUERIES]


QUERIES = 13
"""Two for the token; the rest is a batch as over MQTT, with its savepoint."""


@pytest.mark.django_db
def test_a_forged_header_is_refused_and_found_out_beside_a_good_token_too(client, ca):
    device = DeviceFactory()
    _, token = tokens.make(device, timezone.now())
    headers = {"Authorization": f"Bearer {token}", "Client-Cert": "x"}
    answer = client.post("/api/v1/telemetry", b"{}", content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "forged_header")
    assert Finding.objects.get().kind == "forged_header"
