"""Errors of the HTTP API as problem details (RFC 9457) with `error_code` and `correlation_id`."""

from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from devices.errors import DomainError

log = structlog.get_logger(__name__)
KIND = "application/problem+json"
RETRY_SECONDS = 10
"""When to come again after the database was away."""
WAITS = {"too_many_guesses": 3600, "invitation_limit": 3600, "exports_full": 3600, "too_many_exports": 10}
"""After how many seconds a limit of ours may let somebody through again, by its code."""
WAIT_SECONDS = 60
"""After which all others may."""


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our errors and its own in one shape; anything else stays a 500 without details."""
    if answer := _of_ours(error):
        return answer
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ValidationError):
        path, text = mistake(error.detail)
        told = {"path": path, "errors": _listed(response.data)}
        answer = problem(response.status_code, "invalid", f"{path}: {text}", **told)
    elif isinstance(error, APIException):
        answer = problem(response.status_code, str(error.get_codes()), str(error.detail))
    elif isinstance(error, Http404):
        answer = problem(404, "not_found", "There is no such thing, or it is not yours.")
    elif isinstance(error, PermissionDenied):
        answer = problem(403, "permission_denied", "You may not do this.")
    else:
        answer = problem(response.status_code, "error", "")
    for header in ("WWW-Authenticate", "Retry-After", "Allow"):
        if header in response.headers:
            answer[header] = response.headers[header]
    return answer


def _of_ours(error: Exception) -> Response | None:
    """What DRF knows nothing of."""
    if isinstance(error, DomainError):
        return refusal(error)
    if isinstance(error, RecursionError):
        return problem(400, "parse_error", "The request is nested too deeply.")  # Python's JSON decoder says it so
    if isinstance(error, RequestDataTooBig):
        return problem(413, "too_large", "The body is too large.")
    if isinstance(error, (SuspiciousOperation, UnreadablePostError)):
        return problem(400, "parse_error", "The request cannot be read.")
    if isinstance(error, (OperationalError, InterfaceError)):
        # The database is away, or somebody was in the way for too long: no fault of the caller, who comes again.
        log.error("api_unavailable", error=str(error).strip()[:200])
        answer = problem(503, "try_again", "This cannot be answered now. Come again.")
        answer["Retry-After"] = str(RETRY_SECONDS)
        return answer
    return None


def refusal(error: DomainError, **extra: Any) -> Response:
    """One of our errors as a problem; who asks too often is told when to come again."""
    answer = problem(error.status, error.code, error.detail, **extra)
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        answer["Retry-After"] = str(WAITS.get(error.code, WAIT_SECONDS))
    return answer


def _listed(detail: Any) -> Any:
    """Mistakes by field, those of one field always as a list."""
    if isinstance(detail, dict):
        return {name: _listed(inner) for name, inner in detail.items()}
    return detail if isinstance(detail, list) else [detail]


def mistake(detail: Any, path: str = "$") -> tuple[str, str]:
    """The first mistake in what DRF says of a document: a way to it (JSONPath) and what it is."""
    if isinstance(detail, dict) and detail:
        key, inner = next(iter(detail.items()))
        if key == "non_field_errors":
            return mistake(inner, path)
        return mistake(inner, f"{path}[{key}]" if str(key).isdigit() else f"{path}.{key}")
    if isinstance(detail, list) and detail:
        if all(isinstance(each, ErrorDetail) for each in detail):
            return path, str(detail[0])
        number = next(number for number, each in enumerate(detail) if each)
        return mistake(detail[number], f"{path}[{number}]")
    return path, str(detail)


def document(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """One problem document (RFC 9457)."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error_code": code,
        "correlation_id": str(structlog.contextvars.get_contextvars().get("request_id", "")),
        **extra,
    }


def problem(status: int, code: str, detail: str, **extra: Any) -> Response:
    """The answer that tells it."""
    return Response(document(status, code, detail, **extra), status=status, content_type=KIND)
