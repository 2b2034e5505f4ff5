"""The WebSocket door: one socket a page. It says which devices it watches and gets their newest state."""

import asyncio
import time
from typing import Any

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ObjectDoesNotExist
from redis.exceptions import RedisError

from devices import contract, skew
from devices.models import Device
from devices.watching import WATCH_SECONDS, Watched, group
from telemetry.live import NOTICE_SECONDS, newest
from telemetry.models import Latest

MAX_WATCHED = 200
FORBIDDEN = 4403
"""Close code: not signed in."""


TRY_AGAIN = 1013
log = structlog.get_logger(__name__)


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """`{"watch": [device_id…]}` in; `{"device", "reading"?, "presence"?}` out, at most four times a second a device.

    `{"ping": true}` is answered by `{"pong": true}`: a page learns that the silence is the device's.
    """

    watched: list[str]
    _newest_ts: dict[str, int]
    """When (epoch ms) the newest reading was made that was shown of a device."""
    _renewal: asyncio.Task[None] | None = None
    _catching_up: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Only somebody signed in gets in; what they may watch is judged for each device."""
        self.watched = []
        self._newest_ts = {}
        await self.accept()
        if not self.scope["user"].is_authenticated:
            await self.close(FORBIDDEN)

    async def disconnect(self, code: int) -> None:
        """Stop watching."""
        for task in (self._renewal, self._catching_up):
            if task:
                task.cancel()
        await self._leave()

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
        await self._leave()
        self.watched = await self._visible([item for item in wanted if contract.is_part(item)][:MAX_WATCHED])
        self._newest_ts = {key: ts for key, ts in self._newest_ts.items() if key in self.watched}
        for device_id in self.watched:
            await self.channel_layer.group_add(group(device_id), self.channel_name)
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew_or_close())
        await self._watch()
        await self.send_json({"watching": self.watched})
        if self._catching_up:
            self._catching_up.cancel()
        self._catching_up = asyncio.create_task(self._catch_up())

    async def device_changed(self, event: dict[str, Any]) -> None:
        """From the channel layer to the browser."""
        await self._show({key: value for key, value in event.items() if key != "type"})

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Text that is not JSON is answered, not a crash."""
        try:
            return await super().decode_json(text_data)
        except (ValueError, RecursionError):
            return None

    async def _show(self, change: dict[str, Any]) -> None:
        """Send a change, never an older reading after a newer one: two workers may tell in either order.

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
            await self.send_json(change)

    async def _leave(self) -> None:
        for device_id in self.watched:
            await self.channel_layer.group_discard(group(device_id), self.channel_name)
        self.watched = []

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
            # Somebody who lost the right to see a device stops seeing it, within one renewal.
            still = set(await self._visible(self.watched))
            for device_id in [item for item in self.watched if item not in still]:
                self.watched.remove(device_id)
                await self.channel_layer.group_discard(group(device_id), self.channel_name)
            await self._watch()

    async def _catch_up(self) -> None:
        """Send the newest once more: what came before ingest noticed the watch would otherwise be missed."""
        await asyncio.sleep(NOTICE_SECONDS)
        for change in await self._newest(self.watched):
            await self._show(change)

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
