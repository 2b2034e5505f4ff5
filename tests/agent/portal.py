"""The portal as a device sees it: an HTTPS door that enrols, and somebody who settles readings over MQTT."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import aiomqtt

from devices import contract
from devices.contract import Envelope, Settled, Topic
from tests.agent.authority import Authority

Answer = tuple[int, dict[str, str], dict[str, Any]]


class EnrolmentDoor:
    """Answers `script` first, then enrols everybody who shows the claim "claim". Remembers the questions."""

    def __init__(self, authority: Authority, mqtt_port: int = 8883) -> None:
        self.authority, self.mqtt_port = authority, mqtt_port
        self.script: deque[Answer] = deque()
        self.asked: list[dict[str, str]] = []

    def answer(self, claim: str, body: dict[str, str]) -> Answer:
        """Status, headers and JSON for one question."""
        self.asked.append(body)
        if self.script:
            return self.script.popleft()
        if claim != "Bearer claim":
            return 401, {}, {"error_code": "claim_unknown", "detail": "no such claim"}
        device_id = f"d-{body['hardware_id']}"
        identity = {
            "device_id": device_id,
            "tenant": "acme",
            "device_type": body["device_type"],
            "certificate": self.authority.sign(body["csr"], device_id),
            "chain": self.authority.root.read_text(),
            "endpoints": {"mqtt": {"host": "127.0.0.1", "port": self.mqtt_port}, "https": "https://localhost"},
        }
        return 201, {}, identity

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve until the end of the block; gives the URL."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, payload = door.answer(self.headers.get("Authorization", ""), body)
                content = json.dumps(payload).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.authority.server())
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class Listener:
    """Hears everything on the plain door and, while `settles`, settles telemetry as the portal would."""

    def __init__(self, port: int, *, settles: bool = True) -> None:
        self._port, self.settles = port, settles
        self.messages: list[tuple[Topic, bytes, bool]] = []
        self.stored: dict[UUID, Envelope] = {}
        self.copies: list[Envelope] = []
        self.ready = asyncio.Event()
        self._changed = asyncio.Condition()
        self._client: aiomqtt.Client | None = None

    async def run(self) -> None:
        """Listen for ever, over restarts of the broker too."""
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", self._port, identifier="listener") as client:
                    await client.subscribe("/#", qos=1)
                    self._client = client
                    self.ready.set()
                    async for message in client.messages:
                        await self._hear(message)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)

    async def until(self, condition: Any, seconds: float = 20) -> None:
        """Wait until `condition()` is true. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def say(self, topic: str, payload: bytes) -> None:
        """Publish to a device."""
        assert self._client is not None
        await self._client.publish(topic, payload, qos=1)

    async def settle(self, topic: Topic, envelopes: list[Envelope]) -> None:
        """Tell a device that envelopes are stored."""
        await self.say(str(topic), contract.encode(Settled(stored=[envelope.msg_id for envelope in envelopes])))

    async def cut(self, device_id: str) -> None:
        """Cut a device's line by taking over its client id; its will is published."""
        async with aiomqtt.Client("127.0.0.1", self._port, identifier=device_id):
            pass

    def payloads(self, channel: str) -> list[dict[str, Any]]:
        """What was heard on a channel, decoded, in order."""
        return [json.loads(payload) for topic, payload, _ in self.messages if topic.channel == channel]

    async def _hear(self, message: aiomqtt.Message) -> None:
        topic, payload = Topic.parse(message.topic.value), message.payload
        assert isinstance(payload, bytes)
        async with self._changed:
            self.messages.append((topic, payload, message.retain))
            if topic.channel == "telemetry":
                array = payload if payload[:1] == b"[" else b"[" + payload + b"]"
                await self._receive(topic, contract.decode(array, list[Envelope]))
            self._changed.notify_all()

    async def _receive(self, topic: Topic, envelopes: list[Envelope]) -> None:
        self.copies += envelopes
        if self.settles:
            self.stored |= {envelope.msg_id: envelope for envelope in envelopes}
            await self.settle(replace(topic, channel="telemetry/stored"), envelopes)
