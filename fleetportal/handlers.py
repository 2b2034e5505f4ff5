"""What is answered where no view does: problem details below /api/, pages for people elsewhere."""

import re
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import bad_request as page_bad_request
from django.views.defaults import page_not_found, permission_denied
from django.views.defaults import server_error as page_server_error

from devices import problems
from fleetportal import roles

_RIGHT = re.compile(r"(?P<app>[a-z]+)\.(?P<codename>[a-z]+_[a-z]+)")
_PAGE = re.compile(r"(?P<app>[a-z]+)_(?P<model>[a-z]+)_(?P<verb>add|change|delete|changelist|history)")
_VERBS = {"changelist": "view", "history": "view"}


def problem_not_found(request: HttpRequest, exception: Any = None) -> JsonResponse:  # noqa: ARG001 (as Django calls it)
    """Problem details (RFC 9457): for machines, which have no use for a page."""
    return _told(problems.problem(404, "not_found", "There is no such thing, or it is not yours."))


def bad_request(request: HttpRequest, exception: Any) -> HttpResponse:
    """A request that no view should see, e.g. with a host's name that is none of ours."""
    if request.path_info.startswith("/api/"):
        return _told(problems.problem(400, "bad_request", "The request cannot be understood."))
    return page_bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Our fault. What it was stands in the log, by the correlation id."""
    if request.path_info.startswith("/api/"):
        return _told(problems.problem(500, "server_error", "Something went wrong here. It was written down."))
    return page_server_error(request)


def _told(answer: Any) -> JsonResponse:
    return JsonResponse(answer.data, status=answer.status_code, content_type="application/problem+json")


def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    """By who asks: an app or a person."""
    if request.path_info.startswith("/api/"):
        return problem_not_found(request)
    return page_not_found(request, exception)


def forbidden(request: HttpRequest, exception: Any) -> HttpResponse:
    """For staff with the right that they lack, where it can be told."""
    request.lacking = _lacking(request, exception)  # type: ignore[attr-defined]  # read by templates/403.html
    return permission_denied(request, exception)


def _lacking(request: HttpRequest, exception: Any) -> str:
    """What the right is for, and who has it; empty where it is not known, or is not what is missing."""
    user = getattr(request, "user", None)
    if user is None or not user.is_staff:
        return ""
    told = _RIGHT.fullmatch(str(exception))
    page = _PAGE.fullmatch(getattr(request.resolver_match, "url_name", None) or "")
    if told:
        app, codename = told["app"], told["codename"]
    elif page:
        app, codename = page["app"], f"{_VERBS.get(page['verb'], page['verb'])}_{page['model']}"
    else:
        return ""
    if user.has_perm(f"{app}.{codename}"):
        return ""
    verb = next((verb for verbs in roles.VERBS.values() for verb in verbs if codename in verb.permissions), None)
    if verb is None:
        return f"“{codename.replace('_', ' ')}”"
    return f"“{verb.what}” ({', '.join(role for role in roles.ROLES if roles.may(role, verb))})"
