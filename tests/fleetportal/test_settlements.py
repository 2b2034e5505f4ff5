"""Answers to devices, as they arrive at the broker."""

import json
import uuid

import pytest

from devices.contract import Refusal, Settled, Topic
from fleetportal import settlements
from fleetportal.settlements import Settlements
from tests.devices import peers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ca", "mosquitto_server")]


@pytest.fixture
def line():
    """A topic of a device, and what arrives there."""
    mark = uuid.uuid4().hex[:12]
    with peers.portal(f"/{mark}/#") as listener:
        yield mark, listener


def topic(mark, device="d"):
    return str(Topic(mark, "y", device, "telemetry/stored"))


def ids(count):
    return [uuid.uuid4() for _ in range(count)]


def test_answers_to_one_device_are_one_message(line):
    mark, listener = line
    waiting = Settlements()
    first, second, third = ids(3)
    waiting.add({topic(mark): Settled([first], [])})
    waiting.add({topic(mark): Settled([second], [Refusal(third, "schema")])})
    waiting.start()
    waiting.stop()
    peers.eventually(lambda: listener.received)
    ((where, payload),) = listener.received
    assert where == topic(mark)
    assert json.loads(payload) == {
        "stored": [str(first), str(second)],
        "refused": [{"msg_id": str(third), "reason": "schema"}],
    }


def test_each_device_hears_of_its_own(line):
    mark, listener = line
    waiting = Settlements()
    one, other = ids(2)
    waiting.add({topic(mark, "d-1"): Settled([one], []), topic(mark, "d-2"): Settled([other], [])})
    waiting.start()
    waiting.stop()
    peers.eventually(lambda: len(listener.received) == 2)
    told = {where: json.loads(payload)["stored"] for where, payload in listener.received}
    assert told == {topic(mark, "d-1"): [str(one)], topic(mark, "d-2"): [str(other)]}


def test_a_large_answer_is_cut_into_messages_a_device_can_take(line, monkeypatch):
    monkeypatch.setattr(settlements, "_IDS_A_MESSAGE", 10)
    mark, listener = line
    waiting = Settlements()
    stored, refused = ids(25), [Refusal(each, "schema") for each in ids(12)]
    waiting.add({topic(mark): Settled(list(stored), list(refused))})
    waiting.start()
    waiting.stop()
    peers.eventually(lambda: len(listener.received) == 3)
    parts = [json.loads(payload) for _, payload in listener.received]
    assert [each for part in parts for each in part["stored"]] == [str(each) for each in stored]
    assert sum(len(part["refused"]) for part in parts) == 12


def test_it_sends_by_itself_within_the_pace(line):
    mark, listener = line
    waiting = Settlements()
    waiting.start()
    waiting.add({topic(mark): Settled(ids(1), [])})
    peers.eventually(lambda: listener.received, seconds=settlements.SETTLE_SECONDS + 4)
    waiting.stop()
    assert len(listener.received) == 1
