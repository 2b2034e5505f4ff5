"""The usual mistakes, described once; operations refer to them."""

from http import HTTPStatus
from typing import Any, Final, NamedTuple

from devices.openapi import PROBLEM_TYPE, Refused

_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}


class Usual(NamedTuple):
    """A mistake that can be made at many doors."""

    name: str
    text: str
    refused: Refused
    headers: tuple[str, ...] = ()


USUAL: Final = {
    400: Usual(
        "Invalid", "The request has mistakes.",
        Refused("invalid", detail="$.limit: A valid integer is required.", path="$.limit"),
    ),
    401: Usual(
        "NotSignedIn", "Nobody is signed in, or the credential is not good.",
        Refused("not_authenticated", detail="Authentication credentials were not provided."), ("WWW-Authenticate",),
    ),
    403: Usual(
        "NotAllowed", "You may not do this, or your credential lacks the scope.",
        Refused("permission_denied", detail="You do not have permission to perform this action."),
    ),
    404: Usual(
        "NotFound", "There is no such thing, or it is not yours.",
        Refused("not_found", detail="There is no such thing, or it is not yours."),
    ),
    406: Usual(
        "NotAcceptable", "None of the types in `Accept` can be made.",
        Refused("not_acceptable", detail="Could not satisfy the request Accept header."),
    ),
    413: Usual("TooLarge", "The body is too large.", Refused("too_large", detail="The body is too large.")),
    415: Usual(
        "UnsupportedType", "The body is of a type that is not taken here.",
        Refused("unsupported_media_type", detail="Unsupported media type \"text/plain\" in request."),
    ),
    429: Usual(
        "TooMany", "Too many requests: come again after `Retry-After` seconds.",
        Refused("throttled", detail="Request was throttled. Expected available in 12 seconds."), ("Retry-After",),
    ),
    503: Usual(
        "NotNow", "The portal cannot answer this now: come again after `Retry-After` seconds.",
        Refused("try_again", detail="This cannot be answered now. Come again."), ("Retry-After",),
    ),
}  # fmt: skip
"""Status → what is said of it."""

_RATES: Final = {
    "RateLimit-Limit": "How many requests you may make in the time of this limit.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "Seconds until the next one is free again.",
}
RATE_HEADERS: Final = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATES}
"""In the head of what is counted."""

_HEADERS: Final = {
    "WWW-Authenticate": "What to sign in with.",
    "Retry-After": "Seconds.",
}


_SAID: Final = {
    409: "Its state does not allow this",
    410: "There is no file",
    412: "Somebody was faster",
    428: "Say what you looked at",
}


def described(status: int, refused: Refused, text: str = "", headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """A response object with an example for each code."""
    codes = ", ".join(f"`{code}`" for code in refused.codes)
    said = _SAID.get(status) or (USUAL[status].text.rstrip(".") if status in USUAL else HTTPStatus(status).phrase)
    found: dict[str, Any] = {
        "description": text or f"{said}: {codes}.",
        "content": {
            PROBLEM_TYPE: {
                "schema": _SCHEMA,
                "examples": {code: {"value": _example(status, code, refused)} for code in refused.codes},
            }
        },
    }
    if headers:
        found["headers"] = {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in headers}
    return found


def _example(status: int, code: str, refused: Refused) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refused.detail or code.replace("_", " ").capitalize() + ".",
        "error_code": code,
        "correlation_id": "5b0b0f7e-3a86-4f0e-9c4f-2f3f5d1f7a11",
    }
    return document | {"path": refused.path} if refused.path else document


def responses() -> dict[str, Any]:
    """For the description's `components`."""
    return {each.name: described(status, each.refused, each.text, each.headers) for status, each in USUAL.items()}


def headers() -> dict[str, Any]:
    """For the description's `components`."""
    return {name: {"description": text, "schema": {"type": "integer"}} for name, text in _RATES.items()}
