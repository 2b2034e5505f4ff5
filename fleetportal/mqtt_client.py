"""paho's client for many messages: one system call reads hundreds, and acknowledgements leave together.

paho reads a few bytes a call and makes an object, a log line, a match against filters and a system call of each
message and each PUBACK: more than half of what a message cost. Here the bytes come from a buffer. PUBLISH and PUBACK
packets are taken apart in one loop; every other packet is left to paho, which reads it from the same buffer.

What of paho's inside this leans on: `_sock`, `_sock_recv`, `_packet_read`, `_loop_rc_handle`, `_packet_queue`,
`_last_bytes_received` with its lock, `_ping_t`, `_thread`, and the pair of sockets that wakes its loop. Should one of
them be another some day, tests/fleetportal/test_mqtt_client.py and test_pump.py, which speak with a real broker, fail.
"""

import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from devices.registry import Incoming

READ_BYTES = 256 * 1024
"""Read at once."""
WINDOW = 1000
"""Messages of ours under way to the broker."""
_PUBLISH, _PUBACK, _PUBLISH_QOS_1 = 0x30, 0x40, b"\x32"
_KIND, _QOS, _QOS_2, _RETAIN = 0xF0, 0x06, 0x04, 0x01
_PUBACK_PACKET = 0x40020000
"""A PUBACK without reason and properties, its message id in the lower half."""
_SHORT = struct.Struct(">H")
_EXPIRY = struct.Struct(">BBI")
"""Properties of a PUBLISH: their length, and the Message Expiry Interval (s)."""
_MOST_LENGTH_BYTES = 4

Arrived = Callable[[list[tuple[int, Incoming]]], None]
"""Takes messages in order of receipt, each with its message id (0 at QoS 0). Called in the network thread."""
Ready = Callable[[], bool]
"""Is there room for more? It may wait for some, a second or so. Called in the network thread, before each read."""


