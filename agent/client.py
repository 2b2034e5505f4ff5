"""The MQTT client as a link needs it: one that tells a refusal from a broker that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Self, cast

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.enums import MQTTErrorCode

logger = logging.getLogger(__name__)


class Refused(aiomqtt.MqttError):
    """The broker is there and does not want this device, or this certificate."""


class Client(aiomqtt.Client):
    """Hangs up when the broker does not answer CONNECT in time: a late answer would bring a ghost to life.

    With TLS 1.3 a refused certificate shows only after the handshake: the broker hangs up instead of answering CONNECT
    (its alert may get lost on the way). Without the care taken here that would look like an answer that never comes.
    """

    _asking = False

    async def __aenter__(self) -> Self:
        """Connect. Raises Refused, or MqttError if the broker is away."""
        self._asking = True
        try:
            return await super().__aenter__()
        except BaseException as error:
            self._asking = False
            if self._client.disconnect() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                logger.debug("%s: nothing to hang up", self.identifier)
            if isinstance(error, MqttConnectError) or isinstance(error.__context__, ssl.SSLError):
                raise Refused(str(error)) from error
            raise
        finally:
            self._asking = False

    def hang_up(self) -> None:
        """Break the line without a goodbye: the broker publishes the will."""
        line = cast("socket.socket | None", self._client.socket())
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _on_disconnect(self, *arguments: Any) -> None:
        if self._asking and not self._connected.done():
            self._connected.set_exception(Refused("hung up instead of an answer to CONNECT"))
        else:
            super()._on_disconnect(*arguments)


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
