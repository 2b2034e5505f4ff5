"""What API views of all rooms have in common: strict requests, pages, and what a change is conditional on."""

import hashlib
from collections.abc import Sequence
from typing import Any

from django.db import models
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from devices.errors import DomainError
from devices.pages import MOST, Pages
from devices.problems import handle, mistake

__all__ = ["Pages", "Strict", "Text", "check_match", "etag", "handle", "mistake", "page", "require_match"]


class Strict(serializers.Serializer[Any]):
    """Refuses what it does not know: a misspelt limit must not become the usual one."""

    strict = True
    """The API's description says so."""

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


def page(
    request: Request,
    rows: models.QuerySet[Any],
    ordering: str | Sequence[str],
    view: APIView,  # noqa: ARG001 (whose list it is; all have the same pages)
    most: int = MOST,
) -> tuple[list[Any], Pages]:
    """One page of rows, and what makes an answer of it."""
    pages = Pages(request, [ordering] if isinstance(ordering, str) else ordering, most)
    return pages.find(rows), pages


def etag(plan: Any, figures: Any) -> str:
    """A strong tag of both; what a change is conditional on is its first half, as figures move by themselves."""
    return f'"{_digest(plan)}.{_digest(figures)}"'


def check_match(request: Request, tag: str) -> None:
    """`If-Match`: has what people decide changed since the caller looked? Raises `DomainError` (412)."""
    asked = request.headers.get("If-Match", "*").strip()
    if asked != "*" and _planned(tag) not in {_planned(each) for each in asked.split(",")}:
        raise _Precondition("It has changed since you looked: look again.", "precondition_failed", 412)


def require_match(request: Request, text: str = "") -> None:
    """`If-Match` must be there, and name something. Raises `DomainError` (428)."""
    if request.headers.get("If-Match", "*").strip() in ("", "*"):
        text = text or "Say what you looked at: get it, read it, and send its ETag as If-Match."
        raise _Precondition(text, "precondition_required", 428)


class _Precondition(DomainError):
    """What a change was conditional on does not hold."""

    code = "precondition_failed"


def _planned(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"').partition(".")[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(JSONRenderer().render(value)).hexdigest()[:16]