class BulkClient(paho.Client):
    """An MQTT 5 client that hands over messages by the hundred, and acknowledges none by itself."""

    def __init__(self, client_id: str, arrived: Arrived, ready: Ready = lambda: True) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True)
        self._arrived, self._ready = arrived, ready
        self._buffer = bytearray()
        self._source: Any = None
        """The socket the buffer was read from."""

    def serve(self) -> None:
        """Connect, and come back whenever the connection is lost, until `disconnect`. Runs in the caller's thread."""
        # paho makes the sockets that wake its loop here, and finds no connection yet.
        self.loop(timeout=0)
        # Other threads must only queue: two that write at once would mix their packets.
        self._thread = threading.current_thread()
        self.loop_forever(retry_first_connection=True)

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Send the PUBACKs of QoS 1 messages, in this order, at once. From any thread."""
        if mids:
            packets = struct.pack(f">{len(mids)}I", *[_PUBACK_PACKET | mid for mid in mids])
            self._packet_queue(_PUBACK, packets, 0, 1)

    def _acknowledged(self, mids: list[int]) -> None:
        """The broker has taken these messages of ours. Called in the network thread."""

    # --- what paho calls ---

    def _sock_recv(self, bufsize: int) -> bytes:
        """What paho reads comes from the buffer."""
        taken = bytes(self._buffer[:bufsize])
        if not taken:
            raise BlockingIOError
        del self._buffer[:bufsize]
        return taken

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what is there, and handle every whole packet of it."""
        if self._source is not self._sock:
            self._source, self._buffer = self._sock, bytearray()
        if self.is_connected() and not self._ready():
            # Pings still leave. Their answers wait behind the messages that we do not read, so none is missed.
            self._heard()
            self._ping_t = 0.0
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            received = super()._sock_recv(READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            received = b""
        if not received:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._buffer += received
        self._heard()
        # Until there is no whole packet any more, or one was the end of this connection.
        while self._hand_over() and self._sock is self._source:
            rc = self._packet_read()
            if rc > 0:
                return self._loop_rc_handle(rc)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _heard(self) -> None:
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()

    def _hand_over(self) -> bool:
        """Hand over what is at the front of the buffer. Is a whole packet next that paho must read?"""
        front = take_apart(bytes(self._buffer))
        del self._buffer[: front.used]
        if front.messages:
            self._arrived(front.messages)
        if front.acknowledged:
            self._acknowledged(front.acknowledged)
        return front.more


class BulkPublisher(BulkClient):
    """Publishes by the thousand, at QoS 1, and subscribes to nothing. For one thread at a time."""

    def __init__(self) -> None:
        super().__init__("", lambda _: None)
        self._taken = threading.Condition()
        self._under_way: set[int] = set()
        """Message ids: what a call gave up on may still be acknowledged during the next."""
        self._mid = 0

    def publish_all(self, messages: Iterable[tuple[str, bytes]], expiry_seconds: int, timeout: float) -> bool:
        """Publish (topic, payload); returns when the broker has taken all of them.

        False when it has not within `timeout` (s), or the connection was lost: some may not have been sent. The broker
        drops what nobody takes within `expiry_seconds`.
        """
        deadline, connection = time.monotonic() + timeout, self._sock
        properties = _EXPIRY.pack(5, 2, expiry_seconds)
        rest = iter(messages)
        with self._taken:
            self._under_way.clear()
        while some := list(islice(rest, WINDOW // 2)):
            mids = [self._next_mid() for _ in some]
            with self._taken:
                self._under_way.update(mids)
            packets = [_packet(mid, properties, *each) for mid, each in zip(mids, some, strict=True)]
            self._packet_queue(_PUBACK, b"".join(packets), 0, 1)
            if not self._wait(WINDOW // 2, connection, deadline):
                return False
        return self._wait(0, connection, deadline)

    def _wait(self, most: int, connection: object, deadline: float) -> bool:
        """Wait until at most so many are under way. False when that cannot be any more, or takes too long."""
        with self._taken:
            while len(self._under_way) > most:
                if not self.is_connected() or self._sock is not connection or time.monotonic() > deadline:
                    return False
                self._taken.wait(timeout=0.1)
        return True

    def _next_mid(self) -> int:
        self._mid = self._mid % 0xFFFF + 1
        return self._mid

    def _acknowledged(self, mids: list[int]) -> None:
        with self._taken:
            self._under_way.difference_update(mids)
            self._taken.notify()


def _packet(mid: int, properties: bytes, topic: str, payload: bytes) -> bytes:
    name = topic.encode()
    size = _length_bytes(len(name) + len(properties) + len(payload) + 4)
    return b"".join((_PUBLISH_QOS_1, size, _SHORT.pack(len(name)), name, _SHORT.pack(mid), properties, payload))


class Front(NamedTuple):
    """The PUBLISH (QoS 0 and 1) and PUBACK packets at the front of what was received."""

    messages: list[tuple[int, Incoming]]
    """In order, each with its message id."""
    acknowledged: list[int]
    """Message ids of the PUBACKs among them."""
    used: int
    """Bytes they were."""
    more: bool
    """Is a whole packet of another kind next?"""


def take_apart(data: bytes) -> Front:
    """Take MQTT 5 packets apart, up to the first of another kind or to one that is not all there. Pure."""
    messages: list[tuple[int, Incoming]] = []
    acknowledged: list[int] = []
    append, short = messages.append, _SHORT.unpack_from
    at = 0
    end = len(data)
    while at + 1 < end:
        size, start = data[at + 1], at + 2
        if size > 0x7F:
            size, start = _length(data, at + 1)
            if start > end:
                # A length that never ends is a broken stream: paho says so, and hangs up.
                return Front(messages, acknowledged, at, end - at > _MOST_LENGTH_BYTES)
        stop = start + size
        if stop > end:
            break
        head = data[at]
        kind = head & _KIND
        if kind == _PUBACK:
            acknowledged.append(short(data, start)[0])
        elif kind == _PUBLISH and not head & _QOS_2:
            here = start + 2 + short(data, start)[0]
            topic = data[start + 2 : here].decode("utf-8", "replace")
            qos, mid = (head & _QOS) >> 1, 0
            if qos:
                mid = short(data, here)[0]
                here += 2
            # Nothing we need is among the properties.
            skipped, body = data[here], here + 1
            if skipped > 0x7F:
                skipped, body = _length(data, here)
            append((mid, Incoming(topic, data[body + skipped : stop], qos, bool(head & _RETAIN))))
        else:
            return Front(messages, acknowledged, at, more=True)
        at = stop
    return Front(messages, acknowledged, at, more=False)


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A variable length integer at `at`, and where it ends: past the end of `data` where more must be read first."""
    number = shift = 0
    for place in range(at, min(at + _MOST_LENGTH_BYTES, len(data))):
        number |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            return number, place + 1
    return 0, len(data) + 1


def _length_bytes(number: int) -> bytes:
    """A variable length integer."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
