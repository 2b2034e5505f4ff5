"""The index of the API, derived from its routes and their description: a new route cannot be forgotten."""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from fleetportal.openapi.document import document

_PREFIX = "api/v1/"


def templates(base: str) -> dict[str, str]:
    """Name → URL template (RFC 6570)."""
    paths = document()["paths"]
    found = {}
    for path, name in _routes(get_resolver().url_patterns, "/"):
        told = f"{re.sub('-list$', 's', name).replace('-', '_')}_url"
        found[told] = base.rstrip("/") + path + _query(paths.get(path, {}).get("get", {}))
    return found


def _routes(patterns: list[Any], before: str) -> Iterator[tuple[str, str]]:
    """Paths of the API as its description has them, with the names of their routes."""
    for each in patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver) and (route + _PREFIX).startswith(f"/{_PREFIX}"):
            yield from _routes(each.url_patterns, route)
        elif isinstance(each, URLPattern) and route.startswith(f"/{_PREFIX}") and route != f"/{_PREFIX}":
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route).replace("{pk}", "{id}"), each.name or ""


def _query(operation: dict[str, Any]) -> str:
    names = [
        each["name"] + ("*" if each["schema"].get("type") == "array" else "")
        for each in operation.get("parameters", ())
        if each["in"] == "query"
    ]
    return "{?" + ",".join(names) + "}" if names else ""
