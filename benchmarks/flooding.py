"""`python -m benchmarks.flooding <folder> <ca> <rate>`: one device over mutual TLS that sends far too much.

`folder`: of tests/crowd, with one member. `rate`: readings a second, 0: as fast as the broker takes them. First it uses
up what its bucket may hold. Prints how many were sent, when standard input ends.
"""

import json
import os
import select
import socket
import ssl
import sys
import time
import uuid
from pathlib import Path

from tests.crowd import wire

_ARRAYS, _READINGS = 7, 500
_INFLIGHT = 2000
_AT_ONCE = 20


def dial(folder: Path, ca: str) -> tuple[ssl.SSLSocket, str]:
    """A connection that the broker accepted, and the topic of its device's readings."""
    told = json.loads((folder / "crowd.json").read_text())
    (member,) = told["members"]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(folder / member["file"])
    plain = socket.create_connection((told["host"], told["port"]))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = context.wrap_socket(plain, server_hostname=told["host"])
    topic = f"{told['prefix']}/{member['device_id']}"
    line.sendall(wire.connect(member["device_id"], 60, f"{topic}/none", b""))
    if line.recv(4)[3:] != b"\x00":
        raise ConnectionError("the broker did not let it in")
    return line, f"{topic}/telemetry"


def reading() -> dict[str, object]:
    """One of its own, as small as the others'."""
    now = int(time.time() * 1000)
    values = {"temperature_c": 4.5, "humidity_pct": 50, "battery_v": 3.1}
    return {"msg_id": str(uuid.uuid4()), "ts": now, "schema_version": 1, "values": values}


def flood(line: ssl.SSLSocket, topic: str, rate: float) -> int:
    """Send until standard input ends. Returns how many."""
    sent, acknowledged = 0, 0

    def send(payload: bytes) -> None:
        nonlocal sent
        sent += 1
        line.sendall(wire.publish(sent % 65535 + 1, topic, payload))

    for _ in range(_ARRAYS):
        send(json.dumps([reading() for _ in range(_READINGS)]).encode())
    began = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        due = (time.monotonic() - began) * rate if rate else sent + _AT_ONCE
        while sent < due and sent - acknowledged < _INFLIGHT:
            send(json.dumps(reading()).encode())
        waits = 0.002 if rate else (1.0 if sent - acknowledged >= _INFLIGHT else 0.0)
        if line.pending() or select.select([line], [], [], waits)[0]:
            acknowledged += len(line.recv(65536)) // 4
    return sent


if __name__ == "__main__":
    os.nice(19)  # a device has a processor of its own: this one takes what the portal leaves
    sys.stdout.write(f"{flood(*dial(Path(sys.argv[1]), sys.argv[2]), float(sys.argv[3]))}\n")
