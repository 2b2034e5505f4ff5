"""`python -m benchmarks.stream_tls`: the same stream from a thousand devices, each over its own mutual-TLS connection.

Each device hears what is settled, acknowledges that, and counts what it still waits for. Reads what to make from
standard input, connects and subscribes, says so, and begins at the next line; then it says when all was acknowledged by
the broker and when all was confirmed by the portal.
"""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.stream import envelopes
from tests.crowd import wire

WINDOW = 50
"""Messages under way to the broker, of one device."""
_AT_ONCE = 100
_PATIENCE = 120.0
_SUBACK = 9


class Device(asyncio.Protocol):
    """One connection."""

    def __init__(self, device_id: str, topic: str, told: list[bytes]) -> None:
        self.device_id, self.topic = device_id, topic
        self.unconfirmed = {json.loads(payload)["msg_id"] for payload in told}
        self.ready, self.acknowledged, self.confirmed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.refused = 0
        self._packets = [wire.publish(mid, f"{topic}/telemetry", payload) for mid, payload in enumerate(told, 1)]
        self._sent = self._taken = 0
        self._transport: Any = None
        self._buffer = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Sign in."""
        self._transport = transport
        will = json.dumps({"state": "offline", "session": 0, "boot_id": "b", "ts": 0}).encode()
        transport.write(wire.connect(self.device_id, 600, f"{self.topic}/status", will))

    def data_received(self, data: bytes) -> None:
        """Packets of the broker."""
        self._buffer += data
        taken = self._taken
        for head, body in wire.packets(self._buffer):
            kind = head >> 4
            if kind == wire.PUBACK:
                self._taken += 1
            elif kind == wire.PUBLISH:
                self._settle(head, body)
            elif kind == wire.CONNACK:
                self._transport.write(wire.subscribe(1, f"{self.topic}/telemetry/stored"))
            elif kind == _SUBACK:
                self.ready.set()
        if self._taken > taken:
            self.send()

    def send(self) -> None:
        """Fill the window, by half of it at a time."""
        room = WINDOW - (self._sent - self._taken)
        if room >= WINDOW // 2 and self._sent < len(self._packets):
            self._transport.write(b"".join(self._packets[self._sent : self._sent + room]))
            self._sent += room
        if self._taken == len(self._packets):
            self.acknowledged.set()

    def _settle(self, head: int, body: bytes) -> None:
        _, mid, payload = wire.published(head, body)
        if mid is not None:
            self._transport.write(wire.puback(mid))
        answer = json.loads(payload)
        self.unconfirmed.difference_update(answer["stored"])
        self.refused += len(answer["refused"])
        if not self.unconfirmed:
            self.confirmed.set()


async def main() -> None:
    """Connect, wait, send, tell."""
    loop = asyncio.get_running_loop()
    asked = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    folder = Path(asked["folder"])
    crowd = json.loads((folder / "crowd.json").read_text())
    members = crowd["members"]
    payloads = envelopes(asked["count"])
    devices = []
    gate = asyncio.Semaphore(_AT_ONCE)

    async def connect(place: int, member: dict[str, str]) -> None:
        told = payloads[place :: len(members)]
        device = Device(member["device_id"], f"{crowd['prefix']}/{member['device_id']}", told)
        context = ssl.create_default_context(cafile=asked["ca"])
        context.load_cert_chain(folder / member["file"])
        async with gate, asyncio.timeout(_PATIENCE):
            await loop.create_connection(lambda: device, crowd["host"], crowd["port"], ssl=context)
            await device.ready.wait()
        devices.append(device)

    await asyncio.gather(*(connect(place, member) for place, member in enumerate(members)))
    sys.stdout.write("made\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    began, used = time.time(), time.process_time()
    for device in devices:
        device.send()
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*(device.acknowledged.wait() for device in devices))
        _tell(began=began, ended=time.time(), cpu_s=time.process_time() - used)
        await asyncio.gather(*(device.confirmed.wait() for device in devices))
    refused = sum(device.refused for device in devices)
    _tell(confirmed=time.time(), refused=refused, cpu_s=time.process_time() - used)


def _tell(**told: float) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
