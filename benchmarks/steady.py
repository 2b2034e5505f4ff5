"""`python -m benchmarks.steady <mqtt url> <topic prefix> <devices> <rate>`: readings at a steady rate, until stopped.

One connection at the portal's own door of the broker speaks for all devices, at QoS 1, the devices in turn. Each
reading carries the moment it is sent (ms). Prints, every second, how many were sent.
"""

import random
import selectors
import socket
import sys
import time
import uuid
from urllib.parse import unquote, urlsplit

from tests.crowd import wire

_INFLIGHT = 20_000
_BODY = '{{"msg_id":"{}","ts":{},"schema_version":1,"values":{{"temperature_c":{},"humidity_pct":50}}}}'


def dial(url: str, client_id: str) -> socket.socket:
    """A connection that the broker accepted."""
    where = urlsplit(url)
    line = socket.create_connection((where.hostname or "", where.port or 1883))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(wire.sign_in(client_id, unquote(where.username or ""), unquote(where.password or "")))
    answer = line.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"the broker says {answer.hex()}")
    return line


def main(url: str, prefix: str, devices: int, rate: float) -> None:
    """Send for ever."""
    line = dial(url, f"steady-{uuid.uuid4().hex[:8]}")
    name = prefix.rsplit("/", 1)[1]
    topics = [f"{prefix}/d-{name}-{number}/telemetry" for number in range(devices)]
    line.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(line, selectors.EVENT_READ)
    acknowledged = sent = 0
    began = told = time.monotonic()
    while True:
        now = time.monotonic()
        out = bytearray()
        while sent < (now - began) * rate and sent - acknowledged < _INFLIGHT:
            body = _BODY.format(uuid.uuid4(), int(time.time() * 1000), round(random.gauss(4.5, 1), 2))
            out += wire.publish(sent % 65535 + 1, topics[sent % devices], body.encode())
            sent += 1
        line.setblocking(True)
        line.sendall(out)
        line.setblocking(False)
        if selector.select(timeout=0.005):
            received = line.recv(65536)
            if not received:
                raise ConnectionError("the broker hung up")
            acknowledged += len(received) // 4
        if now - told >= 1:
            told = now
            sys.stdout.write(f"{sent} {acknowledged}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
