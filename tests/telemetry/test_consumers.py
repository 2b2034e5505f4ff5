"""The WebSocket door, over the real Valkey."""

import asyncio
import json
import time

import pytest
import redis
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client

from devices import watching
from devices.models import Membership
from devices.watching import Watched
from telemetry import consumers
from telemetry.consumers import FORBIDDEN, MAX_WATCHED, TRY_AGAIN, LiveConsumer
from tests.factories import DeviceFactory, StaffFactory, UserFactory, member

# Valkey tells every process: two workers of xdist with a device of one name would hear each other.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("channels")]


class Page:
    """A browser page with its socket open, as an ASGI server shows it to us."""

    def __init__(self, user) -> None:
        self.user = user
        self._app = ApplicationCommunicator(
            LiveConsumer.as_asgi(), {"type": "websocket", "path": "/ws/live", "user": user}
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
        """The next message to the browser."""
        return json.loads((await self.output())["text"])

    async def hears_nothing(self, seconds: float) -> bool:
        return await self._app.receive_nothing(seconds)

    async def watch(self, *device_ids: str) -> list[str]:
        await self.send(text=json.dumps({"watch": device_ids}))
        return (await self.next())["watching"]


def session_of(user):
    client = Client()
    client.force_login(user)
    return client.session


def _close() -> None:
    connection.close()


def play(scene) -> None:
    """Run a scene, and leave no database connection behind in the thread that asked for it."""

    async def whole():
        try:
            await scene()
        finally:
            await sync_to_async(_close)()

    asyncio.run(whole())


async def push(device_id: str, **change) -> None:
    await asyncio.to_thread(watching.push, device_id, change)


def test_a_member_watches_their_device_and_gets_its_changes():
    device = DeviceFactory()
    user = member(device.tenant)

    async def scene():
        async with Page(user) as mine:
            assert await mine.watch(device.device_id) == [device.device_id]
            assert device.device_id in await asyncio.to_thread(Watched().current)
            await push(device.device_id, reading={"ts": 1})
            assert await mine.next() == {"device": device.device_id, "reading": {"ts": 1}}

    play(scene)


def test_an_older_reading_is_never_shown_after_a_newer_one():
    device = DeviceFactory()
    user = member(device.tenant)

    async def scene():
        async with Page(user) as mine:
            await mine.watch(device.device_id)
            await push(device.device_id, reading={"ts": 2})
            await push(device.device_id, reading={"ts": 1})
            await push(device.device_id, reading={"ts": 1}, presence={"online": True})
            await push(device.device_id, reading={"ts": 3})
            told = [await mine.next() for _ in range(3)]
            assert [each.get("reading", each.get("presence")) for each in told] == [
                {"ts": 2},
                {"online": True},
                {"ts": 3},
            ]

    play(scene)


def test_a_reading_of_a_clock_ahead_does_not_hide_those_that_come_later():
    device = DeviceFactory()
    user = member(device.tenant)
    now = round(time.time() * 1000)

    async def scene():
        async with Page(user) as mine:
            await mine.watch(device.device_id)
            for ts in (now + 3_600_000, now - 1, now - 2, now):
                await push(device.device_id, reading={"ts": ts})
            assert [(await mine.next())["reading"]["ts"] for _ in range(3)] == [now + 3_600_000, now - 1, now]

    play(scene)


def test_a_device_of_another_tenant_is_not_watched_and_nothing_of_it_arrives():
    own, foreign = DeviceFactory(), DeviceFactory()
    user = member(own.tenant)

    async def scene():
        async with Page(user) as mine:
            assert await mine.watch(foreign.device_id, own.device_id, "d-nobody") == [own.device_id]
            assert foreign.device_id not in await asyncio.to_thread(Watched().current)
            await push(foreign.device_id, reading={"ts": 1})
            await push(own.device_id, reading={"ts": 2})
            assert (await mine.next())["device"] == own.device_id

    play(scene)


@pytest.mark.parametrize("who", ["nobody", "inactive", "without a membership"])
def test_who_may_see_nothing_watches_nothing(who):
    device = DeviceFactory()
    user = {
        "nobody": AnonymousUser,
        "inactive": lambda: member(device.tenant, is_active=False),
        "without a membership": UserFactory,
    }[who]()

    async def scene():
        async with Page(user) as stranger:
            if who == "nobody":
                closed = await stranger.output()
                assert (closed["type"], closed["code"]) == ("websocket.close", FORBIDDEN)
            else:
                assert await stranger.watch(device.device_id) == []

    play(scene)


def test_staff_watch_any_device():
    device = DeviceFactory()
    user = StaffFactory()

    async def scene():
        async with Page(user) as staff:
            assert await staff.watch(device.device_id) == [device.device_id]

    play(scene)


BAD = [
    "no json",
    "[1]",
    "null",
    '{"watch": "d-1"}',
    '{"watch": [1]}',
    '{"watch": {}}',
    "{}",
    "[" * 100_000,
    '{"watch": [[]]}',
]


@pytest.mark.parametrize("text", [*BAD, "", b"\x00\x01", b""], ids=lambda text: repr(text)[:20])
def test_what_is_no_watch_is_answered_and_the_socket_stays_open(text):
    device = DeviceFactory()
    user = member(device.tenant)

    async def scene():
        async with Page(user) as mine:
            await mine.send(**{"text" if isinstance(text, str) else "bytes": text})
            assert "watch" in (await mine.next())["error"]
            assert await mine.watch(device.device_id) == [device.device_id]

    play(scene)


@pytest.mark.parametrize("device_id", ["\0", "\ud800", "'; --", "x" * 10_000, "d-1\n"])
def test_a_device_id_of_any_characters_is_no_device(device_id):
    device = DeviceFactory()
    user = member(device.tenant)

    async def scene():
        async with Page(user) as mine:
            assert await mine.watch(device_id, device.device_id) == [device.device_id]

    play(scene)


def test_watching_others_ends_the_first_watch():
    one = DeviceFactory()
    other = DeviceFactory(tenant=one.tenant)
    user = member(one.tenant)

    async def scene():
        async with Page(user) as mine:
            await mine.watch(one.device_id)
            await mine.watch(other.device_id)
            await push(one.device_id, reading={"ts": 1})
            await push(other.device_id, reading={"ts": 2})
            assert (await mine.next())["device"] == other.device_id

    play(scene)


def test_a_page_watches_a_bounded_number_of_devices():
    device = DeviceFactory()
    user = member(device.tenant)

    async def scene():
        async with Page(user) as mine:
            assert await mine.watch(*["d-nobody"] * MAX_WATCHED, device.device_id) == []

    play(scene)


@pytest.mark.parametrize("how", ["membership revoked", "signed out for good", "deleted"])
def test_somebody_who_loses_the_right_stops_seeing_within_a_renewal(monkeypatch, how):
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.15)
    device, kept = DeviceFactory(), DeviceFactory()
    user, other = member(device.tenant), StaffFactory()
    if how == "membership revoked":
        Membership.objects.create(user=user, tenant=kept.tenant, role="viewer")

    def lose():
        if how == "membership revoked":
            Membership.objects.filter(user=user, tenant=device.tenant).delete()
        elif how == "deleted":
            type(user).objects.get(pk=user.pk).delete()
        else:
            type(user).objects.filter(pk=user.pk).update(is_active=False)

    async def scene():
        async with Page(user) as mine, Page(other) as staff:
            await mine.watch(device.device_id, kept.device_id)
            await staff.watch(device.device_id)
            await sync_to_async(lose)()
            for number in range(200):  # until a push reaches the staff and not the customer
                await push(device.device_id, reading={"ts": number})
                await staff.next()
                if await mine.hears_nothing(0.05) or (await mine.output())["type"] == "websocket.close":
                    break
            else:
                raise AssertionError("still seen")
            if how == "membership revoked":
                await push(kept.device_id, reading={"ts": 1})
                assert (await mine.next())["device"] == kept.device_id

    play(scene)


