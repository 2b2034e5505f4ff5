"""The pump's session against the real broker: nothing is acknowledged before it is stored."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError

from devices.outgoing import connect_options
from devices.registry import Incoming
from fleetportal import mqtt_client, pump
from fleetportal.pump import Session
from tests.devices import peers
from tests.fleetportal.pumping import PROBE, Room, numbered, plain, session, shared

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ca", "mosquitto_server")]
LINES = {"shared": shared, "plain": plain}


@pytest.mark.parametrize("kind", LINES)
def test_messages_arrive_in_order_and_once(kind):
    line, room = LINES[kind](), Room()
    with session(line, room), peers.portal() as publisher:
        for word in numbered(100):
            publisher.publish(line.topic, word)
        peers.eventually(lambda: len(room.taken) >= 100)
    assert room.payloads() == numbered(100)
    assert {(message.topic, message.qos) for message in room.taken} == {(line.topic, 1)}


def test_messages_that_come_together_are_one_batch():
    line, room = shared(), Room()
    with session(line, room), peers.portal() as publisher:
        room.open.clear()
        publisher.publish(line.topic, b"first")
        peers.eventually(lambda: room.asked)
        for word in numbered(50):
            publisher.publish(line.topic, word)
        room.open.set()
        peers.eventually(lambda: len(room.taken) == 51)
    assert len(room.asked) < 10


def test_a_stop_stores_what_has_arrived_and_leaves_the_rest_to_the_next_holder():
    line, first, second = shared(), Room(), Room()
    with session(line, first), peers.portal() as publisher:
        for word in numbered(20):
            publisher.publish(line.topic, word)
    with peers.portal() as publisher:
        for word in numbered(20, start=20):
            publisher.publish(line.topic, word)
    with session(line, second):
        peers.eventually(lambda: len(first.taken) + len(second.taken) >= 40)
    assert first.payloads() + second.payloads() == numbered(40)


def test_a_session_taken_over_while_its_lock_is_out_of_sight_ends_and_the_other_gets_what_was_not_stored():
    """Two workers that both believed in a slot would take it from each other every second."""
    line, first, second = shared(), Room(), Room()
    with session(line, first) as old, peers.portal() as publisher:
        first.open.clear()
        for word in numbered(30):
            publisher.publish(line.topic, word)
        peers.eventually(lambda: first.asked)
        old.held = False
        with session(line, second) as new:
            peers.eventually(lambda: len(second.taken) == 30)
            peers.eventually(lambda: old.lost)
            assert (old.connected, old.healthy, new.connected) == (False, True, True)
            assert second.payloads() == numbered(30)


def test_a_session_whose_slot_is_known_to_be_ours_comes_back_by_itself():
    line, room = shared(), Room()
    with session(line, room) as mine, peers.portal() as publisher:
        with peers.portal(client_id=line.client_id):
            pass
        peers.eventually(lambda: mine.connected, what="connected again")
        room.probed = False
        peers.eventually(lambda: publisher.publish(line.topic, PROBE) or room.probed, what="subscribed again")
        publisher.publish(line.topic, b"word")
        peers.eventually(lambda: room.taken)
    assert (room.payloads(), mine.lost) == ([b"word"], False)


_DIES_UNSTORED = """
import sys, django; django.setup()
from fleetportal.pump import Session
from threading import Event
def take(messages):
    if any(m.payload == b"0" for m in messages):
        print("taken", flush=True)
        Event().wait()
