"""Does the session that opened a socket go on? A socket outlives the request that judged it."""

from typing import Any

from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from devices.people.second_factor import lacks


def goes_on(session: Any, user: Any) -> bool:
    """Still this person's, asked of the database: it ends by signing out, from elsewhere too, or by a new password.

    Nor does it go on where a second factor is asked for by now that it has not shown.
    """
    request = HttpRequest()
    request.session = SessionStore(getattr(session, "session_key", None))
    return bool(get_user(request).pk == user.pk and not lacks(user, request.session))
