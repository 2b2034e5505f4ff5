"""What all views of this room have in common: whose door it is, where a mistake is, and pages by cursor."""

import hashlib
from typing import Any

from django.db import models
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices import problems
from firmware.errors import FirmwareError


class Allowed(BasePermission):
    """Staff with the permission that the view names for the verb; where `customers` is set, members who only look."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May they? Which rows they get is another question, and `visible_to` answers it."""
        user = request.user
        if not user.is_authenticated:
            return False
        if not user.is_staff:
            return bool(getattr(view, "customers", False)) and request.method in ("GET", "HEAD", "OPTIONS")
        permission = view.permission(request)  # type: ignore[attr-defined]
        return user.has_perm(f"firmware.{permission}")


class View(APIView):
    """A view of this room."""

    permission_classes = (Allowed,)
    customers = False
    """Do members see it, with their own rows in it?"""
    needs = "view_campaign"

    def permission(self, request: Request) -> str:
        """Which permission this request asks of staff."""
        return self.needs

    def get_exception_handler(self) -> Any:
        """As everywhere, and with the way to the mistake."""
        return _handle

    def get_authenticate_header(self, request: Request) -> str:
        """Nobody in particular is told to sign in (401): DRF has 403 for that where only sessions count."""
        return super().get_authenticate_header(request) or 'Session realm="portal"'


def _handle(error: Exception, context: dict[str, Any]) -> Response | None:
    answer = problems.handle(error, context)
    if answer is not None and isinstance(error, ValidationError):
        path, text = mistake(error.detail)
        answer.data |= {"detail": f"{path}: {text}", "path": path}
    return answer


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


class Strict(serializers.Serializer[Any]):
    """Refuses what it does not know: a misspelt limit must not become the usual one."""

    def to_internal_value(self, data: Any) -> Any:
        """As DRF, after a look at the names."""
        if isinstance(data, dict):
            unknown = [str(name) for name in data if name not in self.fields]
            if unknown:
                raise ValidationError({unknown[0][:100]: "There is no such field."})
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """Text, and nothing that could be written as text: DRF takes numbers, too."""

    def to_internal_value(self, data: Any) -> str:
        """As it is."""
        if not isinstance(data, str):
            self.fail("invalid")
        told: str = super().to_internal_value(data)
        return told


class ReasonRequest(Strict):
    """Why somebody does something."""

    reason = Text(max_length=200)


class OptionalReasonRequest(Strict):
    """Why, where the act speaks for itself."""

    reason = Text(max_length=200, required=False, default="", allow_blank=True)


class Pages(CursorPagination):
    """Pages of a list that grows at one end: the next one is asked for by what `next` says."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200


def page(request: Request, rows: models.QuerySet[Any], ordering: str, view: APIView) -> tuple[list[Any], "Pages"]:
    """One page of rows, and what makes an answer of it."""
    pages = Pages()
    pages.ordering = (ordering,)
    return list(pages.paginate_queryset(rows, request, view) or []), pages


def etag(plan: dict[str, Any], figures: Any) -> str:
    """A strong tag of both; what a change is conditional on is its first half, as figures move by themselves."""
    return f'"{_digest(plan)}.{_digest(figures)}"'


def check_match(request: Request, tag: str) -> None:
    """`If-Match`: has the plan or the state changed since the caller looked? Raises `FirmwareError` (412)."""
    asked = request.headers.get("If-Match", "*").strip()
    ours = tag.strip('"').partition(".")[0]
    if asked != "*" and ours not in {each.strip().strip('"').partition(".")[0] for each in asked.split(",")}:
        raise FirmwareError("It has changed since you looked: look again.", "precondition_failed", 412)


def require_match(request: Request) -> None:
    """`If-Match` must be there, and name something. Raises `FirmwareError` (428)."""
    if request.headers.get("If-Match", "*").strip() in ("", "*"):
        text = "Say what you looked at: get the campaign, read it, and send its ETag as If-Match."
        raise FirmwareError(text, "precondition_required", 428)


def _digest(value: Any) -> str:
    return hashlib.sha256(JSONRenderer().render(value)).hexdigest()[:16]
