"""What a web process hears of devices, handed to its sockets: one subscription for all of them.

The channel layer would wake each socket for each device, four times a second; here a batch is read once, and a socket
gets one frame of all that it watches. Nothing is queued: what waits for a slow browser is replaced by what is newer.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec
import redis.asyncio
import structlog
from django.conf import settings
from redis import RedisError

from devices.watching import channel

log = structlog.get_logger(__name__)
RETRY_SECONDS = 0.5
HEALTH_SECONDS = 10
READY_SECONDS = 2.0
"""How long a new watch waits for the subscription before it goes on without."""


class Listener(Protocol):
    """A socket. It is called in its own event loop and must not wait."""

    def hear(self, changes: list[dict[str, Any]]) -> None:
        """These devices of those it watches changed."""

    def missed(self) -> None:
        """Something may have been missed: Valkey was away."""


class Hub:
    """The listeners of one event loop."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._watched: dict[Listener, list[str]] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def watch(self, listener: Listener, device_ids: Iterable[str]) -> bool:
        """Hear of these devices, instead of those of before. False: nothing is heard yet, Valkey is away."""
        self.leave(listener)
        self._watched[listener] = list(device_ids)
        for device_id in self._watched[listener]:
            self._listeners[device_id].add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), READY_SECONDS)
        return self._ready.is_set()

    def leave(self, listener: Listener) -> None:
        """Hear of nothing any more. With the last listener the subscription ends."""
        for device_id in self._watched.pop(listener, []):
            self._listeners[device_id].discard(listener)
            if not self._listeners[device_id]:
                del self._listeners[device_id]
        if not self._watched and self._task:
            self._task.cancel()
            self._task = None
            self._ready.clear()

    async def _run(self) -> None:
        again = False
        while True:
            try:
                await self._listen(again=again)
            except (RedisError, OSError) as error:
                log.warning("live_not_heard", error=str(error)[:200])
            self._ready.clear()
            again = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, *, again: bool) -> None:
        async with (
            redis.asyncio.Redis.from_url(
                settings.REDIS_URL, health_check_interval=HEALTH_SECONDS, client_name=f"hub-{os.getpid()}"
            ) as client,
            client.pubsub() as subscription,
        ):
            await subscription.subscribe(channel())
            while True:
                message = await subscription.get_message(timeout=HEALTH_SECONDS)  # each call looks after the line
                if message is None:
                    continue
                if message["type"] == "subscribe":  # only its answer says that nothing told from now on is missed
                    self._ready.set()
                    for listener in list(self._watched) if again else ():
                        listener.missed()
                elif message["type"] == "message":
                    self._hand(message["data"])

    def _hand(self, data: bytes) -> None:
        heard: defaultdict[Listener, list[dict[str, Any]]] = defaultdict(list)
        try:
            for change in msgspec.json.decode(data):
                for listener in self._listeners.get(change["device"], ()):
                    heard[listener].append(change)
        except (msgspec.DecodeError, KeyError, TypeError):
            log.exception("live_not_understood")
        for listener, changes in heard.items():
            listener.hear(changes)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def of_this_loop() -> Hub:
    """The hub of the running event loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
