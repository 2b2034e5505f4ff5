"""A limit for the bodies of requests: Django would write one of any length to disk before a view could refuse it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from devices import problems

Limit = Callable[[dict[str, Any]], Awaitable[int]]
"""From an ASGI scope to the most bytes its body may have."""


class _TooLong(Exception):
    """More came than the limit."""


class Limited:
    """Wraps an ASGI application; what is longer, or claims to be, gets 413 and the end of its connection."""

    def __init__(self, application: Any, limit: Limit) -> None:
        self._application, self._limit = application, limit

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve, or refuse."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = await self._limit(scope)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        taken = 0

        async def take() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise _TooLong
            return message

        try:
            if not told.isdigit() or int(told) > limit:
                raise _TooLong
            await self._application(scope, take, send)
        except _TooLong:
            kind, body = _refusal(scope["path"])
            headers = [(b"content-type", kind.encode()), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _refusal(path: str) -> tuple[str, bytes]:
    """Its type and text: programs get a problem document, as for whatever else the API refuses."""
    told = "The request is too long, or you may not send one of this length."
    if path.startswith("/api/"):
        return problems.KIND, json.dumps(problems.document(413, "too_large", told)).encode()
    return "text/plain", f"{told}\n".encode()
