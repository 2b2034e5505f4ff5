"""The WebSocket door: one socket a page. It says which devices it watches and gets their newest state."""

import asyncio
import time
from typing import Any

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from redis.exceptions import RedisError

from devices import contract, skew
from devices.models import Device
from devices.people import sessions
from devices.people.second_factor import lacks
from devices.watching import WATCH_SECONDS, Watched
from telemetry import hub
from telemetry.live import NOTICE_SECONDS, newest
from telemetry.models import Latest

MAX_WATCHED = 200
FORBIDDEN = 4403
"""Close code: not signed in, or without the second factor they must have."""


TRY_AGAIN = 1013
log = structlog.get_logger(__name__)


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """`{"watch": [device_id…]}` in; `{"device", "reading"?, "presence"?}` out, at most four times a second a device.

    Where several devices changed it is a list of those. A browser that is slow to read gets fewer, and the newest.
    `{"ping": true}` is answered by `{"pong": true}`: a page learns that the silence is the device's.
    """

    watched: list[str]
    _newest_ts: dict[str, int]
    """When (epoch ms) the newest reading was made that was shown of a device."""
    _waiting: dict[str, dict[str, Any]]
    """What is to be sent, by device; newer parts replace older ones."""
    _told: asyncio.Event
    _sending: asyncio.Task[None] | None = None
    _renewal: asyncio.Task[None] | None = None
    _catching_up: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Only somebody signed in gets in; what they may watch is judged for each device."""
        self.watched = []
        self._newest_ts, self._waiting, self._told = {}, {}, asyncio.Event()
        await self.accept()
        user = self.scope["user"]
        if user.is_authenticated and await database_sync_to_async(lacks)(user, self.scope.get("session")):
            user = self.scope["user"] = AnonymousUser()  # what they say before the socket is closed is nobody's
        if not user.is_authenticated:
            await self.close(FORBIDDEN)

    async def disconnect(self, code: int) -> None:
        """Stop watching."""
        hub.of_this_loop().leave(self)
        for task in (self._renewal, self._catching_up, self._sending):
            if task:
                task.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """A binary or empty frame is answered like any other mistake."""
        await self.receive_json(await self.decode_json(text_data or ""))

    async def receive_json(self, content: Any, **_: Any) -> None:
        """Change what is watched. Devices of others are left out without a word, as everywhere."""
        if content == {"ping": True}:
            await self.send_json({"pong": True})
            return
        wanted = content.get("watch") if isinstance(content, dict) else None
        if not isinstance(wanted, list) or not all(isinstance(item, str) for item in wanted):
            await self.send_json({"error": 'send {"watch": [device_id, …]}'})
            return
        self.watched = await self._visible([item for item in wanted if contract.is_part(item)][:MAX_WATCHED])
        self._newest_ts = {key: ts for key, ts in self._newest_ts.items() if key in self.watched}
        self._waiting = {key: change for key, change in self._waiting.items() if key in self.watched}
        if not await hub.of_this_loop().watch(self, self.watched):
            await self.send_json({"stale": True})
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew_or_close())
            self._sending = asyncio.create_task(self._send_or_close())
        await self._watch()
        await self.send_json({"watching": self.watched})
        self.missed()

    def hear(self, changes: list[dict[str, Any]]) -> None:
        """Take what changed; what still waits for this browser is replaced."""
        for change in changes:
            self._take(change)

    def missed(self) -> None:
        """Ask the database what is newest."""
        if self._catching_up:
            self._catching_up.cancel()
        self._catching_up = asyncio.create_task(self._catch_up())

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Text that is not JSON is answered, not a crash."""
        try:
            return await super().decode_json(text_data)
        except (ValueError, RecursionError):
            return None

    def _take(self, change: dict[str, Any]) -> None:
        """Keep a change for sending, never an older reading after a newer one: two workers may tell in either order.

        One whose clock was ahead does not hide what comes later, as in telemetry/store.py.
        """
        device_id, reading = change["device"], change.get("reading")
        if reading is not None:
            ahead = (time.time() + skew.AHEAD.total_seconds()) * 1000
            if reading["ts"] < self._newest_ts.get(device_id, reading["ts"]) <= ahead:
                change = {key: value for key, value in change.items() if key != "reading"}
            else:
                self._newest_ts[device_id] = reading["ts"]
        if len(change) > 1:
            self._waiting.setdefault(device_id, {}).update(change)
            self._told.set()

    async def _send_or_close(self) -> None:
        """Whatever ends the sending ends the socket, too: the page then connects again instead of going deaf."""
        try:
            while True:
                await self._told.wait()
                self._told.clear()
                changes, self._waiting = list(self._waiting.values()), {}
                await self.send_json(changes[0] if len(changes) == 1 else changes)
        except Exception as error:
            log.warning("live_not_sent", error=str(error)[:200])
            await self.close(TRY_AGAIN)

    async def _renew_or_close(self) -> None:
        """A watch that cannot be renewed ends the socket: the page then connects again instead of going deaf."""
        try:
            await self._renew()
        except Exception as error:
            log.warning("watch_not_renewed", error=str(error)[:200])
            await self.close(TRY_AGAIN)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS / 3)
            if not await database_sync_to_async(sessions.goes_on)(self.scope.get("session"), self.scope["user"]):
                await self.close(TRY_AGAIN)  # the page comes again with the session that it has now
                return
            # Somebody who lost the right to see a device stops seeing it, within one renewal.
            still = set(await self._visible(self.watched))
            if still != set(self.watched):
                self.watched = [device_id for device_id in self.watched if device_id in still]
                self._waiting = {key: change for key, change in self._waiting.items() if key in still}
                await hub.of_this_loop().watch(self, self.watched)
            await self._watch()

    async def _catch_up(self) -> None:
        """Send the newest once more: what came before ingest noticed the watch would otherwise be missed."""
        await asyncio.sleep(NOTICE_SECONDS)
        self.hear(await self._newest(self.watched))

    async def _watch(self) -> None:
        try:
            await asyncio.to_thread(Watched().add, self.watched)
        except RedisError:
            await self.send_json({"stale": True})  # the next renewal tries again; the page says so meanwhile

    @database_sync_to_async
    def _newest(self, device_ids: list[str]) -> list[dict[str, Any]]:
        rows = Latest.objects.visible_to(self.scope["user"]).filter(device__device_id__in=device_ids)
        return [{"device": row.device.device_id, **newest(row)} for row in rows.select_related("device")]

    @database_sync_to_async
    def _visible(self, device_ids: list[str]) -> list[str]:
        user = self.scope["user"]
        try:
            user.refresh_from_db(fields=["is_active", "is_staff"])
        except ObjectDoesNotExist:
            return []
        rows = Device.objects.visible_to(user).filter(device_id__in=device_ids)
        return list(rows.values_list("device_id", flat=True))
