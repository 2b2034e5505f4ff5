"""The line of each request in the log: no secret that is part of an address gets there."""

import re

from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware

_SECRET = re.compile(r"^(.*?/(?:invitation|password/reset/key|confirm-email)/)[^/]+")


class RequestLog(RequestMiddleware):
    """django-structlog's, with less of the address.

    Links of invitations and of mails are as good as a password. What stands behind the question mark is left out: claim
    codes come there, and whole addresses as `next`.
    """

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path."""
        return f"{request.method} " + _SECRET.sub(r"\1…", request.path)
