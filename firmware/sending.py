"""Sending a stored file at the reader's pace: Django decides what, the ASGI server's loop sends it.

While a slow device downloads, it holds an open file and one block, and neither a thread nor a database connection:
those end with Django's answer. Where nobody has wrapped the application in a `Sender`, Django streams the same blocks.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import quote_etag

from devices.problems import problem
from firmware import files, ranges
from firmware.errors import FirmwareError
from firmware.models import Artifact

BLOCK = 128 * 1024
STALLED_SECONDS = 180
"""A reader that takes not even one block in this time is let go: it comes again and asks for the rest."""
EACH_AT_ONCE = 2
"""Downloads of one reader at the same time; one that it has given up may still be on its way out."""
RETRY_SECONDS = 15
_KEY = "firmware.sending"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sending:
    """`length` bytes of a stored file from `start` on."""

    sha256: str
    start: int
    length: int
    reader: str
    """Whose download it is: each may have a few."""


def artifact(request: HttpRequest, row: Artifact, reader: str) -> HttpResponseBase:
    """The answer to a GET or HEAD for an artifact, or for a part of it; `reader` as in `Sending`.

    200, 206, 304; problem details: precondition_failed (412), range_not_satisfiable (416), artifact_missing (503).
    """
    etag = quote_etag(row.sha256)
    reply = ranges.reply(request.method or "GET", request.headers, row.size, etag)
    if reply.status == ranges.FAILED:
        return problem(412, "precondition_failed", "The file is another one.")
    if reply.status == ranges.UNSATISFIABLE:
        refusal = problem(416, "range_not_satisfiable", f"The file has {row.size} bytes.")
        refusal["Content-Range"] = ranges.content_range(reply, row.size)
        return refusal
    if reply.status == ranges.UNCHANGED:
        return HttpResponse(status=304, headers={"ETag": etag})
    if files.size(row.sha256) != row.size:
        raise FirmwareError("The file is not in the store.", "artifact_missing", 503)
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{row.file_name}"',
        "Content-Length": str(reply.length),
    }
    if reply.status == ranges.PART:
        headers["Content-Range"] = ranges.content_range(reply, row.size)
    if request.method == "HEAD":
        return HttpResponse(status=reply.status, headers=headers)
    return answer(request, Sending(row.sha256, reply.start, reply.length, reader), reply.status, headers)


def answer(request: HttpRequest, what: Sending, status: int, headers: Mapping[str, str]) -> HttpResponseBase:
    """The response to a GET that is followed by these bytes; the headers say how many."""
    told: list[Sending] | None = getattr(request, "scope", {}).get(_KEY)
    if told is None:
        return StreamingHttpResponse(_alone(what), status=status, headers=headers)
    told.append(what)
    return HttpResponse(status=status, headers=headers)


class Sender:
    """Wraps an ASGI application and sends the files that its answers are about, DOWNLOADS_AT_ONCE at most."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._at_work: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let the application answer; what it says of a file is held back until it has ended."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        told: list[Sending] = []
        head: list[dict[str, Any]] = []

        async def hold(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and told and message["status"] in (200, 206):
                head.append(message)
            elif not head:
                await send(message)

        await self._application(scope | {_KEY: told}, receive, hold)
        if head:
            await self._send(told[0], head[0], receive, send)

    async def _send(self, what: Sending, head: dict[str, Any], receive: Any, send: Any) -> None:
        """One slot, one file; whatever happens, both are given back."""
        if self._at_work.total() >= settings.DOWNLOADS_AT_ONCE or self._at_work[what.reader] >= EACH_AT_ONCE:
            await _refuse(send, "busy", "Too many downloads at once. Come again.", RETRY_SECONDS)
            return
        self._at_work[what.reader] += 1
        gone = asyncio.create_task(_until_gone(receive))
        passing = asyncio.create_task(_pass_on(what, head, send))
        try:
            await asyncio.wait({gone, passing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, passing):
                task.cancel()
            await asyncio.gather(gone, passing, return_exceptions=True)
            self._at_work[what.reader] -= 1
            self._at_work += Counter()  # forgets those that have none left
        if not passing.cancelled():
            passing.result()


async def _pass_on(what: Sending, head: dict[str, Any], send: Any) -> None:
    async with aclosing(_blocks(what)) as blocks:
        try:
            block = await anext(blocks)
        except FirmwareError as error:
            await _refuse(send, error.code, error.detail, RETRY_SECONDS)
            return
        left = what.length
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(head)
            while block:
                left -= len(block)
                async with asyncio.timeout(STALLED_SECONDS):
                    await send({"type": "http.response.body", "body": block, "more_body": left > 0})
                block = await anext(blocks, b"")
        except TimeoutError:
            _log.warning("download_stalled", reader=what.reader, left=left)  # the server closes what is incomplete


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _blocks(what: Sending) -> AsyncGenerator[bytes, None]:
    """The bytes. Raises `FirmwareError` (artifact_missing) before the first, OSError when there are fewer."""
    file = await asyncio.to_thread(files.open_file, what.sha256)
    try:
        await asyncio.to_thread(file.seek, what.start)
        left = what.length
        while left:
            block = await asyncio.to_thread(file.read, min(left, BLOCK))
            if not block:
                raise OSError(f"{what.sha256} ends {left} bytes too early")
            left -= len(block)
            yield block
    finally:
        with suppress(OSError):
            file.close()


async def _alone(what: Sending) -> AsyncGenerator[bytes, None]:
    """The same under Django's own streaming, which holds the request's thread: give back its connection at least."""
    await sync_to_async(_let_go)()
    async with aclosing(_blocks(what)) as blocks:
        async for block in blocks:
            yield block


def _let_go() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


async def _refuse(send: Any, code: str, detail: str, retry: int) -> None:
    """Problem details, as Django's views give them."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    told = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail, "error_code": code}
    body = json.dumps(told).encode()
    headers = {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "retry-after": str(retry),
        "cache-control": "no-store",
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": raw})
    await send({"type": "http.response.body", "body": body})
