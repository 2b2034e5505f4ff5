"""What is told of watched devices, over the real Valkey."""

import threading
import time

import pytest
import redis
from django.test import override_settings

from devices import watching
from devices.watching import Megaphone, Watched
from telemetry.live import PUSH_SECONDS, Live, reading
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.hearing import Ear
from tests.telemetry.messages import noon, row

# Valkey tells every process: two workers of xdist with a device of one name would hear each other.
pytestmark = pytest.mark.xdist_group("channels")


@pytest.fixture
def live():
    Watched()._redis.delete(watching._KEY)
    Watched().add(["d-1"])
    made = Live()
    made.start()
    peers.eventually(lambda: "d-1" in made._watched)
    yield made
    made.stop()


def test_a_watched_device_is_pushed(live):
    browser = Ear("d-1")
    live.offer("d-1", {"reading": {"ts": 1}})
    assert browser.next() == {"device": "d-1", "reading": {"ts": 1}}


def test_a_device_nobody_watches_is_not_pushed(live):
    browser = Ear("d-2")
    other = Ear("d-1")
    live.offer("d-2", {"reading": {"ts": 1}})
    live.offer("d-1", {"reading": {"ts": 2}})
    assert other.next()["reading"] == {"ts": 2}
    assert live._waiting == {}
    with pytest.raises(TimeoutError):
        browser.next(PUSH_SECONDS)


def test_a_flood_is_four_messages_a_second_and_the_newest_wins(live):
    browser = Ear("d-1")
    start = time.monotonic()
    number = 0
    while time.monotonic() - start < 1:
        number += 1
        live.offer("d-1", {"reading": {"ts": number}})
        time.sleep(0.001)  # the pace of the flood
    live.offer("d-1", {"reading": {"ts": "last"}})
    while browser.next()["reading"]["ts"] != "last":
        pass
    assert number > 100
    assert 2 <= len(browser.seen) <= 6
    values = [message["reading"]["ts"] for _, message in browser.seen[:-1]]
    assert values == sorted(values)


def test_a_reading_and_a_presence_that_wait_together_come_together():
    browser = Ear("d-1")
    Watched().add(["d-1"])
    made = Live()
    made._watched = {"d-1"}
    made.offer("d-1", {"reading": {"ts": 1}})
    made.offer("d-1", {"presence": {"online": True}})
    made.offer("d-1", {"reading": {"ts": 2}})
    made.start()
    message = browser.next()
    made.stop()
    assert (message["reading"], message["presence"]) == ({"ts": 2}, {"online": True})


def test_a_watch_that_ended_is_pushed_no_more(live):
    Watched()._redis.delete(watching._KEY)
    peers.eventually(lambda: "d-1" not in live._watched)
    live.offer("d-1", {"reading": {"ts": 1}})
    assert live._waiting == {}


def test_it_outlives_a_valkey_that_refuses_connections():
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        made = Live()
        made.start()
        made._watched = {"d-1"}
        made.offer("d-1", {"reading": {"ts": 1}})
        peers.eventually(lambda: made._waiting == {})
        assert made._thread.is_alive()
    made.stop()
    assert not made._thread.is_alive()


def test_a_push_that_fails_does_not_end_pushing(live, monkeypatch):
    failed = threading.Event()
    tell = Megaphone.tell

    def away(self, changes):
        if failed.is_set():
            return tell(self, changes)
        failed.set()
        raise redis.ConnectionError

    monkeypatch.setattr(Megaphone, "tell", away)
    ear = Ear("d-1")
    live.offer("d-1", {"reading": {"ts": 1}})
    assert failed.wait(5)
    live.offer("d-1", {"reading": {"ts": 2}})
    assert ear.next()["reading"] == {"ts": 2}


@pytest.mark.django_db
def test_a_reading_is_told_in_epoch_ms_with_texts_beside_the_numbers(days):
    schema = SchemaFactory()
    told = row(DeviceFactory(device_type=schema.device_type), schema, noon(), extra='{"note": "x"}')
    assert reading(told)["reading"] == {
        "ts": int(noon().timestamp() * 1000),
        "schema": schema.pk,
        "metrics": [4.5, None, None],
        "extra": {"note": "x"},
    }


def test_a_state_that_cannot_be_sent_does_not_end_the_others_liveliness(live):
    browser = Ear("d-1")
    live.offer("d-1", {"reading": object()})
    peers.eventually(lambda: not live._waiting, what="tried")
    live.offer("d-1", {"reading": {"ts": 7}})
    assert browser.next()["reading"]["ts"] == 7
    assert live.healthy
