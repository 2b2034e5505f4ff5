"""The portal as a device sees it: HTTPS doors that enrol, and somebody who settles readings and renews over MQTT."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from devices import contract
from devices.contract import Envelope, IssuedCertificate, Offer, RenewCertificate, Settled, Topic
from telemetry import compression
from tests.agent.authority import PEM, Authority
from tests.agent.https import Question, Reply, serving

Answer = tuple[int, dict[str, str], dict[str, Any]]


class EnrolmentDoor:
    """Answers `script` first, then enrols everybody who shows the claim "claim". Remembers the questions.

    With `claims`, the root of claim certificates, it enrols everybody who shows such a certificate and no token.
    """

    def __init__(self, authority: Authority, mqtt_port: int = 8883, claims: Path | None = None) -> None:
        self.authority, self.mqtt_port, self.claims = authority, mqtt_port, claims
        self.script: deque[Answer] = deque()
        self.asked: list[dict[str, str]] = []

    def answer(self, claim: str | None, body: dict[str, str], certificate: x509.Certificate | None) -> Answer:
        """Status, headers and JSON for one question."""
        self.asked.append(body)
        if self.script:
            return self.script.popleft()
        if claim != (None if self.claims and certificate else "Bearer claim"):
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

        def reply(question: Question) -> Reply:
            claim = question.headers.get("Authorization")
            status, headers, payload = self.answer(claim, json.loads(question.body), question.certificate)
            return status, headers, json.dumps(payload).encode()

        with serving(self.authority, reply, self.claims) as url:
            yield url


class Issuer:
    """Certificates for requests: the same for the same key. `asked` are the requests as they came.

    Requests in `never` are refused, as the portal does it with a key that was revoked.
    """

    def __init__(self, authority: Authority, lifetime: timedelta = timedelta(days=1)) -> None:
        self.authority, self.lifetime, self.silent = authority, lifetime, False
        self.asked: list[str] = []
        self.never: set[str] = set()
        self.issued: dict[bytes, str] = {}

    def issue(self, csr: str, device_id: str = "d-1") -> IssuedCertificate:
        """Certificate and chain for a request."""
        key = x509.load_pem_x509_csr(csr.encode()).public_key().public_bytes(PEM, PublicFormat.SubjectPublicKeyInfo)
        certificate = self.issued.setdefault(key, self.authority.sign(csr, device_id, self.lifetime))
        return IssuedCertificate(certificate, self.authority.root.read_text())

    def answer(self, topic: Topic, csr: bytes) -> IssuedCertificate | None:
        """What to say to a request over MQTT."""
        self.asked.append(csr.decode())
        return None if self.silent or csr.decode() in self.never else self.issue(csr.decode(), topic.device_id)

    @property
    def serials(self) -> list[str]:
        """Of all certificates issued, in order."""
        return [f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}" for pem in self.issued.values()]


class EstDoor:
    """EST simplereenroll: answers `script` first, then issues to everybody with a certificate of the authority."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.script: deque[Reply] = deque()
        self.asked: list[Question] = []
        self.times: list[float] = []

    def reply(self, question: Question) -> Reply:
        """One answer, as RFC 7030 and 8951 want it."""
        if question.path == "/.well-known/est/cacerts":
            return self._certificates(self.issuer.authority.root.read_text())
        self.asked.append(question)
        self.times.append(time.monotonic())
        if self.script:
            return self.script.popleft()
        assert question.path == "/.well-known/est/simplereenroll"
        assert question.headers["Content-Type"] == "application/pkcs10"
        assert b"\n" not in question.body
        if question.certificate is None:
            return 401, {}, b"who are you"
        csr = x509.load_der_x509_csr(b64decode(question.body, validate=True)).public_bytes(PEM)
        if csr.decode() in self.issuer.never:
            return 409, {}, b"A certificate with this key was revoked: make a new key. (key_revoked)\n"
        issued = self.issuer.issue(csr.decode())
        return self._certificates(issued.certificate)

    @staticmethod
    def _certificates(pem: str) -> Reply:
        content = b64encode(pkcs7.serialize_certificates(x509.load_pem_x509_certificates(pem.encode()), Encoding.DER))
        return 200, {"Content-Type": "application/pkcs7-mime; smime-type=certs-only"}, content

    @contextmanager
    def open(self) -> Iterator[str]:
        """Serve until the end of the block; gives the URL."""
        with serving(self.issuer.authority, self.reply, self.issuer.authority.root) as url:
            yield url


class Listener:
    """Hears everything on the plain door and, while `settles`, settles telemetry as the portal would.

    With an `issuer` it answers requests for certificates too.
    """

    def __init__(self, port: int, *, settles: bool = True) -> None:
        self._port, self.settles = port, settles
        self.issuer: Issuer | None = None
        self.offers: Callable[[Topic], Offer | None] = lambda _: None
        """What is open for a device, said at each birth."""
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

    async def renew(self, serial: str, device_id: str = "d-1") -> None:
        """Ask a device to renew its certificate."""
        topic = Topic("acme", "cold-logger", device_id, contract.CERTIFICATE_RENEW)
        await self.say(str(topic), contract.encode(RenewCertificate(serial, 0)))

    def births(self) -> list[str]:
        """Serial numbers of the certificates that births proved, in order."""
        return [word["certificate"]["serial"] for word in self.payloads("status") if word["state"] == "online"]

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
                plain = compression.unpack(payload)
                array = plain if plain[:1] == b"[" else b"[" + plain + b"]"
                await self._receive(topic, contract.decode(array, list[Envelope]))
            if topic.channel == "status" and b'"online"' in payload and (offer := self.offers(topic)) is not None:
                await self.say(str(replace(topic, channel=contract.OTA)), contract.encode(offer))
            if topic.channel == contract.CERTIFICATE_REQUEST and self.issuer is not None:
                await self._issue(topic, self.issuer.answer(topic, payload))
            self._changed.notify_all()

    async def _issue(self, topic: Topic, issued: IssuedCertificate | None) -> None:
        if issued is not None:
            await self.say(str(replace(topic, channel=contract.CERTIFICATE_ISSUED)), contract.encode(issued))

    async def _receive(self, topic: Topic, envelopes: list[Envelope]) -> None:
        self.copies += envelopes
        if self.settles:
            self.stored |= {envelope.msg_id: envelope for envelope in envelopes}
            await self.settle(replace(topic, channel="telemetry/stored"), envelopes)
