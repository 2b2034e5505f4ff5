"""When a session was last used. Written at most every few minutes, so that no page costs a query for it."""

import time
from collections.abc import Callable
from threading import Lock

from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

Answer = Callable[[HttpRequest], HttpResponse]
EVERY_SECONDS = 300
"""So wrong the time may be that somebody reads."""
_MOST = 10_000
_lock = Lock()
_written: dict[str, float] = {}
"""Session key → when this process wrote it. In no cache: pages must not wait for one that is away."""


def middleware(get_response: Answer) -> Answer:
    """Keep it, whatever page or answer of the API is asked for by a session."""

    def seen(request: HttpRequest) -> HttpResponse:
        key = request.session.session_key
        if key and request.user.is_authenticated and is_due(key):
            UserSession.objects.filter(session_key=key).update(last_seen_at=timezone.now())
        return get_response(request)

    return seen


def is_due(key: str) -> bool:
    """Is it time to write it again? Then it counts as written."""
    now = time.monotonic()
    with _lock:
        if now - _written.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
            return False
        if len(_written) >= _MOST:
            _written.clear()  # all are written once more: better than memory that grows
        _written[key] = now
        return True
