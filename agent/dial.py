"""How a device reaches the broker: TLS with the certificate whose turn it is, CONNECT, and its subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt

from agent.client import Client, Refused
from agent.device import Device, status
from agent.identity import Broker, Identity
from agent.reenroll import tls_context
from agent.wallet import Wallet
from devices import contract

logger = logging.getLogger(__name__)


class Dial:
    """One device's way to the broker. `gate` bounds how many devices of the process shake hands at once."""

    def __init__(
        self,
        wallet: Wallet,
        broker: Broker,
        ca_file: Path,
        gate: asyncio.Semaphore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.refused = 0
        """Connections the broker refused since the start; not those that found no broker."""
        self._wallet, self._broker, self._ca_file, self._gate, self._now = wallet, broker, ca_file, gate, now
        self._tls: ssl.SSLContext | None = None
        self._tls_serial = ""

    @contextlib.asynccontextmanager
    async def connected(self, device: Device, identity: Identity) -> AsyncIterator[Client]:
        """A connection that ends with the block. Raises Refused, MqttError or OSError.

        After a refusal, or if the files are unusable, it is another certificate's turn.
        """
        async with contextlib.AsyncExitStack() as stack:
            async with self._gate:
                try:
                    tls = await self._context(identity)
                    client = await stack.enter_async_context(self._client(device, tls))
                except Refused as error:
                    self.refused += 1
                    self._wallet.refused(identity)
                    level = logging.INFO if self._wallet.unproven(identity) else logging.DEBUG
                    text = "%s: certificate rotation: the broker refused certificate %s: %s"
                    logger.log(level, text, device.device_id, identity.serial, error)
                    raise
                filters = contract.device_filters(device.tenant, device.device_type, device.device_id)
                await client.subscribe([(topic, 1) for topic in filters])
            yield client

    async def _context(self, identity: Identity) -> ssl.SSLContext:
        if self._tls is None or self._tls_serial != identity.serial:
            try:
                self._tls = await asyncio.to_thread(tls_context, self._ca_file, identity.credentials)
            except OSError:  # among them ssl.SSLError: a file that got lost or damaged meanwhile
                self._wallet.refused(identity)
                raise
            self._tls_serial = identity.serial
        return self._tls

    def _client(self, device: Device, tls: ssl.SSLContext) -> Client:
        will = status(device, contract.State.OFFLINE, self._now())
        return Client(
            self._broker.host,
            self._broker.port,
            identifier=device.device_id,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=False,
            keepalive=contract.KEEPALIVE_SECONDS,
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            tls_context=tls,
        )
