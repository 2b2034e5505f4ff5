"""A device's line to the broker: MQTT 3.1.1 over mutual TLS, for ever. Carries out what `device.step` decides.

The session is persistent: settlements and commands that were on their way when the line broke arrive on the next
connect, instead of costing a resend each, and subscriptions exist before the birth makes the portal speak.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from random import Random

import aiomqtt

from agent.backoff import Backoff
from agent.client import Client, end
from agent.device import Device, step
from agent.dial import Dial
from agent.faults import Luck
from agent.identity import Broker
from agent.journal import Journal
from agent.messages import (
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Forget,
    Message,
    Publish,
    Received,
    Remember,
    RememberSession,
    Stopping,
    Tick,
)
from agent.packing import pack
from agent.power import Power
from agent.reenroll import Door
from agent.renewal import Renewal
from agent.resend import FIRST, Resend
from agent.rotation_messages import (
    Accepted,
    KeepCertificate,
    Log,
    MakeRequest,
    Promote,
    Requested,
    SendRequest,
    SwapCredentials,
)
from agent.update_messages import Abort, Discard, Keep, Report, Work
from agent.updating import Ties, Updating
from agent.wallet import Wallet
from agent.workshop import Workshop
from devices import contract
from devices.contract import UpdateReport

logger = logging.getLogger(__name__)

RECONNECT = Backoff(first=2, cap=60)
RESEND = Backoff(first=15, cap=300)
PARALLEL_DOWNLOADS = 16
HANG_UP_SECONDS = 5.0
STABLE_SECONDS = 30.0
"""A connection that lived this long was a good one: the next wait is short again."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a link is connected to. `gate` bounds how many links of the process shake hands at once."""

    broker: Broker
    journal: Journal
    gate: asyncio.Semaphore
    door: Door
    resend: Backoff = RESEND
    reconnect: Backoff = RECONNECT
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL_DOWNLOADS))
    """Bounds how many devices of the process download at once."""


