"""A device's line to the broker: MQTT 3.1.1 over mutual TLS, for ever. Carries out what `device.step` decides.

The session is persistent: settlements and commands that were on their way when the line broke arrive on the next
connect, instead of costing a resend each, and subscriptions exist before the birth makes the portal speak.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode

from agent.backoff import Backoff
from agent.device import (
    Connected,
    Connecting,
    Device,
    Disconnected,
    Dropped,
    Forget,
    Log,
    Message,
    Publish,
    Received,
    Remember,
    RememberSession,
    Stopping,
    Tick,
    status,
    step,
)
from agent.identity import Broker, Identity
from agent.journal import Journal
from agent.resend import FIRST, Resend
from devices import contract

logger = logging.getLogger(__name__)

RECONNECT = Backoff(first=2, cap=60)
RESEND = Backoff(first=15, cap=300)
STABLE_SECONDS = 30.0
"""A connection that lived this long was a good one: the next wait is short again."""


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are over, whatever they raise.

    Once is not enough: `asyncio.wait_for` of Python 3.11, in which aiomqtt waits for PUBACKs, swallows a cancellation
    that arrives together with the result.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=1)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen, so that nobody warns of it


class _Client(aiomqtt.Client):
    """Hangs up when the broker does not answer CONNECT in time: a late answer would bring a ghost to life."""

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            if self._client.disconnect() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                logger.debug("%s: nothing to hang up", self.identifier)
            raise


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a link is connected to. `gate` bounds how many links of the process shake hands at once."""

    broker: Broker
    ca_file: Path
    journal: Journal
    gate: asyncio.Semaphore
    resend: Backoff = RESEND
    reconnect: Backoff = RECONNECT


class Link:
    """One device and its connection."""

    def __init__(self, device: Device, identity: Identity, wiring: Wiring) -> None:
        self.device = device
        self.trouble = ""
        """Why there is no connection, empty while there is one."""
        self._identity, self._wiring = identity, wiring
        self._rng = Random(device.boot.random)  # noqa: S311 - spreads load, guards nothing
        self._resend = Resend(self._rng, wiring.resend)
        self._tls: ssl.SSLContext | None = None
        self._outgoing: deque[Publish] = deque()
        self._fresh = False
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Connect, serve, and connect again until `stop`. Dies of nothing but cancellation."""
        attempt = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                await self._connection()
            except (aiomqtt.MqttError, OSError) as error:
                self.trouble = f"{self.device.device_id}: {error}"
                logger.debug("no line, %s", self.trouble)
            except Exception as error:
                self.trouble = f"{self.device.device_id}: {error!r}"
                logger.exception("%s: connection failed", self.device.device_id)
            self._apply(Disconnected())
            self._outgoing.clear()
            attempt = 0 if time.monotonic() - began > STABLE_SECONDS else attempt + 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._wiring.reconnect.full_jitter(attempt, self._rng))

    def tick(self, now: float) -> None:
        """Let the device act on the time (epoch seconds); what it wants kept still has to be committed."""
        self._apply(Tick(), now)

    def committed(self, dropped: int | None) -> None:
        """The journal was committed; `dropped` is the device's total if it just lost readings."""
        if dropped is not None:
            self._apply(Dropped(dropped))
        if self._fresh or self._resend.due <= time.monotonic():
            self._fresh = False
            self._wake.set()

    def stop(self) -> None:
        """Say goodbye if online, hang up, and let `run` return."""
        self._stop.set()
        self._wake.set()

    def _apply(self, message: Message, now: float | None = None) -> None:
        self.device, effects = step(self.device, message, time.time() if now is None else now)
        for effect in effects:
            match effect:
                case Publish():
                    self._outgoing.append(effect)
                    self._wake.set()
                case Remember(envelope):
                    self._wiring.journal.remember(self.device.device_id, envelope)
                    self._fresh = True
                case Forget(msg_ids):
                    self._wiring.journal.forget(self.device.device_id, msg_ids)
                case RememberSession(session):
                    self._wiring.journal.session(self.device.device_id, session)
                case Log(level, text):
                    logger.log(level, "%s: %s", self.device.device_id, text)

    async def _connection(self) -> None:
        self._apply(Connecting())
        await self._wiring.journal.committed()  # the session number, before it is used
        async with self._connected() as client:
            proof = self._identity.proof(self.device.session, self.device.boot.boot_id)
            self._resend.reset()
            self.trouble = ""
            self._apply(Connected(proof))
            # a publish does not notice that the line broke, only the receiver does: the first to end ends both
            both = [asyncio.create_task(self._receive(client)), asyncio.create_task(self._send(client))]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                done.pop().result()
            finally:
                await end(both)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Client]:
        async with contextlib.AsyncExitStack() as stack:
            async with self._wiring.gate:
                if self._tls is None:
                    self._tls = await asyncio.to_thread(self._tls_context)
                client = await stack.enter_async_context(self._new_client(self._tls))
                device = self.device
                filters = contract.device_filters(device.tenant, device.device_type, device.device_id)
                await client.subscribe([(topic, 1) for topic in filters])
            yield client

    def _new_client(self, tls: ssl.SSLContext) -> _Client:
        will = status(self.device, contract.State.OFFLINE, time.time())
        return _Client(
            self._wiring.broker.host,
            self._wiring.broker.port,
            identifier=self.device.device_id,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=False,
            keepalive=contract.KEEPALIVE_SECONDS,
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            tls_context=tls,
        )

    def _tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._wiring.ca_file))
        context.load_cert_chain(self._identity.credentials)
        return context

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if isinstance(message.payload, bytes):
                self._apply(Received(message.topic.value, message.payload))

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stop.is_set():
                self._apply(Stopping())
                return await self._flush(client)
            await self._flush(client)
            if self._resend.due <= time.monotonic():
                repeated = await self._send_readings(client, after=FIRST, upto=self._resend.mark)
                self._resend.repeated(time.monotonic(), unsettled=repeated != FIRST)
            cursor = await self._send_readings(client, after=self._resend.cursor)
            if cursor != self._resend.cursor:
                self._resend.sent(cursor, time.monotonic())

    async def _flush(self, client: aiomqtt.Client) -> None:
        while self._outgoing:
            effect = self._outgoing.popleft()
            await client.publish(effect.topic, effect.payload, effect.qos, effect.retain)

    async def _send_readings(self, client: aiomqtt.Client, after: bytes, upto: bytes | None = None) -> bytes:
        """Publish what the outbox holds in a range, oldest first; answers the last id, or `after` if there was none."""
        topic, device_id = self.device.topic("telemetry"), self.device.device_id
        while not self._stop.is_set() and (kept := self._wiring.journal.outbox.pending(device_id, after, upto)):
            bodies = [envelope.body for envelope in kept]
            payload = bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]"
            await client.publish(topic, payload, qos=1)
            after = kept[-1].msg_id
            await self._flush(client)  # a long backlog does not delay an answer
        return after
