"""`python -m tests.crowd <folder> --ca … --rate 2000`: thousands of mutual-TLS devices in one process, cheaply.

Each keeps what it sent until the portal settled it, and sends it again after a reconnect and after `RESEND_SECONDS`:
what a device must do (docs/mqtt.md), without the agent's disk. Says every half second, as a line of JSON, how many are
connected, how many readings were made and how many of them are not settled. A line on standard input ends the making;
its end, or SIGTERM, the process. `--ledger` gets a line for each reading made.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import random
import ssl
import struct
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devices import contract
from tests.crowd import wire

RESEND_SECONDS = 10.0
KEEPALIVE = 60
HANDSHAKES = 300
"""At once."""


class Member(asyncio.Protocol):
    """One device."""

    def __init__(self, crowd: "Crowd", told: dict[str, str]) -> None:
        self.crowd, self.device_id = crowd, told["device_id"]
        self.topic = f"{crowd.prefix}/{self.device_id}"
        self.outbox: dict[str, tuple[bytes, float]] = {}
        self.made = 0
        self.online = False
        self.gone = asyncio.Event()
        self._serial, self._file = told["serial"], crowd.folder / told["file"]
        self._boot, self._session, self._mid = random.randbytes(6), 0, 1
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()

    async def live(self) -> None:
        """Connect, for ever."""
        context = ssl.create_default_context(cafile=self.crowd.ca)
        context.load_cert_chain(self._file)
        key: Any = serialization.load_pem_private_key(self._file.read_bytes(), None)
        while True:
            self.gone.clear()
            self._session += 1
            self._birth = self._status("online", key)
            try:
                async with self.crowd.gate, asyncio.timeout(60):
                    await self.crowd.loop.create_connection(
                        lambda: self, self.crowd.host, self.crowd.port, ssl=context, ssl_handshake_timeout=60
                    )
                await self.gone.wait()
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0.2, 2))

    def _status(self, state: str, key: Any = None) -> bytes:
        boot = self._boot.hex()
        status: dict[str, Any] = {"state": state, "session": self._session, "boot_id": boot, "ts": _now()}
        if key:
            said = contract.proof_statement(self.device_id, self._session, boot, self._serial)
            proof = base64.b64encode(key.sign(said, ec.ECDSA(hashes.SHA256()))).decode()
            status |= {"firmware_version": "1.0.0", "certificate": {"serial": self._serial, "proof": proof}}
        return json.dumps(status).encode()

    def connection_made(self, transport: Any) -> None:
        self._transport, self._buffer = transport, bytearray()
        transport.write(wire.connect(self.device_id, KEEPALIVE, f"{self.topic}/status", self._status("offline")))

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.connected -= self.online
        self.online = False
        self.gone.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for head, body in wire.packets(self._buffer):
            kind = head >> 4
            if kind == wire.CONNACK:
                self._accepted()
            elif kind == wire.PUBLISH:
                topic, mid, payload = wire.published(head, body)
                if mid is not None and self._transport:
                    self._transport.write(wire.puback(mid))
                if topic.endswith("/stored"):
                    self._settle(json.loads(payload))

    def _accepted(self) -> None:
        assert self._transport
        self.online = True
        self.crowd.connected += 1
        self._transport.write(wire.subscribe(self._next(), f"{self.topic}/telemetry/stored"))
        self._transport.write(wire.publish(self._next(), f"{self.topic}/status", self._birth, retain=True))
        self.resend(everything=True)

    def _settle(self, answer: dict[str, Any]) -> None:
        for msg_id in answer.get("stored", []):
            self.crowd.unsettled -= self.outbox.pop(msg_id, None) is not None
        for refusal in answer.get("refused", []):
            self.crowd.refused += 1
            self.crowd.unsettled -= self.outbox.pop(refusal["msg_id"], None) is not None

    def make(self) -> str:
        """Make a reading and send it, if there is a line."""
        self.made += 1
        raw = self._boot + struct.pack("!HQ", 0x8000, 0x8000 << 48 | self.made)
        msg_id = str(uuid.UUID(bytes=raw))
        values = {"temperature_c": round(random.gauss(4.5, 1), 2), "humidity_pct": 50, "battery_v": 3.1}
        body = {"msg_id": msg_id, "ts": _now(), "schema_version": 1, "values": values}
        payload = json.dumps(body).encode()
        self.outbox[msg_id] = payload, time.monotonic()
        self.crowd.unsettled += 1
        self._send(payload)
        return msg_id

    def resend(self, *, everything: bool = False) -> None:
        """What is not settled, once more."""
        before = time.monotonic() - RESEND_SECONDS
        for msg_id, (payload, at) in list(self.outbox.items()):
            if everything or at < before:
                self.outbox[msg_id] = payload, time.monotonic()
                self._send(payload)

    def ping(self) -> None:
        """Still here."""
        if self.online and self._transport:
            self._transport.write(wire.PING)

    def _send(self, payload: bytes) -> None:
        if self.online and self._transport:
            self._transport.write(wire.publish(self._next(), f"{self.topic}/telemetry", payload))

    def _next(self) -> int:
        self._mid = self._mid % 65535 + 1
        return self._mid


class Crowd:
    """All of them."""

    def __init__(self, folder: Path, ca: str, rate: float, ledger: Path | None) -> None:
        told = json.loads((folder / "crowd.json").read_text())
        self.folder, self.ca, self.rate = folder, ca, rate
        self.host, self.port, self.prefix = told["host"], told["port"], told["prefix"]
        self.connected = self.unsettled = self.refused = 0
        self.making = rate > 0
        self.gate = asyncio.Semaphore(HANDSHAKES)
        self.loop = asyncio.get_running_loop()
        self.members = [Member(self, each) for each in told["members"]]
        self._ledger = ledger.open("a") if ledger else None

    async def run(self) -> None:
        """Until standard input ends."""
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tasks = [asyncio.create_task(each) for each in (self._make(), self._tend(), self._say())]
        tasks += [asyncio.create_task(member.live()) for member in self.members]
        while await reader.readline():
            self.making = False
        for task in tasks:
            task.cancel()
        if self._ledger:
            self._ledger.close()

    async def _make(self) -> None:
        """Readings at the rate, from all that are connected at first and then from all, connected or not."""
        due, at = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.01)
            while self.making and due < time.monotonic():
                member = self.members[at % len(self.members)]
                at += 1
                msg_id = member.make()
                if self._ledger:
                    self._ledger.write(f"{member.device_id} {msg_id}\n")
                due += 1 / self.rate
                if at % 50 == 0:
                    await asyncio.sleep(0)

    async def _tend(self) -> None:
        for turn in range(10**9):
            await asyncio.sleep(5)
            for member in self.members:
                member.resend()
                if turn % 5 == 0:
                    member.ping()

    async def _say(self) -> None:
        while True:
            made = sum(member.made for member in self.members)
            said = {"t": time.time(), "connected": self.connected, "made": made, "unsettled": self.unsettled}
            print(json.dumps(said | {"refused": self.refused}), flush=True)
            if self._ledger:
                self._ledger.flush()
            await asyncio.sleep(0.5)


def _now() -> int:
    return int(time.time() * 1000)


async def _main(asked: argparse.Namespace) -> None:
    await Crowd(asked.folder, asked.ca, asked.rate, asked.ledger).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--rate", type=float, default=0, help="readings a second, all together")
    parser.add_argument("--ledger", type=Path)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_main(parser.parse_args()))