class Link:
    """One device and its connection."""

    def __init__(self, device: Device, wallet: Wallet, wiring: Wiring, luck: Luck | None = None) -> None:
        self.device = device
        self.trouble = ""
        """Why there is no connection, empty while there is one."""
        self._wallet, self._wiring, self._luck = wallet, wiring, luck or Luck()
        self._renewal = Renewal(wallet, self._apply, lambda: self.device.online, wiring.door)
        self._dial = Dial(wallet, wiring.broker, wiring.door.ca_file, wiring.gate, self._now)
        self._rng = Random(device.boot.random)  # noqa: S311 - spreads load, guards nothing
        self._resend = Resend(self._rng, wiring.resend)
        self._outgoing: deque[Publish] = deque()
        self._fresh = False
        self._swap = False
        self._stop, self._wake = asyncio.Event(), asyncio.Event()
        self._power = Power(wallet.directory, wiring.journal, self._luck, self._wake, self._stop)
        self._workshop = Workshop(wallet, wiring.door, wiring.downloads, device.update.build, self._luck)
        ties = Ties(self._apply, self._report, self._power.reboot, self._cut, self._power.hang_up)
        self._updating = Updating(self._workshop, wiring.journal, ties)
        if wallet.pending is not None:  # the power went before its certificate came
            self._apply(Requested(wallet.pending.csr, online=False))

    @property
    def refused(self) -> int:
        """Connections the broker refused since the start: TLS or CONNECT, not those that found no broker."""
        return self._dial.refused

    @property
    def rotated(self) -> int:
        """Certificates that the broker accepted in place of another since the start."""
        return self._wallet.rotated

    async def run(self) -> None:
        """Connect, serve, and connect again until `stop`. Dies of nothing but cancellation."""
        attempt = 0
        try:
            while not self._stop.is_set():
                if not self._power.on and not await self._switch_on():
                    return
                began, wait = time.monotonic(), 0.0
                if self._wallet.expired(self._now()):
                    wait = await self._renewal.reenroll()  # and then the broker: it is the clock that may be wrong
                done = await self._attempt()
                self._apply(Disconnected())
                self._outgoing.clear()
                lived = time.monotonic() - began
                attempt = 0 if done or lived > STABLE_SECONDS else attempt + 1
                if not done and self._power.on:
                    wait = max(self._wiring.reconnect.full_jitter(attempt, self._rng), wait - lived)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._power.hurry.wait(), wait)
        finally:
            await self._updating.close()
            await self._renewal.close()

    def tick(self, now: float) -> None:
        """Let the device act on the time (epoch seconds); what it wants kept still has to be committed."""
        if self._power.on:
            self._apply(Tick(), now + self._luck.skew)

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
        self._power.hurry.set()
        self._wake.set()

    def _now(self) -> float:
        """The time by the device's own clock."""
        return time.time() + self._luck.skew

    def _apply(self, message: Message, now: float | None = None) -> None:  # noqa: C901 - one case an effect
        self.device, effects = step(self.device, message, self._now() if now is None else now)
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
                case SendRequest(csr):
                    self._outgoing.append(Publish(self.device.topic(contract.CERTIFICATE_REQUEST), csr.encode()))
                    self._wake.set()
                case SwapCredentials():
                    self._swap = True
                    self._wake.set()
                case MakeRequest() | KeepCertificate() | Promote():
                    self._renewal.act(effect)
                case Keep() | Report() | Abort() | Discard():
                    self._updating.act(effect)
                case _ if isinstance(effect, Work):
                    self._updating.act(effect)
                case Log(level, text):
                    logger.log(level, "%s: %s", self.device.device_id, text)

    def _report(self, report: UpdateReport) -> None:
        if self.device.online:
            topic = self.device.topic(contract.UPDATE_STATUS)
            self._outgoing.append(Publish(topic, contract.encode(report), retain=True))
            self._wake.set()

    def _cut(self) -> None:
        self._updating.forget()
        self._power.cut()

    async def _switch_on(self) -> bool:
        """Begin a run. False if it is to stop instead."""
        self._updating.forget()
        message = await self._power.switch_on(self.device)
        if message is None:
            return False
        self._workshop.header = self._power.header
        self._apply(message)
        return True

    async def _attempt(self) -> bool:
        """One connection, or the attempt at one. True if it ended on purpose: to stop, or to swap credentials."""
        try:
            await self._connection()
        except (aiomqtt.MqttError, OSError) as error:
            self.trouble = f"{self.device.device_id}: {error}"
            logger.debug("no line, %s", self.trouble)
        except Exception as error:
            self.trouble = f"{self.device.device_id}: {error!r}"
            logger.exception("%s: connection failed", self.device.device_id)
        else:
            return True
        return False

    async def _connection(self) -> None:
        self._apply(Connecting())
        await self._wiring.journal.committed()  # the session number, before it is used
        self._swap, self._power.broken, identity = False, not self._power.on, self._wallet.using
        async with self._dial.connected(self.device, identity) as client:
            proof = identity.proof(self.device.session, self.device.boot.boot_id)
            self._resend.reset()
            self.trouble = ""
            self._apply(Connected(proof, self._wallet.term(identity)))
            # a publish does not notice that the line broke, only the receiver does: the first to end ends both
            both = [asyncio.create_task(self._receive(client)), asyncio.create_task(self._send(client))]
            try:
                done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                done.pop().result()
            finally:
                await end(both)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if isinstance(message.payload, bytes) and self._power.on:
                self._apply(Received(message.topic.value, message.payload))

    async def _send(self, client: Client) -> None:
        accepted = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._power.broken:
                client.hang_up()
                await asyncio.sleep(HANG_UP_SECONDS)  # the receiver notices, and ends this
                raise aiomqtt.MqttError("the line broke")
            if self._stop.is_set() or self._power.rebooting:
                self._apply(Stopping())
                return await self._flush(client)
            await self._flush(client)
            if not accepted:  # the birth was acknowledged
                accepted = True
                self._apply(Accepted())
            if self._swap:
                return None
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
        while not (self._stop.is_set() or self._swap) and (
            kept := self._wiring.journal.outbox.pending(device_id, after, upto)
        ):
            payload, count = pack([envelope.body for envelope in kept])
            await client.publish(topic, payload, qos=1)
            after = kept[count - 1].msg_id
            await self._flush(client)  # a long backlog does not delay an answer
        return after
