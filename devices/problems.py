"""Errors of the HTTP API as problem details (RFC 9457) with `error_code` and `correlation_id`."""

from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from devices.errors import DomainError


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: our errors and its own in one shape; anything else stays a 500 without details."""
    if isinstance(error, DomainError):
        return problem(error.status, error.code, error.detail)
    if isinstance(error, RecursionError):
        return problem(400, "parse_error", "The request is nested too deeply.")  # Python's JSON decoder says it so
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, ValidationError):
        answer = problem(response.status_code, "invalid", "The request has mistakes.", errors=response.data)
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


def problem(status: int, code: str, detail: str, **extra: Any) -> Response:
    """One problem document."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error_code": code,
        "correlation_id": str(structlog.contextvars.get_contextvars().get("request_id", "")),
        **extra,
    }
    return Response(body, status=status, content_type="application/problem+json")
