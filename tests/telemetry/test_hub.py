"""One subscription for all sockets of a process, over the real Valkey."""

import asyncio
import json
import os

import pytest
import redis
from django.conf import settings

from devices import watching
from telemetry import hub

pytestmark = pytest.mark.xdist_group("channels")


class Socket:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[list[dict]] = asyncio.Queue()
        self.again = asyncio.Event()

    def hear(self, changes) -> None:
        self.frames.put_nowait(changes)

    def missed(self) -> None:
        self.again.set()

    async def next(self) -> list[dict]:
        return await asyncio.wait_for(self.frames.get(), 5)


def tell(*device_ids: str, **change) -> None:
    watching.Megaphone().tell(dict.fromkeys(device_ids, change))


def test_a_socket_gets_all_it_watches_of_one_telling_at_once_and_nothing_else():
    async def scene():
        mine, other = Socket(), Socket()
        ear = hub.of_this_loop()
        assert await ear.watch(mine, ["d-hub-1", "d-hub-2"])
        assert await ear.watch(other, ["d-hub-3"])
        await asyncio.to_thread(tell, "d-hub-1", "d-hub-2", "d-hub-3", "d-hub-4", x=1)
        assert await mine.next() == [{"device": "d-hub-1", "x": 1}, {"device": "d-hub-2", "x": 1}]
        assert await other.next() == [{"device": "d-hub-3", "x": 1}]
        await ear.watch(mine, ["d-hub-4"])
        await asyncio.to_thread(tell, "d-hub-1", "d-hub-4", x=2)
        assert await mine.next() == [{"device": "d-hub-4", "x": 2}]
        for socket in (mine, other):
            ear.leave(socket)
            assert socket.frames.empty()

    asyncio.run(scene())


def test_with_the_last_listener_nothing_is_left():
    async def scene():
        socket, ear = Socket(), hub.of_this_loop()
        await ear.watch(socket, ["d-hub-1"])
        ear.leave(socket)
        ear.leave(socket)
        assert not ear._listeners and not ear._watched and ear._task is None
        await ear.watch(socket, ["d-hub-1"])
        await asyncio.to_thread(tell, "d-hub-1", x=1)
        assert await socket.next() == [{"device": "d-hub-1", "x": 1}]
        ear.leave(socket)

    asyncio.run(scene())


def test_a_line_that_was_cut_is_made_anew_and_everybody_is_told_that_something_may_be_missing():
    def cut():
        client = redis.Redis.from_url(settings.REDIS_URL)
        for each in client.client_list(_type="pubsub"):
            if each["name"] == f"hub-{os.getpid()}":
                client.client_kill_filter(_id=each["id"])

    async def scene():
        socket, ear = Socket(), hub.of_this_loop()
        await ear.watch(socket, ["d-hub-1"])
        await asyncio.to_thread(cut)
        await asyncio.wait_for(socket.again.wait(), 10)
        await asyncio.to_thread(tell, "d-hub-1", x=1)
        assert await socket.next() == [{"device": "d-hub-1", "x": 1}]
        ear.leave(socket)

    asyncio.run(scene())


@pytest.mark.parametrize("text", ["no json", "[1]", '[{"x": 1}]', "[[]]", "{}"])
def test_what_is_no_change_ends_nothing(text):
    async def scene():
        socket, ear = Socket(), hub.of_this_loop()
        await ear.watch(socket, ["d-hub-1"])
        client = redis.Redis.from_url(settings.REDIS_URL)
        await asyncio.to_thread(client.publish, watching.channel(), text)
        await asyncio.to_thread(tell, "d-hub-1", x=1)
        assert await socket.next() == [{"device": "d-hub-1", "x": 1}]
        ear.leave(socket)

    asyncio.run(scene())


def test_without_valkey_a_watch_says_so_and_is_heard_later(monkeypatch):
    monkeypatch.setattr(hub, "READY_SECONDS", 0.1)

    async def scene():
        socket, ear = Socket(), hub.of_this_loop()
        with monkeypatch.context() as away:
            away.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
            assert not await ear.watch(socket, ["d-hub-1"])
        await asyncio.wait_for(socket.again.wait(), 10)
        await asyncio.to_thread(tell, "d-hub-1", x=1)
        assert (await socket.next())[0] == json.loads('{"device": "d-hub-1", "x": 1}')
        ear.leave(socket)

    asyncio.run(scene())
