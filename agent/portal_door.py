"""The way to the portal's HTTPS door during an update: is it still wanted, and the image, with Range.

Every answer is a message for `update.step`; a refusal to talk is `NotDone` or `DownloadFailed`, never an exception.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
import msgspec

from agent.reenroll import Door
from agent.update_messages import Downloaded, DownloadFailed, NotDone, NotWanted, Wanted
from devices.contract import Image

logger = logging.getLogger(__name__)

PATH = "/api/v1/updates/{}"
TIMEOUT_SECONDS = 30.0
NOT_NOW_SECONDS = 60.0
_GONE = (httpx.codes.NOT_FOUND, httpx.codes.GONE)
_EXPIRED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, *_GONE)
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class _Answer(msgspec.Struct, frozen=True):
    wanted: bool
    attempt: int = 0
    url: str = ""
    retry_after: float | None = None


async def ask(door: Door, tls: ssl.SSLContext, update_id: UUID) -> Wanted | NotWanted | NotDone:
    """Does the portal still want the update?"""
    try:
        async with door.gate, _client(door, tls) as http:
            response = await http.get(PATH.format(update_id))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return NotDone(f"cannot reach the portal: {error!r}")
    if response.status_code in _GONE:
        return NotWanted()
    if response.status_code != httpx.codes.OK:
        return NotDone(f"the portal answers {response.status_code}", _retry_after(response))
    try:
        answer = msgspec.json.decode(response.content, type=_Answer)
    except msgspec.MsgspecError as error:
        return NotDone(f"the answer makes no sense: {error}")
    if answer.wanted:
        return Wanted(answer.attempt, answer.url)
    return NotDone("the portal says: not now", answer.retry_after or _retry_after(response) or NOT_NOW_SECONDS)


async def download(
    door: Door, tls: ssl.SSLContext, image: Image, part: Path, tell: Callable[[int], None], pace: float = 0.0
) -> Downloaded | DownloadFailed:
    """Fetch what is missing of an image into `part`, durably; `tell` hears how many bytes are there.

    `pace` is the most bytes a second, 0 for as fast as possible.
    """
    before = _size(part)
    try:
        if before != image.size or not part.exists():
            async with _client(door, tls) as http:
                failed = await _fetch(http, image, part, tell, pace)
            if failed is not None:
                return failed
        await asyncio.to_thread(_sync, part)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        logger.debug("download broke off: %r", error)
        return DownloadFailed("no_space" if full else "network", gained=_size(part) > before)
    size = _size(part)
    return Downloaded() if size == image.size else DownloadFailed("network", gained=size > before)


async def _fetch(
    http: httpx.AsyncClient, image: Image, part: Path, tell: Callable[[int], None], pace: float
) -> DownloadFailed | None:
    done = _size(part)
    if done > image.size:
        part.unlink()
        done = 0
    # the ETag is the digest: from another file nothing is taken over
    resume = {"Range": f"bytes={done}-", "If-Range": f'"{image.sha256}"'} if done else {}
    async with http.stream("GET", image.url, headers={"Accept-Encoding": "identity", **resume}) as response:
        if response.status_code in _EXPIRED:
            return DownloadFailed("expired")
        if response.status_code in _BUSY:
            return DownloadFailed("busy", wait=_retry_after(response))
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            return DownloadFailed("network")
        response.raise_for_status()
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            done = 0
        elif not continues:
            return DownloadFailed("network")
        return await _store(response, image, part, done, tell, pace)


async def _store(
    response: httpx.Response, image: Image, part: Path, done: int, tell: Callable[[int], None], pace: float
) -> DownloadFailed | None:
    with part.open("ab" if done else "wb", buffering=0) as file:  # into the page cache only: no need for a thread
        async for data in response.aiter_raw():  # as it comes: a chunk in the making would be lost
            done += len(data)
            if done > image.size:
                return DownloadFailed("too_large")
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            tell(done)
            if pace:
                await asyncio.sleep(len(data) / pace)
    return None


def _client(door: Door, tls: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=door.server, verify=tls, timeout=TIMEOUT_SECONDS)


def _size(part: Path) -> int:
    with suppress(FileNotFoundError):
        return part.stat().st_size
    return 0


def _sync(part: Path) -> None:
    with part.open("ab") as file:
        os.fsync(file.fileno())


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0
