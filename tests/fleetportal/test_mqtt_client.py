"""The client for many messages: against bytes of any cut, a broker that misbehaves, and the real one."""

import socket
import struct
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.outgoing import connect_options
from devices.registry import Incoming
from fleetportal.mqtt_client import READ_BYTES, WINDOW, BulkClient, BulkPublisher, take_apart
from tests.devices import peers

PINGRESP = b"\xd0\x00"
CONNACK = b"\x20\x03\x00\x00\x00"


def length(number):
    found = b""
    while number > 127:
        found += bytes([number % 128 + 128])
        number //= 128
    return found + bytes([number])


def publish(topic, payload, mid=0, *, retain=False, properties=b""):
    """A PUBLISH as a broker sends it: at QoS 1 where it has a message id."""
    name = topic.encode()
    rest = (struct.pack(">H", mid) if mid else b"") + length(len(properties)) + properties + payload
    body = struct.pack(">H", len(name)) + name + rest
    return bytes([0x30 | (2 if mid else 0) | retain]) + length(len(body)) + body


def user_property(size):
    """A property of about so many bytes."""
    value = b"v" * size
    return b"\x26\x00\x01n" + struct.pack(">H", len(value)) + value


messages = st.builds(
    lambda topic, payload, mid, retain, size: (
        publish(topic, payload, mid, retain=retain, properties=user_property(size) if size else b""),
        (mid, Incoming(topic, payload, 1 if mid else 0, retain)),
    ),
    st.text(max_size=50),
    st.binary(max_size=300),
    st.integers(0, 65535),
    st.booleans(),
    st.integers(0, 300),
)
acknowledgements = st.sampled_from([(b"\x40\x02\x00\x07", "ack"), (b"\x40\x03\x00\x07\x10", "ack")])


@given(st.lists(messages | acknowledgements, max_size=20), st.lists(st.integers(1, 200), max_size=40))
def test_packets_are_the_same_however_the_bytes_are_cut(sent, cuts):
    stream = b"".join(packet for packet, _ in sent)
    found, acknowledged, buffer, rest = [], [], b"", stream
    for cut in [*cuts, len(stream)]:
        buffer, rest = buffer + rest[:cut], rest[cut:]
        front = take_apart(buffer)
        assert not front.more
        found += front.messages
        acknowledged += front.acknowledged
        buffer = buffer[front.used :]
    assert found == [meant for _, meant in sent if meant != "ack"]
    assert acknowledged == [7] * sum(meant == "ack" for _, meant in sent)
    assert buffer == b""


def test_another_packet_ends_what_is_taken_apart_and_only_a_whole_one_is_next():
    first = publish("a", b"1", 1)
    assert take_apart(first + PINGRESP + first) == ([(1, Incoming("a", b"1", 1))], [], len(first), True)
    assert take_apart(first + PINGRESP[:1]).more is False
    assert take_apart(b"\x34\x05\x00\x01a\x00\x01").more is True  # QoS 2 is not ours


def test_a_length_that_never_ends_is_left_to_paho():
    assert take_apart(b"\x30\xff\xff\xff\xff").more is True
    assert take_apart(b"\x30\xff\xff\xff").more is False


def test_a_topic_that_is_no_text_is_still_a_message():
    ((_, message),) = take_apart(b"\x30\x04\x00\x01\xff\x00").messages
    assert message.topic == "\N{REPLACEMENT CHARACTER}"


# --- a broker in the test's hand ---


