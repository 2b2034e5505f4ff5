"""Sending at the reader's pace: who holds a slot, for how long, and what is given back whatever happens."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import connection

from firmware import artifacts, files, sending
from firmware.sending import Sender, Sending

pytestmark = pytest.mark.django_db
DATA = bytes(range(256)) * 4096  # 1 MiB: eight blocks
WAIT = 5


@pytest.fixture
def stored():
    return artifacts.store([DATA], limit=10**9).sha256


class Portal:
    """An application that answers as Django does when a view called `sending.answer`."""

    def __init__(self, status=200):
        self.status, self.ended = status, 0

    async def __call__(self, scope, receive, send):
        await receive()
        what = scope["what"]
        if what:
            scope["firmware.sending"].append(what)
        headers = [(b"content-length", str(what.length if what else 2).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if what and self.status < 400 else b"ok"})
        self.ended += 1


@asynccontextmanager
async def asking(app, what, method="GET"):
    """A reader that takes one message at a time: the next is sent when the last was taken."""
    scope = {"type": "http", "method": method, "headers": [], "what": what}
    reader = ApplicationCommunicator(Slowly(app), scope)
    await reader.send_input({"type": "http.request", "body": b"", "more_body": False})
    try:
        yield reader
    finally:
        reader.stop(exceptions=False)


class Slowly:
    """A server whose buffer holds one message, as a slow connection's does."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        taken = scope.setdefault("taken", asyncio.Semaphore(1))

        async def one(message):
            await taken.acquire()
            await send(message)

        scope["take"] = taken.release
        await self.app(scope, receive, one)


async def take(reader):
    message = await reader.receive_output(WAIT)
    reader.scope["take"]()
    return message


async def rest(reader):
    """Everything up to the end: status and bytes."""
    head = await take(reader)
    assert head["type"] == "http.response.start"
    found = []
    while True:
        message = await take(reader)
        found.append(message["body"])
        if not message.get("more_body"):
            return head["status"], b"".join(found)


def run(main):
    asyncio.run(main)


def part(sha256, start=0, length=2**20, reader="device:1"):
    return Sending(sha256, start, length, reader)


@pytest.mark.parametrize(("start", "length"), [(0, len(DATA)), (0, 1), (131_071, 2), (len(DATA) - 1, 1), (5, 300_000)])
def test_sends_just_the_bytes(stored, start, length):
    async def main():
        async with asking(Sender(Portal(206)), part(stored, start, length)) as reader:
            assert await rest(reader) == (206, DATA[start : start + length])

    run(main())


def test_what_is_no_file_passes_as_it_is(stored):
    async def main():
        async with asking(Sender(Portal()), None) as reader:
            assert await rest(reader) == (200, b"ok")
        # The view had said what to send, and something behind it failed.
        async with asking(Sender(Portal(500)), part(stored)) as reader:
            assert await rest(reader) == (500, b"ok")

    run(main())


def test_what_is_no_request_passes_as_it_is():
    async def application(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})

    async def main():
        caller = ApplicationCommunicator(Sender(application), {"type": "lifespan"})
        assert (await caller.receive_output(WAIT))["type"] == "lifespan.startup.complete"

    run(main())


def test_the_application_has_ended_before_the_first_byte_is_sent(stored):
    portal = Portal()

    async def main():
        async with asking(Sender(portal), part(stored)) as reader:
            await take(reader)
            assert portal.ended == 1

    run(main())


def test_too_many_at_once_are_told_to_come_again(stored, settings):
    settings.DOWNLOADS_AT_ONCE = 2
    app = Sender(Portal())

    async def main():
        async with asking(app, part(stored)) as one, asking(app, part(stored, reader="device:2")) as two:
            await take(one), await take(two)
            async with asking(app, part(stored, reader="device:3")) as three:
                head = await take(three)
                assert (head["status"], dict(head["headers"])[b"retry-after"]) == (503, b"15")
                assert json.loads((await take(three))["body"])["error_code"] == "busy"
            while (await take(one)).get("more_body"):
                pass
            await one.wait(WAIT)
            async with asking(app, part(stored, 0, 10, "device:3")) as three:
                assert await rest(three) == (200, DATA[:10])

    run(main())


