"""The description as a page: chapters of operations and the documents that they take and give."""

import json
import shlex
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.text import slugify

from fleetportal.openapi import security
from fleetportal.openapi.document import document
from fleetportal.openapi.types import Type, told

_WAYS: Final = {
    security.TOKEN: "API token",
    security.APP: "app",
    security.SESSION: "session",
    security.DEVICE_CERTIFICATE: "client certificate",
    security.DEVICE_TOKEN: "device token",
    security.CLAIM: "claim",
    security.UPLOAD: "upload token",
}
_AUDIENCE: Final = {"staff": "Staff", "devices": "Devices", "everybody": "Everybody", "members": ""}
_PLACES: Final = {"path": "in the path", "query": "", "header": "header"}


class Field(NamedTuple):
    """A parameter, or a field of a document."""

    name: str
    type: Type
    required: bool
    text: str
    place: str = ""


class Example(NamedTuple):
    """What a body may look like."""

    name: str
    text: str


class Body(NamedTuple):
    """What is sent or answered."""

    type: Type
    media: str
    examples: list[Example]


class Answer(NamedTuple):
    """What may be answered."""

    status: str
    title: str
    text: str
    good: bool
    bodies: list[Body]
    headers: list[str]


class Operation(NamedTuple):
    """One door."""

    name: str
    method: str
    path: str
    summary: str
    text: str
    audience: str
    ways: str
    scopes: list[str]
    parameters: list[Field]
    body: Body | None
    curl: str
    answers: list[Answer]


class Chapter(NamedTuple):
    """Operations that belong together."""

    slug: str
    title: str
    text: str
    operations: list[Operation]


class Document(NamedTuple):
    """A document by name."""

    name: str
    text: str
    fields: list[Field]


@cache
def content() -> SafeString:
    """All of it, made once in a process."""
    first = f'curl -H "Authorization: Bearer $TOKEN" {settings.PORTAL_URL.rstrip("/")}/api/v1/devices'
    told_of = {"chapters": chapters(), "documents": documents(), "ways": ways(), "first": first}
    return render_to_string("api_docs_content.html", told_of)


def chapters() -> list[Chapter]:
    """In the order of their tags."""
    found: dict[str, list[Operation]] = {each["name"]: [] for each in document()["tags"]}
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append(_operation(path, method, operation))
    return [
        Chapter(slugify(each["name"]), each["name"], each["description"], found[each["name"]])
        for each in document()["tags"]
    ]


def documents() -> list[Document]:
    """By name."""
    return [
        Document(name, schema.get("description", ""), _fields(schema))
        for name, schema in sorted(document()["components"]["schemas"].items())
    ]


def ways() -> list[tuple[str, str]]:
    """How to say who one is."""
    return [(_WAYS[name], each["description"]) for name, each in security.SCHEMES.items()]


def _operation(path: str, method: str, operation: dict[str, Any]) -> Operation:
    names = [name for way in operation["security"] for name in way]
    scopes = dict.fromkeys(scope for way in operation["security"] for scopes in way.values() for scope in scopes)
    bodies = _bodies(operation.get("requestBody", {}))
    return Operation(
        operation["operationId"],
        method.upper(),
        path,
        operation.get("summary", operation["operationId"]),
        operation.get("description", ""),
        _AUDIENCE[operation["x-audience"]],
        ", ".join(_WAYS[name] for name in names),
        list(scopes),
        [_parameter(each) for each in operation.get("parameters", ())],
        bodies[0] if bodies else None,
        _curl(path, method.upper(), operation, names, bodies),
        [_answer(status, each) for status, each in operation["responses"].items()],
    )


def _parameter(told_of: dict[str, Any]) -> Field:
    place = _PLACES[told_of["in"]]
    text = told_of.get("description", "")
    return Field(told_of["name"], told(told_of["schema"]), told_of.get("required", False), text, place)


def _fields(schema: dict[str, Any]) -> list[Field]:
    required = schema.get("required", ())
    return [
        Field(name, told(each), name in required, each.get("description", ""))
        for name, each in schema.get("properties", {}).items()
    ]


def _bodies(of: dict[str, Any]) -> list[Body]:
    return [
        Body(
            told(media["schema"]),
            kind,
            [
                Example(each.get("summary", name), json.dumps(each["value"], indent=2, ensure_ascii=False))
                for name, each in media.get("examples", {}).items()
            ],
        )
        for kind, media in of.get("content", {}).items()
    ]


def _answer(status: str, answer: dict[str, Any]) -> Answer:
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    good = status < "400"
    headers = [name for name in answer.get("headers", {}) if not name.startswith("RateLimit-")]
    title = HTTPStatus(int(status)).phrase
    text = "" if answer["description"] == title else answer["description"]
    return Answer(status, title, text, good, _bodies(answer) if good else [], headers)


def _curl(path: str, method: str, operation: dict[str, Any], names: list[str], bodies: list[Body]) -> str:
    """A line that can be pasted into a shell."""
    device = bool({security.DEVICE_CERTIFICATE, security.CLAIM} & set(names))
    words = ["curl"] + (["-X", method] if method != "GET" else [])
    if device:
        words += ["--cert", "device.pem", "--key", "device.key"]
    elif names:
        words += ["-H", "Authorization: Bearer $TOKEN"]
    if bodies and bodies[0].examples:
        if bodies[0].media.startswith("multipart"):
            words += _parts(json.loads(bodies[0].examples[0].text))
        else:
            words += ["-H", f"Content-Type: {bodies[0].media}"]
            words += ["-d", json.dumps(json.loads(bodies[0].examples[0].text), ensure_ascii=False)]
    needed = [each for each in operation.get("parameters", ()) if each["in"] == "query" and each.get("required")]
    query = "&".join(f"{each['name']}=…" for each in needed)
    base = settings.DEVICE_HTTPS_URL if device else settings.PORTAL_URL
    words.append(f"{base.rstrip('/')}{path}" + (f"?{query}" if query else ""))
    # Double quotes where the shell shall put in the token.
    return " ".join(f'"{word}"' if "$TOKEN" in word else shlex.quote(word) for word in words)


def _parts(example: dict[str, Any]) -> list[str]:
    return [
        part
        for name, value in example.items()
        for each in (value if isinstance(value, list) else [value])
        for part in ("-F", f"{name}=@{name}.bin" if name == "file" else f"{name}={each}")
    ]
