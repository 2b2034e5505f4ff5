"""The WebSocket door of a campaign's live page: it says that something moved, and never what."""

import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.backends import ModelBackend
from redis.exceptions import RedisError

from devices.people import second_factor, sessions
from firmware import live
from firmware.models import Campaign

FORBIDDEN = 4403
"""Close code: not staff, without the right to see campaigns, or no such campaign."""
TRY_AGAIN = 1013
"""Close code: the channel layer is away."""
RECHECK_SECONDS = 30.0
"""Somebody who lost the right stops hearing within this time."""


class CampaignConsumer(AsyncJsonWebsocketConsumer):
    """`{"watching": pk}` at first, then `{"changed": true}` at most once a second; `{"ping": true}` gets its answer."""

    _group = ""
    _checked = 0.0

    async def connect(self) -> None:
        """Only staff who may see this campaign get in."""
        await self.accept()
        self._pk = int(self.scope["url_route"]["kwargs"]["pk"])
        if not await self._may_watch():
            await self.close(FORBIDDEN)
            return
        try:
            await self.channel_layer.group_add(live.group(self._pk), self.channel_name)
        except (RedisError, OSError):
            await self.close(TRY_AGAIN)
            return
        self._group = live.group(self._pk)
        await self.send_json({"watching": self._pk})

    async def disconnect(self, code: int) -> None:
        """Hear no more."""
        if self._group:
            await self.channel_layer.group_discard(self._group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Whatever a page says is taken for the question whether somebody is there."""
        await self.send_json({"pong": True})

    async def campaign_changed(self, event: dict[str, Any]) -> None:
        """From the channel layer to the browser."""
        if time.monotonic() - self._checked > RECHECK_SECONDS and not await self._may_watch():
            await self.close(FORBIDDEN)
            return
        await self.send_json({"changed": True})

    @database_sync_to_async
    def _may_watch(self) -> bool:
        """Asked of the database: rights may have changed since the person signed in."""
        self._checked = time.monotonic()
        user = ModelBackend().get_user(self.scope["user"].pk)  # anew, as a user remembers their rights
        if user is None or not user.is_staff or not user.has_perm("firmware.view_campaign"):
            return False
        if second_factor.lacks(user, self.scope.get("session")):
            return False
        if self._group and not sessions.goes_on(self.scope.get("session"), user):
            return False
        return Campaign.objects.visible_to(user).filter(pk=self._pk).exists()
