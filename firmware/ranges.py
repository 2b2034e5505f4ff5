"""What a request for a file gets of it: all, a part, or neither (RFC 9110: ranges and preconditions). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

OK, PART, UNCHANGED, FAILED, UNSATISFIABLE = 200, 206, 304, 412, 416
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send: a status, and `length` bytes from `start`."""

    status: int
    start: int = 0
    length: int = 0


def reply(method: str, headers: Mapping[str, str], size: int, etag: str) -> Reply:
    """Judge a GET or HEAD. `headers` by their usual names, `etag` strong and in its quotes, `size` in bytes.

    One range is served; several, and what is no range, get the whole file, as a server is free to do.
    """
    if (wanted := headers.get("If-Match")) is not None and not _among(etag, wanted, weak=False):
        return Reply(FAILED)
    if (known := headers.get("If-None-Match")) is not None and _among(etag, known, weak=True):
        return Reply(UNCHANGED)
    asked = headers.get("Range")
    if asked is None or method != "GET" or headers.get("If-Range", etag).strip() != etag:
        return Reply(OK, 0, size)
    return _part(asked, size)


def _part(asked: str, size: int) -> Reply:
    found = _RANGE.fullmatch(asked.strip())
    first, last = (found[1], found[2]) if found else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        return Reply(OK, 0, size)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    return Reply(PART, start, end - start + 1) if start < size else Reply(UNSATISFIABLE)


def content_range(answer: Reply, size: int) -> str:
    """The header Content-Range of a part, or of none."""
    if answer.status == UNSATISFIABLE:
        return f"bytes */{size}"
    return f"bytes {answer.start}-{answer.start + answer.length - 1}/{size}"


def _among(etag: str, listed: str, *, weak: bool) -> bool:
    tags = [each.strip() for each in listed.split(",")]
    if weak:
        tags = [each.removeprefix("W/") for each in tags]
    return "*" in tags or etag in tags