class Broker:
    """One connection, as its other end wants it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def accept(self):
        line, _ = self.listener.accept()
        line.settimeout(15)
        line.recv(1000)
        line.sendall(CONNACK)
        return line


@pytest.fixture
def broker():
    made = Broker()
    yield made
    made.listener.close()


@contextmanager
def serving(client, port, keepalive=60):
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", port, keepalive)
    thread = threading.Thread(target=client.serve, daemon=True)
    thread.start()
    try:
        yield client
    finally:
        client.disconnect()
        thread.join(15)
        assert not thread.is_alive()


def read(line, count):
    found = b""
    while len(found) < count:
        found += line.recv(count - len(found))
    return found


def test_acknowledgements_leave_together_and_in_order(broker):
    got = []
    with serving(BulkClient("c", got.extend), broker.port) as client:
        line = broker.accept()
        line.sendall(b"".join(publish("t", b"x", mid) for mid in range(1, 501)))
        peers.eventually(lambda: len(got) == 500)
        client.acknowledge([])
        client.acknowledge([mid for mid, _ in got])
        assert read(line, 2000) == b"".join(b"\x40\x02" + struct.pack(">H", mid) for mid in range(1, 501))


def test_what_is_not_a_message_is_still_pahos(broker):
    """Pings, subscriptions and the word of the end arrive between messages, in pieces."""
    got, subscribed, ended = [], [], []
    client = BulkClient("c", got.extend)
    client.on_subscribe = lambda _c, _d, mid, reasons, _p: subscribed.append((mid, str(reasons[0])))
    client.on_disconnect = lambda _c, _d, _f, reason, _p: ended.append(str(reason))
    with serving(client, broker.port):
        line = broker.accept()
        suback = b"\x90\x04\x00\x05\x00\x01"
        for part in (publish("t", b"1") + PINGRESP + suback[:3], suback[3:] + publish("t", b"2")):
            line.sendall(part)
            peers.eventually(lambda part=part: got and got[-1][1].payload == (b"1" if b"1" in part else b"2"))
        peers.eventually(lambda: subscribed == [(5, "Granted QoS 1")])
        line.sendall(publish("t", b"3") + b"\xe0\x02\x8e\x00")
        peers.eventually(lambda: ended == ["Session taken over"])
    assert [message.payload for _, message in got] == [b"1", b"2", b"3"]


def test_while_there_is_no_room_nothing_is_read_but_the_connection_is_kept_alive(broker):
    """Answers to pings wait behind what is not read, for longer than the keep-alive."""
    got, room = [], threading.Event()
    client = BulkClient("c", got.extend, lambda: room.wait(0.05))
    with serving(client, broker.port, keepalive=1):
        line = broker.accept()
        peers.eventually(client.is_connected)
        assert read(line, 2) == b"\xc0\x00"  # the first ping: what was read with the CONNACK is long done
        line.sendall(PINGRESP + publish("t", b"1", 1))
        for _ in range(3):
            assert read(line, 2) == b"\xc0\x00"
            line.sendall(PINGRESP)
        assert (got, client.is_connected()) == ([], True)
        room.set()
        peers.eventually(lambda: got)
        client.acknowledge([1])
        while (packet := read(line, 2)) == b"\xc0\x00":
            line.sendall(PINGRESP)
        assert packet + read(line, 2) == b"\x40\x02\x00\x01"


def test_half_a_packet_of_a_lost_connection_is_forgotten(broker):
    got = []
    with serving(BulkClient("c", got.extend), broker.port):
        line = broker.accept()
        line.sendall(publish("t", b"whole") + publish("t", b"half")[:-2])
        peers.eventually(lambda: got)
        line.close()
        line = broker.accept()
        line.sendall(publish("t", b"other"))
        peers.eventually(lambda: len(got) == 2)
    assert [message.payload for _, message in got] == [b"whole", b"other"]


def test_what_the_broker_has_not_taken_when_it_hangs_up_is_told(broker):
    with serving(BulkPublisher(), broker.port) as client:
        line = broker.accept()
        peers.eventually(client.is_connected)
        answers = []
        asked = [("t", b"x")] * (WINDOW + 1)
        thread = threading.Thread(target=lambda: answers.append(client.publish_all(asked, 60, 30)))
        thread.start()
        first = read(line, len(publish("t", b"x", 1, properties=b"\x02\x00\x00\x00\x3c")))
        assert first == publish("t", b"x", 1, properties=b"\x02\x00\x00\x00\x3c")
        line.close()
        thread.join(15)
        assert answers == [False]
        assert client.publish_all([("t", b"x")], 60, 0.1) is False


def test_a_broker_that_takes_nothing_is_waited_for_no_longer_than_asked(broker):
    with serving(BulkPublisher(), broker.port) as client:
        line = broker.accept()
        peers.eventually(client.is_connected)
        assert client.publish_all([("t", b"x")], 60, 0.2) is False
        line.close()


def test_late_acknowledgements_of_what_was_given_up_are_not_taken_for_those_of_the_next(broker):
    length = len(publish("t", b"x", 1, properties=b"\x02\x00\x00\x00\x3c"))
    with serving(BulkPublisher(), broker.port) as client:
        line = broker.accept()
        peers.eventually(client.is_connected)
        answers = [client.publish_all([("t", b"x")] * 2, 60, 0.1)]
        read(line, 2 * length)
        for mids in ([1, 2], [3, 4, 5, 6]):
            asked = threading.Thread(target=lambda: answers.append(client.publish_all([("t", b"x")] * 2, 60, 1)))
            asked.start()
            read(line, 2 * length)
            line.sendall(b"".join(b"\x40\x02" + struct.pack(">H", mid) for mid in mids))
            asked.join(15)
        assert answers == [False, False, True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("ca", "mosquitto_server")
def test_thousands_of_messages_and_large_ones_go_through_the_real_broker():
    got, subscribed = [], threading.Event()
    listener, publisher = BulkClient("", got.extend), BulkPublisher()
    listener.on_connect = lambda *_: listener.subscribe("bulk/#", qos=1)
    listener.on_subscribe = lambda *_: subscribed.set()
    port = connect_options(listener)[1]
    connect_options(publisher)
    with serving(listener, port), serving(publisher, port):
        assert subscribed.wait(15)
        peers.eventually(publisher.is_connected)
        large = b"L" * (READ_BYTES - 100)
        sent = [(f"bulk/{number % 7}", str(number).encode()) for number in range(3 * WINDOW)] + [("bulk/l", large)]
        # The broker keeps no more than its limit under way to one who does not acknowledge.
        for start in range(0, len(sent), WINDOW):
            assert publisher.publish_all(sent[start : start + WINDOW], 60, 30)
            peers.eventually(lambda start=start: len(got) == len(sent[: start + WINDOW]))
            listener.acknowledge([mid for mid, _ in got[start : start + WINDOW]])
    assert [(message.topic, message.payload) for _, message in got] == sent
    assert {message.qos for _, message in got} == {1}
