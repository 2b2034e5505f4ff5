"""JSON as the API takes it: bounded, UTF-8, each name once, and without text that no database keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from django.conf import settings
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType, ValidationError
from rest_framework.parsers import JSONParser

CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""What JSON may say it is written in. It is UTF-8 (RFC 8259), and some of Python's codecs take minutes for 1 MiB."""
UNFIT = "This text has a character that cannot be kept: NUL, or half of a surrogate pair."


class TooLarge(APIException):
    """A body of more bytes than `DATA_UPLOAD_MAX_MEMORY_SIZE`."""

    status_code = 413
    default_code = "too_large"
    default_detail = "A body of JSON has at most 1 MiB."


class _OddError(ValueError):
    """JSON that Python would take, and we do not."""


class JsonParser(JSONParser):
    """DRF's reads however much comes, in whatever charset, and of two values of a name it takes the last.

    It leaves NUL and halves of surrogate pairs for the database to choke on.
    """

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """The document. Raises UnsupportedMediaType (415), TooLarge (413), ParseError and ValidationError (400)."""
        charset = parse_header_parameters(media_type or "")[1].get("charset", "utf-8")
        if charset.lower() not in CHARSETS:
            raise UnsupportedMediaType(media_type or "")
        request = (parser_context or {}).get("request")
        length = request.META.get("CONTENT_LENGTH") if request is not None else None
        if length and str(length).isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise TooLarge
        told = _read(stream.read())
        if (way := _unfit(told)) is not None:
            detail: Any = [UNFIT]
            for part in reversed(way):
                detail = {str(part): detail}
            raise ValidationError(detail)
        return told


def _read(body: bytes) -> Any:
    try:
        return json.loads(body.decode(), object_pairs_hook=_named_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ParseError(f"The body is not UTF-8, from byte {error.start} on.") from error
    except json.JSONDecodeError as error:
        raise ParseError(f"The body is no JSON: {error}.") from error
    except _OddError as error:
        raise ParseError(str(error)) from error
    except ValueError as error:  # Python says how its limit could be changed
        raise ParseError("A number in the body has too many digits.") from error


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of a name one would be lost, and who looks at the body before us may take the other."""
    told = dict(pairs)
    if len(told) < len(pairs):
        left = dict(pairs)  # the first of a name takes it out
        twice = next(name for name, _ in pairs if left.pop(name, pairs) is pairs)
        raise _OddError(f"{twice[:100]!r} is told twice.")
    return told


def _no_number(text: str) -> NoReturn:
    raise _OddError(f"{text} is no number of JSON.")


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
