"""What is looked at around every page: who must show a second factor, how somebody wants times, what Valkey lacks."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from redis import RedisError

from devices import problems
from devices.people import second_factor

log = structlog.get_logger(__name__)
Answer = Callable[[HttpRequest], HttpResponse]
PREFERENCES = "preferences"
"""Session key: what somebody prefers, so that no page asks the database."""
_SLOWED = ("/account/", "/identity/")
"""Below these django-allauth counts in Valkey, and does nothing that it cannot count."""
_RETRY_SECONDS = "10"
_ALWAYS = frozenset({"sign-out", "account_logout", "livez", "readyz", "metrics", "crl"})
_CONFIRM = frozenset({"mfa_reauthenticate", "mfa_reauthenticate_webauthn"})
_SET_UP = frozenset(
    {
        "mfa_index",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "account_reauthenticate",
        "account_email",
        "account_email_verification_sent",
        "account_confirm_email",
    }
)


class SecondFactor:
    """Whoever must show a second factor, and has not in this session, gets no further than to where they can."""

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Judged when it is known which page it is: see below."""
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """None: go on."""
        match = request.resolver_match
        name = match.url_name if match and not match.namespaces else None
        if name in _ALWAYS or second_factor.is_shown(request.session):
            return None
        if not second_factor.lacks(request.user, request.session):
            return None
        has = second_factor.kinds(request.user)
        if name in (_CONFIRM if has else _SET_UP):
            request.second_factor_missing = True  # type: ignore[attr-defined]  # the pages say why one is there
            return None
        if request.path_info.startswith("/api/"):
            body = problems.problem(403, "mfa_required", "Sign in with a second factor first.").data
            return JsonResponse(body, status=403, content_type="application/problem+json")
        if not has:
            return HttpResponseRedirect(reverse("mfa_index"))
        where = "mfa_reauthenticate_webauthn" if "webauthn" in has else "mfa_reauthenticate"
        wanted = request.get_full_path() if request.method in ("GET", "HEAD") else "/"
        return HttpResponseRedirect(f"{reverse(where)}?{urlencode({'next': wanted})}")


class TryAgain:
    """Where django-allauth needs Valkey and it is away: a page that says so, and no mistake of ours."""

    def __init__(self, get_response: Answer) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Judged when a view has failed: see below."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """503; None: it is something else."""
        if not isinstance(exception, RedisError) or not request.path_info.startswith(_SLOWED):
            return None
        match = request.resolver_match  # not the path: links of mails have a secret in theirs
        log.warning("accounts_without_cache", page=match.url_name if match else "")
        answer = render(request, "503.html", status=503)
        answer["Retry-After"] = _RETRY_SECONDS
        return answer


def preferences(get_response: Answer) -> Answer:
    """Server-written times in the zone that somebody chose; `request.theme` and `request.zone` for the page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        kept = request.session.get(PREFERENCES) or {}
        request.theme, request.zone = kept.get("theme", "system"), kept.get("timezone", "")  # type: ignore[attr-defined]
        with timezone.override(ZoneInfo(request.zone) if request.zone else None):  # type: ignore[attr-defined]
            return get_response(request)

    return middleware
