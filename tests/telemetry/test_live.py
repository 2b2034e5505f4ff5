"""What reaches a browser, over the real channel layer."""

import asyncio
import time

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings

from devices import watching
from devices.watching import Watched, group
from telemetry.live import PUSH_SECONDS, Live, reading
from tests.devices import peers
from tests.factories import DeviceFactory, SchemaFactory
from tests.telemetry.messages import noon, row

# Valkey tells every process: two workers of xdist with a device of one name would hear each other.
pytestmark = pytest.mark.xdist_group("channels")


class Browser:
    """Watches a device and notes what comes, with the time."""

    def __init__(self, runner: asyncio.Runner, device_id: str) -> None:
        self._runner, self._layer = runner, get_channel_layer()
        self.channel = runner.run(self._layer.new_channel())
        runner.run(self._layer.group_add(group(device_id), self.channel))
        self.seen: list[tuple[float, dict]] = []

    def next(self, seconds: float = 5) -> dict:
        """Wait for the next message."""
        message = self._runner.run(asyncio.wait_for(self._layer.receive(self.channel), seconds))
        self.seen.append((time.monotonic(), message))
        return message


@pytest.fixture
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def live():
    Watched()._redis.delete(watching._KEY)
    Watched().add(["d-1"])
    made = Live()
    made.start()
    peers.eventually(lambda: "d-1" in made._watched)
    yield made
    made.stop()


def test_a_watched_device_is_pushed(live, runner):
    browser = Browser(runner, "d-1")
    live.offer("d-1", {"reading": {"ts": 1}})
    assert browser.next() == {"type": "device.changed", "device": "d-1", "reading": {"ts": 1}}


def test_a_device_nobody_watches_is_not_pushed(live, runner):
    browser = Browser(runner, "d-2")
    other = Browser(runner, "d-1")
    live.offer("d-2", {"reading": {"ts": 1}})
    live.offer("d-1", {"reading": {"ts": 2}})
    assert other.next()["reading"] == {"ts": 2}
    assert live._waiting == {}
    with pytest.raises(TimeoutError):
        browser.next(PUSH_SECONDS)


def test_a_flood_is_four_messages_a_second_and_the_newest_wins(live, runner):
    browser = Browser(runner, "d-1")
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


def test_a_reading_and_a_presence_that_wait_together_come_together(runner):
    browser = Browser(runner, "d-1")
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


def test_it_outlives_a_valkey_that_refuses_connections(runner):
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
        made = Live()
        made.start()
        made._watched = {"d-1"}
        made.offer("d-1", {"reading": {"ts": 1}})
        peers.eventually(lambda: made._waiting == {})
        assert made._thread.is_alive()
    made.stop()
    assert not made._thread.is_alive()


def test_a_push_that_fails_does_not_end_pushing(live, runner, settings):
    layers = settings.CHANNEL_LAYERS
    broken = {"default": layers["default"] | {"CONFIG": {"hosts": ["redis://127.0.0.1:1/0"], "prefix": "live"}}}
    settings.CHANNEL_LAYERS = broken
    live.offer("d-1", {"reading": {"ts": 1}})
    peers.eventually(lambda: live._waiting == {})
    settings.CHANNEL_LAYERS = layers
    browser = Browser(runner, "d-1")

    def came():
        live.offer("d-1", {"reading": {"ts": 2}})
        try:
            return browser.next(0.5)["reading"] == {"ts": 2}
        except TimeoutError:
            return False

    peers.eventually(came)


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


def test_a_state_that_cannot_be_sent_does_not_end_the_others_liveliness(live, runner):
    browser = Browser(runner, "d-1")
    live.offer("d-1", {"reading": {"ts": 2**70}})
    peers.eventually(lambda: not live._waiting, what="tried")
    live.offer("d-1", {"reading": {"ts": 7}})
    assert browser.next()["reading"]["ts"] == 7
    assert live.healthy