Session(sys.argv[1], [sys.argv[2]], take, print).start()
Event().wait()
"""


def test_messages_a_killed_process_had_not_acknowledged_come_again():
    line, room = shared(), Room()
    with session(line, room):
        pass  # the subscription stays with the session
    command = [sys.executable, "-c", _DIES_UNSTORED, line.client_id, line.filters[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, peers.portal() as publisher:
        for word in numbered(50):
            publisher.publish(line.topic, word)
        assert process.stdout.readline() == b"taken\n"
        process.kill()
    with session(line, room):
        peers.eventually(lambda: len(room.taken) >= 50)
    assert room.payloads() == numbered(50)


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_while_the_database_is_away_acknowledgements_are_withheld_and_then_everything_is_stored_once(error):
    line, room = shared(), Room()
    with session(line, room) as mine, peers.portal() as publisher:
        room.failures = [error] * 3
        for word in numbered(20):
            publisher.publish(line.topic, word)
        peers.eventually(lambda: len(room.taken) == 20)
        assert (mine.connected, len(room.asked) >= 4) == (True, True)
    assert room.payloads() == numbered(20)


def test_a_database_that_refuses_what_is_right_is_waited_for_and_not_called_away(caplog):
    """A migration is half done."""
    line, room = shared(), Room()
    with session(line, room), peers.portal() as publisher:
        room.failures = [ProgrammingError("no such column")] * 2
        publisher.publish(line.topic, b"word")
        peers.eventually(lambda: room.taken)
    assert (room.payloads(), room.refused) == ([b"word"], {})
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "fleetportal.pump"]
    refused = [text for level, text in told if level == "ERROR"]
    assert len(refused) == 2 and all("database_refuses" in text and "ProgrammingError" in text for text in refused)
    assert not any("database_away" in text for _, text in told)


def test_a_worker_told_to_stop_while_the_database_is_away_acknowledges_nothing():
    line, away, room = shared(), Room(), Room()
    with session(line, away), peers.portal() as publisher:
        away.failures = [OperationalError("gone")] * 1000
        for word in numbered(10):
            publisher.publish(line.topic, word)
        peers.eventually(lambda: away.asked)
    assert away.taken == []
    with session(line, room):
        peers.eventually(lambda: len(room.taken) >= 10)
    assert room.payloads() == numbered(10)


@pytest.mark.parametrize("error", [DataError("no such number"), IntegrityError("no such row"), KeyError("a mistake")])
def test_a_message_that_cannot_be_taken_is_found_and_refused_and_its_neighbours_are_stored(error):
    line, room = shared(), Room()
    with session(line, room) as mine, peers.portal() as publisher:
        room.open.clear()
        publisher.publish(line.topic, b"first")
        peers.eventually(lambda: room.asked)
        room.spoilt = {b"3": error, b"7": error}
        for word in numbered(10):
            publisher.publish(line.topic, word)
        room.open.set()
        publisher.publish(line.topic, b"last")
        peers.eventually(lambda: b"last" in room.payloads())
        peers.eventually(lambda: mine.backlog() == 0)
    good = [word for word in numbered(10) if word not in room.spoilt]
    assert sorted(room.payloads()) == sorted([b"first", b"last", *good])
    assert room.refused == room.spoilt
    again = Room()
    with session(line, again):  # the refused ones were acknowledged: they do not block the stream for ever
        pass
    assert again.taken == []


def test_a_refusal_that_cannot_be_kept_now_is_kept_when_the_database_is_back():
    line, room = shared(), Room()
    with session(line, room), peers.portal() as publisher:
        room.spoilt = {b"bad": DataError("no such number")}
        publisher.publish(line.topic, b"warm")
        peers.eventually(lambda: room.taken)
        room.failures = [DataError("no such number"), OperationalError("gone")]
        publisher.publish(line.topic, b"bad")
        peers.eventually(lambda: room.refused)
    assert (list(room.refused), room.failures) == ([b"bad"], [])


def test_retained_messages_of_devices_arrive_on_the_control_line():
    line, room = plain(), Room()
    with peers.portal() as publisher:
        publisher.publish(line.topic, b"born before", retain=True)
        with session(line, room):
            peers.eventually(lambda: b"born before" in room.payloads())
        publisher.publish(line.topic, b"", retain=True)
    assert [message.retained for message in room.taken if message.payload == b"born before"] == [True]


def test_qos_0_is_taken_without_an_acknowledgement():
    line, room = shared(), Room()
    with session(line, room), peers.portal() as publisher:
        publisher.client.publish(line.topic, b"fire and forget", qos=0)
        peers.eventually(lambda: room.taken)
    assert [(message.payload, message.qos) for message in room.taken] == [(b"fire and forget", 0)]


def test_qos_0_fills_no_memory_and_leaves_room_for_qos_1(monkeypatch):
    monkeypatch.setattr(pump, "HELD_BYTES", 1000)
    mine = Session("nobody", ["t"], print, print)
    for _ in range(100):
        mine._on_messages([(0, Incoming("t", bytes(100), 0)), (0, Incoming("t", bytes(100), 0))])
    assert mine._bytes <= 500 + 200
    mine._on_messages([(0, Incoming("t", b"0", 0)), (1, Incoming("t", b"1", 1))])
    assert [message.payload for _, message in mine._waiting[-1].messages] == [b"1"]
    assert mine._has_room()


def test_a_reconnect_that_takes_away_what_gathers_ends_nothing(monkeypatch):
    monkeypatch.setattr(pump, "BATCH_AGE_SECONDS", 0.2)
    room, gathering, idle = Room(), threading.Event(), threading.Event()
    mine = Session("nobody", ["t"], room.take, room.refuse)
    wait = mine._arrived.wait

    def watched(timeout):
        if mine._waiting:
            gathering.set()
        elif gathering.is_set():
            idle.set()
        return wait(timeout)

    monkeypatch.setattr(mine._arrived, "wait", watched)
    mine._thread.start()
    mine._on_messages([(1, Incoming("t", b"lost", 1))])
    assert gathering.wait(5)
    mine._on_connect(mine._client, None, SimpleNamespace(session_present=True), SimpleNamespace(is_failure=False), None)
    assert idle.wait(5), "it waits for the next"
    mine._on_messages([(1, Incoming("t", b"again", 1))])
    peers.eventually(lambda: room.payloads() == [b"again"])
    with mine._arrived:
        mine._draining = True
        mine._arrived.notify()
    mine._thread.join(5)
    assert not mine._thread.is_alive()


def test_no_more_than_the_receive_maximum_is_held_in_memory_while_the_room_is_slow(monkeypatch):
    monkeypatch.setattr(pump, "RECEIVE_MAXIMUM", 20)
    line, room = shared(), Room()
    with session(line, room) as mine, peers.portal() as publisher:
        room.open.clear()
        publisher.publish(line.topic, b"first")
        peers.eventually(lambda: room.asked)
        for word in numbered(200):
            publisher.publish(line.topic, word)
        assert mine.backlog() <= 20
        room.open.set()
        peers.eventually(lambda: len(room.taken) == 201)


def test_memory_is_bounded_also_while_batches_are_acknowledged(monkeypatch):
    """Mosquitto 2.0 lets out more than the Receive Maximum as soon as the first PUBACKs come: then we do not read."""
    monkeypatch.setattr(pump, "BATCH_SIZE", 50)
    monkeypatch.setattr(pump, "RECEIVE_MAXIMUM", 100)
    monkeypatch.setattr(mqtt_client, "READ_BYTES", 1000)
    line, room, held = shared(), Room(), []
    with session(line, room) as mine, peers.portal() as publisher:
        take = room.take

        def slowly(messages):
            held.append(mine.backlog())
            take(messages)

        room.open.clear()
        publisher.publish(line.topic, b"first")
        peers.eventually(lambda: room.asked)
        for word in numbered(2000):
            publisher.client.publish(line.topic, word, qos=1)
        publisher.publish(line.topic, b"last")
        mine._take = slowly
        room.open.set()
        peers.eventually(lambda: len(room.taken) == 2002)
    assert room.payloads() == [b"first", *numbered(2000), b"last"]
    most_in_a_read = 1000 // len(line.topic)
    assert 50 < max(held) <= 50 + 50 + most_in_a_read


def test_a_broker_that_is_away_is_tried_again(settings):
    line, room = shared(), Room()
    settings.MQTT_URL = settings.MQTT_URL.replace("@127.0.0.1:", "@127.0.0.1:1#")
    waiting = Session(line.client_id, line.filters, room.take, room.refuse)
    waiting.start()
    assert (waiting.connected, waiting.healthy) == (False, True)
    waiting.stop()


def test_the_portals_credential_comes_from_the_url(settings):
    class Recorder:
        seen: tuple = ()

        def username_pw_set(self, *credential):
            self.seen = credential

    settings.MQTT_URL = "mqtt://us%40er:p%2Fw@broker.example:1234"
    recorder = Recorder()
    assert connect_options(recorder) == ("broker.example", 1234)
    assert recorder.seen == ("us@er", "p/w")
