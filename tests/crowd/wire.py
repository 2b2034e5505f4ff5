"""As much of MQTT 3.1.1 as a device needs that is one of ten thousand in a process: packets to bytes and back."""

import struct
from collections.abc import Iterator

CONNACK, PUBLISH, PUBACK = 2, 3, 4
PING = b"\xc0\x00"


def _length(count: int) -> bytes:
    out = bytearray()
    while True:
        count, digit = divmod(count, 128)
        out.append(digit | (128 if count else 0))
        if not count:
            return bytes(out)


def _text(word: str) -> bytes:
    raw = word.encode()
    return struct.pack("!H", len(raw)) + raw


def _packet(head: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([head]) + _length(len(body)) + body


def connect(client_id: str, keepalive: int, will_topic: str, will: bytes) -> bytes:
    """A persistent session with a retained will at QoS 1."""
    flags = 0x04 | 0x08 | 0x20
    head = _text("MQTT") + bytes([4, flags]) + struct.pack("!H", keepalive)
    return _packet(0x10, head, _text(client_id), _text(will_topic), struct.pack("!H", len(will)), will)


def subscribe(mid: int, topic: str) -> bytes:
    """One topic, at QoS 1."""
    return _packet(0x82, struct.pack("!H", mid), _text(topic), b"\x01")


def publish(mid: int, topic: str, payload: bytes, *, retain: bool = False) -> bytes:
    """At QoS 1."""
    return _packet(0x32 | retain, _text(topic), struct.pack("!H", mid), payload)


def puback(mid: int) -> bytes:
    """Thank you."""
    return b"\x40\x02" + struct.pack("!H", mid)


def packets(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole packets (first byte, body) off the front of what was received."""
    while len(buffer) >= 2:
        length = shift = 0
        at = 1
        while True:
            if at >= len(buffer):
                return
            length |= (buffer[at] & 127) << shift
            shift += 7
            at += 1
            if not buffer[at - 1] & 128:
                break
        if len(buffer) < at + length:
            return
        yield buffer[0], bytes(buffer[at : at + length])
        del buffer[: at + length]


def published(head: int, body: bytes) -> tuple[str, int | None, bytes]:
    """Topic, message id (None at QoS 0) and payload of a PUBLISH."""
    end = 2 + struct.unpack_from("!H", body)[0]
    topic = body[2:end].decode()
    if not head & 6:
        return topic, None, body[end:]
    return topic, struct.unpack_from("!H", body, end)[0], body[end + 2 :]


def sign_in(client_id: str, user: str, password: str) -> bytes:
    """A clean session with a password, without keep-alive."""
    head = _text("MQTT") + bytes([4, 0xC2]) + b"\x00\x00"
    return _packet(0x10, head, _text(client_id), _text(user), _text(password))