@pytest.mark.parametrize("how", ["signed out elsewhere", "a new password", "a second factor is asked for"])
def test_a_socket_ends_with_its_session(monkeypatch, how):
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.15)
    device = DeviceFactory()
    user = member(device.tenant)

    def end():
        if how == "signed out elsewhere":
            Session.objects.all().delete()
        elif how == "a new password":
            user.set_password("another long password")
            type(user).objects.filter(pk=user.pk).update(password=user.password)
        else:
            type(device.tenant).objects.update(mfa_required=True)

    async def scene():
        async with Page(user) as page:
            await page.watch(device.device_id)
            await sync_to_async(end)()
            while (output := await page.output())["type"] != "websocket.close":
                pass
            assert output["code"] == TRY_AGAIN  # it comes again, and is judged by the session that it has then

    play(scene)


def test_a_page_is_told_that_it_is_stale_while_valkey_is_away(monkeypatch):
    device = DeviceFactory()
    user = member(device.tenant)

    def away(*_):
        raise redis.ConnectionError

    monkeypatch.setattr(Watched, "add", away)

    async def scene():
        async with Page(user) as mine:
            await mine.send(text=json.dumps({"watch": [device.device_id]}))
            assert await mine.next() == {"stale": True}
            assert await mine.next() == {"watching": [device.device_id]}

    play(scene)


def test_a_watch_that_cannot_be_renewed_ends_the_socket_so_that_the_page_connects_again(monkeypatch):
    monkeypatch.setattr(consumers, "WATCH_SECONDS", 0.15)
    device = DeviceFactory()
    user = member(device.tenant)

    async def away(*_):
        raise OperationalError("the database is away")

    async def scene():
        async with Page(user) as page:
            await page.watch(device.device_id)
            monkeypatch.setattr(LiveConsumer, "_visible", away)
            while (output := await page.output())["type"] != "websocket.close":
                pass
            assert output["code"] == consumers.TRY_AGAIN

    asyncio.run(scene())
