"""What is done to the whole description: which routes are in it, and what all operations share."""

from typing import Any

from devices.openapi import TAGS
from firmware.api.acts import operations
from fleetportal.openapi import problems, security

_Endpoint = tuple[str, str, str, Any]
_ACT = "{act}"


def chosen(endpoints: list[_Endpoint]) -> list[_Endpoint]:
    """The API's routes; one with a word of a fixed list in its address is as many operations."""
    found: list[_Endpoint] = []
    for path, regex, method, view in endpoints:
        if not path.startswith("/api/v1/"):
            continue
        if _ACT in path:
            found += [
                (path.replace(_ACT, act), regex.replace("<slug:act>", act), method, each.as_view())
                for act, each in operations().items()
            ]
        else:
            found.append((path, regex, method, view))
    return found


def finished(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Shared answers, ways to sign in, chapters; and nothing of how it was made."""
    components = result["components"]
    components["responses"] = problems.responses()
    components["headers"] = problems.headers()
    components["securitySchemes"] = security.SCHEMES
    used = [tag for path in result["paths"].values() for operation in path.values() for tag in operation["tags"]]
    named = [name for name in TAGS if name in used] + [name for name in dict.fromkeys(used) if name not in TAGS]
    result["tags"] = [{"name": name, "description": TAGS.get(name, "")} for name in named]
    _tidy(result)
    return result


def _tidy(node: Any) -> None:
    """Names of enums are drf-spectacular's own business; what may be anything need not be told that it may be null."""
    if isinstance(node, dict):
        node.pop("x-spec-enum-id", None)
        if {} in node.get("oneOf", ()):
            del node["oneOf"]
        for each in node.values():
            _tidy(each)
    elif isinstance(node, list):
        for each in node:
            _tidy(each)