def test_one_reader_cannot_take_every_slot(stored):
    app = Sender(Portal())

    async def main():
        async with (
            asking(app, part(stored)) as one,
            asking(app, part(stored)) as two,
            asking(app, part(stored)) as three,
        ):
            assert [(await take(each))["status"] for each in (one, two, three)] == [200, 200, 503]
        async with asking(app, part(stored, 0, 9, "device:2")) as other:
            assert await rest(other) == (200, DATA[:9])

    run(main())


def test_a_reader_that_leaves_gives_its_slot_back(stored, settings):
    settings.DOWNLOADS_AT_ONCE = 1
    app = Sender(Portal())

    async def main():
        async with asking(app, part(stored)) as reader:
            await take(reader)
            await reader.send_input({"type": "http.disconnect"})
            await reader.wait(WAIT)
        async with asking(app, part(stored, 0, 3)) as reader:
            assert await rest(reader) == (200, DATA[:3])

    run(main())


def test_a_reader_that_takes_nothing_is_let_go(stored, settings, monkeypatch):
    settings.DOWNLOADS_AT_ONCE = 1
    monkeypatch.setattr(sending, "STALLED_SECONDS", 0.05)
    app = Sender(Portal())

    async def main():
        async with asking(app, part(stored)) as reader:
            assert (await take(reader))["status"] == 200
            await reader.wait(WAIT)  # ends without being complete: the server closes the connection
        async with asking(app, part(stored, 0, 3)) as reader:
            assert await rest(reader) == (200, DATA[:3])

    run(main())


def test_a_server_that_stops_gives_the_slot_back(stored):
    app = Sender(Portal())

    async def main():
        for _ in range(3):
            async with asking(app, part(stored)) as reader:
                await take(reader)
                reader.future.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader.future
        assert app._at_work.total() == 0

    run(main())


def test_a_missing_file_is_a_problem(stored):
    files.store().delete(files.name(stored))

    async def main():
        async with asking(Sender(Portal()), part(stored)) as reader:
            status, body = await rest(reader)
            assert (status, json.loads(body)["error_code"]) == (503, "artifact_missing")

    run(main())


def test_a_file_that_ends_too_early_ends_the_connection(stored):
    app = Sender(Portal())

    async def main():
        async with asking(app, part(stored, 0, len(DATA) + 1)) as reader:
            for _ in range(1 + len(DATA) // sending.BLOCK):
                await take(reader)
            with pytest.raises(OSError, match="too early"):
                await reader.wait(WAIT)
        assert app._at_work.total() == 0

    run(main())


def test_under_a_sender_a_view_only_says_what_to_send(stored, rf):
    request, what = rf.get("/"), part(stored, 5, 3)
    request.scope = {"firmware.sending": []}
    answer = sending.answer(request, what, 206, {"Content-Length": "3"})
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (206, b"", "3")
    assert request.scope["firmware.sending"] == [what]


def test_without_one_the_view_streams_and_gives_its_connection_back(stored, rf):
    answer = sending.answer(rf.get("/"), part(stored, 5, 300_000), 206, {})

    def elsewhere():
        connection.ensure_connection()
        sending._let_go()
        return connection.connection

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere).result(10) is None

    async def main():
        return b"".join([block async for block in answer])

    assert asyncio.run(main()) == DATA[5:300_005]


def test_only_a_reader_that_leaves_has_left(stored):
    async def main():
        async with asking(Sender(Portal()), part(stored, 0, 9)) as reader:
            await reader.send_input({"type": "http.request", "body": b"", "more_body": False})
            assert await rest(reader) == (200, DATA[:9])

    run(main())
