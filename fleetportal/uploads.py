"""How long the body of a request to the portal may be: long ones are for those who are known, before a byte is kept."""

from io import BytesIO
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.utils import timezone

from firmware import upload_tokens
from firmware.errors import FirmwareError

ADMIN_BYTES = 64 * 1024 * 1024
"""Of any form in the admin, such as an import."""
_RELEASES = ("/api/v1/releases", "/admin/firmware/release/")
_BESIDE = 32 * 1024 * 1024
"""Of an upload beside its file: fields, signatures, a bill of materials."""


async def limit(scope: dict[str, Any]) -> int:
    """The most bytes of this request's body: DATA_UPLOAD_MAX_MEMORY_SIZE, or more where a known caller needs it.

    A body that is not told in advance (`Content-Length`) counts as short.
    """
    usual: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    told = dict(scope["headers"]).get(b"content-length", b"0")
    if not told.isdigit() or int(told) <= usual:
        return usual
    if scope["path"].startswith(_RELEASES):
        most = settings.MAX_ARTIFACT_BYTES + _BESIDE
    elif scope["path"].startswith("/admin/"):
        most = ADMIN_BYTES
    else:
        return usual
    async with ThreadSensitiveContext():
        return int(most) if await sync_to_async(_is_known)(scope) else usual


def _is_known(scope: dict[str, Any]) -> bool:
    """Does a good upload token come with it, or the session of staff? What they may do, the views decide."""
    request = ASGIRequest(scope, BytesIO())
    try:
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() == "bearer":
            return upload_tokens.of(token.strip(), timezone.now()) is not None
        request.session = SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
        user = get_user(request)
        return bool(user.is_active and user.is_staff)
    except FirmwareError:
        return False
    finally:
        if not connection.in_atomic_block:
            connection.close()
