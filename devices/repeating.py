"""`Idempotency-Key` at the doors: a POST that makes something, safe to send again when its answer was lost."""

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from devices.errors import DomainError
from devices.openapi import Refused
from devices.people import repeats
from devices.people.access import Credential

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_KEPT_HEADERS = ("Location", "ETag")
_LONGEST = 255
KEY: Final = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": _LONGEST, "pattern": r"^[!-~]+$"},
    OpenApiParameter.HEADER,
    description="A word of your own, new for each thing you make (a UUID). Sent again within a day with the same "
    f"request, it gets the same answer, with `{REPLAYED}: true`, and nothing is made twice.",
    examples=[],
)
"""For `parameters=` of what the API's description says of such a POST."""
AGAIN: Final = {409: Refused("request_in_progress"), 422: Refused("idempotency_key_reused")}
"""For `responses=`, where nothing else is refused by these statuses."""

_Post = Callable[..., HttpResponseBase]


def once(post: _Post) -> _Post:
    """Decorates `post` of a view that makes something."""

    @wraps(post)
    def repeatable(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get(HEADER)
        if key is None:
            return post(view, request, *args, **kwargs)
        if not 0 < len(key) <= _LONGEST or not all("!" <= char <= "~" for char in key):
            told = f"{HEADER} has 1 to {_LONGEST} printable ASCII characters, and no blank."
            raise ValidationError({HEADER: [told]})
        fingerprint = _fingerprint(request)
        first: list[Response] = []

        def work() -> repeats.Done:
            try:
                answer: Any = post(view, request, *args, **kwargs)
            except (DomainError, APIException, Http404, PermissionDenied) as error:
                return repeats.Done(refused=error)
            first.append(answer)
            headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
            return repeats.Done(repeats.Answer(answer.status_code, JSONRenderer().render(answer.data), headers))

        before = repeats.once(request.user, key, fingerprint, timezone.now(), work)
        if before is None:
            return first[0]
        headers = before.headers | {REPLAYED: "true"}
        return HttpResponse(before.body, status=before.status, headers=headers, content_type="application/json")

    return repeatable


def _fingerprint(request: Request) -> str:
    """What makes it the same request: by whom, to where, and each byte of it."""
    auth = request.auth
    credential = f"{auth.kind}:{auth.name}:{auth.tenant_id}" if isinstance(auth, Credential) else "session"
    digest = hashlib.sha256()
    for part in (credential, request.method or "", request.get_full_path(), request.content_type or ""):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(request.body)
    return digest.hexdigest()
