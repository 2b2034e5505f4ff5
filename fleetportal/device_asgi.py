"""HTTP for devices: the same portal with a timetable of its own, behind TLS that asks for client certificates."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetportal.settings")

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

settings.ROOT_URLCONF = "fleetportal.device_urls"
# Devices are never sent elsewhere: behind `--plain` TLS is the proxy's, and a redirect would come too late for a token.
settings.SECURE_SSL_REDIRECT = False
_django = get_asgi_application()


class _TooLong(Exception):
    """More came than the limit."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Django, behind a limit for bodies: it would write one of any length to disk before a view could refuse it."""
    if scope["type"] != "http":
        return
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
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
        await _django(scope, take, send)
    except _TooLong:
        headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"The request is too long.\n"})
