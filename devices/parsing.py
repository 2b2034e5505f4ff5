"""JSON as the API takes it: bounded, and without text that no database keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.parsers import JSONParser

UNFIT = "This text has a character that cannot be kept: NUL, or half of a surrogate pair."


class TooLarge(APIException):
    """A body of more bytes than `DATA_UPLOAD_MAX_MEMORY_SIZE`."""

    status_code = 413
    default_code = "too_large"
    default_detail = "A body of JSON has at most 1 MiB."


class JsonParser(JSONParser):
    """DRF's reads however much comes, and leaves NUL and halves of surrogate pairs for the database to choke on."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """The document. Raises TooLarge (413), ParseError and ValidationError (400)."""
        request = (parser_context or {}).get("request")
        length = request.META.get("CONTENT_LENGTH") if request is not None else None
        if length and str(length).isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge
        told = super().parse(stream, media_type, dict(parser_context or {}))
        if (way := _unfit(told)) is not None:
            detail: Any = [UNFIT]
            for part in reversed(way):
                detail = {str(part): detail}
            raise ValidationError(detail)
        return told


def _unfit(told: Any) -> list[str | int] | None:
    """The way to a text that cannot be kept, step by step: documents may be nested deeply."""
    waiting: list[tuple[list[str | int], Any]] = [([], told)]
    while waiting:
        way, each = waiting.pop()
        if isinstance(each, dict):
            if not all(is_storable(name) for name in each):
                return way
            waiting += [([*way, name], inner) for name, inner in each.items() if isinstance(inner, (dict, list, str))]
        elif isinstance(each, list):
            waiting += [([*way, at], inner) for at, inner in enumerate(each) if isinstance(inner, (dict, list, str))]
        elif isinstance(each, str) and not is_storable(each):
            return way
    return None


def is_storable(text: str) -> bool:
    """Can a text column keep it?"""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
