import time
from datetime import timedelta

import pytest
from celery.signals import heartbeat_sent
from django.core.cache import cache
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from devices import broker
from fleetportal import celery, health
from fleetportal.bootstep import heartbeat_key
from fleetportal.tasks import BEAT_KEY, beat_heartbeat, queue_key, serve
from telemetry import backlog
from telemetry.pressure import Line
from telemetry.tables import partitions

AWAY = "127.0.0.1:1"
QUEUES = ["default", "jobs", "rollout", "urgent"]


@pytest.fixture
def ready(db, ca, days, mosquitto_server, settings):
    """Everything is as it should be."""
    cache.clear()
    broker.write_all(timezone.now())
    serve(QUEUES)
    for slot in range(settings.MQTT_SLOTS + 1):
        cache.set(heartbeat_key(slot), time.time(), 60)
    beat_heartbeat()


def parts(client, status):
    answer = client.get("/readyz")
    assert answer.status_code == status
    return answer.json()["parts"]


def bad(client):
    return {name for name, state in parts(client, 503).items() if state != "ok"}


def test_ready_when_every_part_is(client, ready):
    assert set(parts(client, 200).values()) == {"ok"}
    assert set(parts(client, 200)) == set(health.PARTS)


def test_names_the_broker(client, ready, settings):
    settings.MQTT_URL = f"mqtt://portal:secret@{AWAY}"
    assert bad(client) == {"broker"}


def test_names_the_ingest_sessions_nobody_serves(client, ready):
    cache.delete(heartbeat_key(1))
    assert bad(client) == {"ingest"}
    assert parts(client, 503)["ingest"] == "no worker serves portal-ingest-0"


def waiting(seconds):
    began = time.time() - seconds
    return Line(at=time.time(), unacked=9, oldest=began, stored_at=began, full=False, per_second=0)


def test_says_that_ingest_is_behind_and_is_ready_all_the_same(client, ready):
    """A proxy that turned devices away from a slow portal would only make the queue longer."""
    assert client.get("/readyz").json()["notes"] == []
    backlog.tell({1: waiting(30)}, None)
    assert set(parts(client, 200).values()) == {"ok"}
    assert client.get("/readyz").json()["notes"] == ["ingest is 30 s behind: 9 messages wait"]


def test_is_not_ready_when_nothing_is_stored_for_a_minute_while_messages_wait(client, ready):
    backlog.tell({1: waiting(61)}, None)
    assert bad(client) == {"ingest"}
    assert parts(client, 503)["ingest"] == "nothing stored for 61 s while 9 messages wait"


@pytest.mark.parametrize("queue", QUEUES)
def test_names_the_queue_that_no_worker_serves(client, ready, queue):
    cache.delete(queue_key(queue))
    assert bad(client) == {"workers"}
    assert parts(client, 503)["workers"] == f"no worker serves the queue {queue}"


def test_a_worker_says_which_queues_it_serves(ready, client, monkeypatch):
    cache.delete_many([queue_key(queue) for queue in QUEUES])
    monkeypatch.setattr(celery, "_served_at", -1000.0)
    monkeypatch.setattr(celery.app.amqp.queues, "_consume_from", {"urgent": None, "jobs": None})
    heartbeat_sent.send(sender=None)
    assert parts(client, 503)["workers"] == "no worker serves the queue default, rollout"


@pytest.mark.parametrize("seen", [None, -61])
def test_names_the_clock(client, ready, seen):
    cache.set(BEAT_KEY, seen and time.time() + seen)
    assert bad(client) == {"beat"}


def test_names_the_partitions(client, ready):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.partition(timezone.now().date() + timedelta(days=1))}")
    assert bad(client) == {"partitions"}


def test_names_a_missing_and_an_ageing_revocation_list(client, ready, settings, tmp_path):
    settings.BROKER_DIRECTORY = tmp_path
    assert bad(client) == {"crl"}
    broker.write_all(timezone.now() - broker.CRL_LIFETIME + timedelta(hours=23))
    assert bad(client) == {"crl"}
    broker.write_all(timezone.now() - broker.CRL_LIFETIME + timedelta(hours=25))
    assert parts(client, 200)["crl"] == "ok"


def test_names_the_cache_and_what_is_kept_in_it(client, ready, settings):
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"redis://{AWAY}/0"}}
    assert bad(client) == {"cache", "ingest", "beat", "workers"}
    assert client.get("/readyz").json()["notes"] == []


@pytest.mark.django_db(transaction=True)
def test_names_the_database(client, ca, settings):
    healthy = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    try:
        assert {"database", "partitions"} <= bad(client)
    finally:
        connection.settings_dict["PORT"] = healthy


def test_tells_strangers_no_address_and_no_credential(client, ready, settings):
    settings.MQTT_URL = f"mqtt://portal:secret@{AWAY}"
    body = client.get("/readyz").content.decode()
    assert "secret" not in body
    assert "127.0.0.1" not in body


def test_is_alive_whatever_its_neighbours_are(client, settings):
    """Without a database fixture: asking it would fail this test."""
    settings.MQTT_URL = f"mqtt://{AWAY}"
    answer = client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_is_asked_by_get_only(client, db, path):
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("path", ["/livez", "/metrics"])
def test_probes_are_not_redirected_to_https(client, path):
    with override_settings(SECURE_SSL_REDIRECT=True):
        assert client.get(path).status_code == 200
        assert client.get("/sign-in/").status_code == 301


def test_metrics_are_for_the_bearer_of_the_token(client, settings):
    settings.METRICS_TOKEN = "t-123"
    for authorization in (
        {},
        {"Authorization": "Bearer t-12"},
        {"Authorization": "t-123"},
        {"Authorization": "Bearer é"},
    ):
        refused = client.get("/metrics", headers=authorization)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"fleetportal" not in refused.content
    assert client.get("/metrics", headers={"Authorization": "Bearer t-123"}).status_code == 200


def test_metrics_count_requests_by_view_and_never_by_path(client, db, settings):
    settings.METRICS_TOKEN = ""
    client.get("/livez")
    client.get("/devices/d-secret-id/")
    text = client.get("/metrics").content.decode()
    assert 'fleetportal_http_request_seconds_count{method="GET",status="200",view="livez"}' in text
    assert "d-secret-id" not in text


def test_every_answer_carries_its_correlation_id(client):
    one, other = (client.get("/livez").headers["X-Correlation-ID"] for _ in range(2))
    assert one and other and one != other
