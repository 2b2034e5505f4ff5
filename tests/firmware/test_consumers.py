"""The WebSocket door of a campaign's page, over the real channel layer and Valkey."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import path
from django.utils import timezone
from redis.exceptions import ConnectionError as Away

from firmware import advancing, consumers, live, rollbacks
from firmware.consumers import FORBIDDEN, TRY_AGAIN, CampaignConsumer
from firmware.models import Campaign
from tests.factories import StaffFactory, TenantFactory, UserFactory, member
from tests.firmware import fleet
from tests.fleetportal import world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("channels")]
ROUTES = URLRouter([path("ws/campaigns/<int:pk>", CampaignConsumer.as_asgi())])


class Page:
    """A browser page with its socket open, as an ASGI server shows it to us."""

    def __init__(self, user, pk) -> None:
        self.user = user
        self._app = ApplicationCommunicator(
            ROUTES, {"type": "websocket", "path": f"/ws/campaigns/{pk}", "user": user, "headers": []}
        )

    async def __aenter__(self) -> "Page":
        if self.user.is_authenticated:
            self._app.scope["session"] = await sync_to_async(session_of)(self.user)
        await self._app.send_input({"type": "websocket.connect"})
        assert (await self.output())["type"] == "websocket.accept"
        return self

    async def __aexit__(self, *_) -> None:
        await self._app.send_input({"type": "websocket.disconnect", "code": 1001})
        await self._app.wait()

    async def output(self) -> dict:
        return await self._app.receive_output(timeout=5)

    async def send(self, **frame) -> None:
        await self._app.send_input({"type": "websocket.receive", **frame})

    async def next(self) -> dict:
        return json.loads((await self.output())["text"])

    async def hears_nothing(self, seconds: float = 0.2) -> bool:
        return await self._app.receive_nothing(seconds)


def session_of(user):
    if not type(user).objects.filter(pk=user.pk).exists():
        return None
    client = Client()
    client.force_login(user)
    return client.session


def _close() -> None:
    connection.close()  # that of the thread it is called in


def play(scene) -> None:
    """Run a scene, and leave no database connection behind."""

    async def whole():
        try:
            await scene()
        finally:
            await sync_to_async(_close)()

    asyncio.run(whole())


@pytest.fixture
def campaign(transactional_db):
    return fleet.campaign(fleet.release(), (100,))


async def push(pk) -> None:
    await asyncio.to_thread(live.push, [pk])


def test_staff_hear_that_their_campaign_moved_and_of_no_other(campaign):
    other, person = fleet.campaign(fleet.release(), (100,)), StaffFactory()

    async def scene():
        async with Page(person, campaign.pk) as mine:
            assert await mine.next() == {"watching": campaign.pk}
            await push(other.pk)
            await push(campaign.pk)
            assert await mine.next() == {"changed": True}
            assert await mine.hears_nothing()

    play(scene)


def test_the_page_of_a_campaign_hears_of_the_way_back_of_its_devices(campaign):
    """Its parent ended a moment before: nothing of its own moves it any more."""
    Campaign.objects.filter(pk=campaign.pk).update(state="rolling_back")
    child = rollbacks.begin(campaign, timezone.now())
    Campaign.objects.filter(pk=campaign.pk).update(state="rolled_back", ended_at=timezone.now())
    person = StaffFactory()

    async def scene():
        async with Page(person, campaign.pk) as mine:
            assert await mine.next() == {"watching": campaign.pk}
            await asyncio.to_thread(advance, child.pk)
            assert await mine.next() == {"changed": True}

    def advance(pk):
        try:
            advancing.advance(pk, timezone.now())
        finally:
            connection.close()

    play(scene)
    assert Campaign.objects.get(pk=child.pk).state == "completed"


def test_others_are_sent_away(campaign):
    gone = StaffFactory()
    users = [
        AnonymousUser(),
        member(TenantFactory(), is_superuser=True),
        UserFactory(is_staff=True),
        StaffFactory(is_active=False),
        type(gone)(pk=gone.pk, is_staff=True, is_superuser=True),
    ]
    gone.delete()

    async def scene():
        for user in users:
            async with Page(user, campaign.pk) as page:
                closed = await page.output()
                assert (closed["type"], closed["code"]) == ("websocket.close", FORBIDDEN)
                await push(campaign.pk)
                assert await page.hears_nothing(0.05)

    play(scene)


def test_support_may_watch(campaign):
    person = world.staff("Support")

    async def scene():
        async with Page(person, campaign.pk) as page:
            assert "watching" in await page.next()

    play(scene)


def test_a_campaign_that_is_not_there_is_not_watched(campaign):
    person = StaffFactory()

    async def scene():
        async with Page(person, campaign.pk + 1000) as page:
            assert (await page.output())["code"] == FORBIDDEN

    play(scene)


@pytest.mark.parametrize("what", ["the right", "the session"])
def test_whoever_loses_the_right_or_the_session_stops_hearing(campaign, monkeypatch, what):
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", -1.0)
    person = StaffFactory()

    async def scene():
        async with Page(person, campaign.pk) as page:
            await page.next()
            await push(campaign.pk)
            assert await page.next() == {"changed": True}
            if what == "the right":
                await sync_to_async(type(person).objects.filter(pk=person.pk).update)(is_staff=False)
            else:
                await sync_to_async(Session.objects.all().delete)()
            await sync_to_async(cache.clear)()
            await push(campaign.pk)
            assert (await page.output())["code"] == FORBIDDEN

    play(scene)


def test_whatever_a_page_says_is_answered(campaign):
    person = StaffFactory()

    async def scene():
        async with Page(person, campaign.pk) as page:
            await page.next()
            for frame in ({"text": '{"ping":true}'}, {"text": "no json"}, {"bytes": b"\x00"}, {"text": "["}):
                await page.send(**frame)
                assert await page.next() == {"pong": True}

    play(scene)


def test_while_valkey_is_away_the_page_is_told_to_come_again(campaign, monkeypatch):
    person = StaffFactory()

    async def away(*_):
        raise Away

    monkeypatch.setattr("channels_redis.pubsub.RedisPubSubChannelLayer.group_add", away, raising=False)
    monkeypatch.setattr("channels_redis.pubsub.RedisPubSubLoopLayer.group_add", away, raising=False)

    async def scene():
        async with Page(person, campaign.pk) as page:
            assert (await page.output())["code"] == TRY_AGAIN

    play(scene)
