"""`python -m benchmarks.stream`: readings as bytes on the wire, poured into the broker as fast as it takes them.

Made beforehand and written by the thousand: what a benchmark measures is the portal and not its publisher. Reads what
to make from standard input, says when it is made, and begins at the next line.
"""

import json
import random
import socket
import sys
import time
import uuid
from urllib.parse import unquote, urlsplit

from tests.crowd import wire

METRICS = ("temperature_c", "humidity_pct", "battery_v", "pressure_hpa")
"""As tests/crowd/registry.py has them."""
WINDOW = 2000
"""Messages under way to the broker."""
_PUBACK_BYTES = 4
_SEED = 7


def envelopes(count: int) -> list[bytes]:
    """So many messages of four values, made now. Ids as the agent makes them: a boot, and a counter."""
    chance = random.Random(_SEED)  # noqa: S311 (no secret)
    boot = uuid.uuid4().int >> 64 << 64
    made = int(time.time() * 1000)
    found = []
    for number in range(count):
        values = {name: round(chance.uniform(1, 90), 2) for name in METRICS}
        told = {"msg_id": str(uuid.UUID(int=boot | number)), "ts": made + number % 1000, "schema_version": 1}
        found.append(json.dumps(told | {"values": values}).encode())
    return found


def speakers(count: int, devices: int) -> list[int]:
    """Whose message each is: devices speak at random, as in a fleet."""
    chance = random.Random(_SEED)  # noqa: S311 (no secret)
    return [chance.randrange(devices) for _ in range(count)]


def packets(topic: str, count: int, devices: int) -> list[bytes]:
    """The stream; `topic` has a place for the device's number."""
    told = zip(envelopes(count), speakers(count, devices), strict=True)
    return [
        wire.publish(number % 65535 + 1, topic.format(speaker), payload)
        for number, (payload, speaker) in enumerate(told)
    ]


def pour(url: str, stream: list[bytes]) -> None:
    """Write it all, at most `WINDOW` unacknowledged; returns when the broker has acknowledged every message."""
    where = urlsplit(url)
    client_id = f"stream-{uuid.uuid4().hex[:8]}"
    with socket.create_connection((where.hostname or "", where.port or 1883)) as line:
        line.sendall(wire.sign_in(client_id, unquote(where.username or ""), unquote(where.password or "")))
        if line.recv(4) != b"\x20\x02\x00\x00":
            raise RuntimeError("the broker does not let the stream in")
        sent = received = 0
        while received < len(stream) * _PUBACK_BYTES:
            # Half a window at a time: a write for each acknowledgement would be all system calls.
            room = WINDOW - (sent - received // _PUBACK_BYTES)
            if room >= WINDOW // 2 and sent < len(stream):
                line.sendall(b"".join(stream[sent : sent + room]))
                sent = min(sent + room, len(stream))
            got = len(line.recv(65536))
            if not got:
                raise RuntimeError("the broker hung up on the stream")
            received += got


def main() -> None:
    """Make, say so, wait, pour, tell when."""
    asked = json.loads(sys.stdin.readline())
    stream = packets(asked["topic"], asked["count"], asked["devices"])
    sys.stdout.write("made\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began, used = time.time(), time.process_time()
    pour(asked["url"], stream)
    told = {"began": began, "ended": time.time(), "cpu_s": time.process_time() - used}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
