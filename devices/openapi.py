"""What the API's description says of all rooms: problems, pages, headers, tags. Doors use it with drf-spectacular."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, OpenApiResponse
from rest_framework import serializers

PROBLEM_TYPE: Final = "application/problem+json"


class Tags:
    """Chapters of the description, in the order of `TAGS`."""

    API: Final = "The API"
    DEVICES: Final = "Devices"
    READINGS: Final = "Readings"
    EXPORTS: Final = "Exports"
    CAMPAIGNS: Final = "Campaigns"
    RELEASES: Final = "Releases"
    TEAM: Final = "Team"
    TOKENS: Final = "Tokens"
    JOINING: Final = "For devices"


TAGS: Final = {
    Tags.API: "What there is, and this description itself.",
    Tags.DEVICES: "Devices of your organisation: where they are and how they are.",
    Tags.READINGS: "What devices measured, as many points as a screen can show.",
    Tags.EXPORTS: "Readings as files: asked for, watched, fetched.",
    Tags.CAMPAIGNS: "How updates roll out. Members see the part of their own devices; staff plan and steer.",
    Tags.RELEASES: "Firmware: builds, their files, bills of materials and the keys that sign them.",
    Tags.TEAM: "Who belongs to your organisation, and what they may do.",
    Tags.TOKENS: "Your API tokens: what programs bring along instead of your password.",
    Tags.JOINING: "Doors of devices themselves: enrolment, tokens, telemetry.",
}
"""Chapter → what it is about."""


class Problem(serializers.Serializer[Any]):
    """What went wrong, as RFC 9457 has it. Programs decide by `error_code`; people read `detail`."""

    type = serializers.CharField(help_text="Always about:blank: `error_code` says more.")
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField(help_text="The HTTP status, once more.")
    detail = serializers.CharField(help_text="For people.")
    error_code = serializers.CharField(help_text="A stable word.")
    correlation_id = serializers.CharField(help_text="Tell it when you ask for help: our logs know it.")
    path = serializers.CharField(required=False, help_text="Where it is: in the body (JSONPath), or a parameter.")
    errors: Any = serializers.JSONField(  # a name that DRF's class has, too, for something else
        required=False, help_text="All mistakes, by field."
    )


class Refused:
    """An answer to a mistake, for `responses=`: the codes that it may have, the usual one first."""

    def __init__(self, *codes: str, detail: str = "", path: str = "") -> None:
        self.codes, self.detail, self.path = codes, detail, path


class Page(serializers.Serializer[Any]):
    """A part of a list. Ask for the next one by the address in `next`, as it is; null: there is none."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


@cache
def paged(kind: type[serializers.Serializer[Any]]) -> type[Page]:
    """The document of a page of such things."""
    return type(f"{kind.__name__}Page", (Page,), {"__doc__": Page.__doc__, "results": kind(many=True)})


PAGES: Final = [
    OpenApiParameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, description="How many at most."
    ),
    OpenApiParameter("cursor", str, description="Where to go on; `next` of a page has it."),
]
"""Parameters of a list that comes in pages."""


def header(name: str, text: str, codes: Sequence[int] = (200,), *, always: bool = False) -> OpenApiParameter:
    """A header of answers with these statuses."""
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text, response=list(codes), required=always)


ETAG: Final = header("ETag", "Version of what you got: send it as `If-None-Match` or `If-Match`.")
IF_MATCH: Final = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="Only if it still is what this ETag names (412 otherwise)."
)
IF_MATCH_NEEDED: Final = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, required=True, description="The ETag of what you looked at (428 without)."
)
IF_NONE_MATCH: Final = OpenApiParameter(
    "If-None-Match", str, OpenApiParameter.HEADER, description="Only if it is no longer what this ETag names (304)."
)
LOCATION: Final = header("Location", "Where the new thing is.", (201, 202), always=True)


def answer(kind: Any, *examples: Any, text: str = "") -> OpenApiResponse:
    """An answer with this document, for `responses=`, with what it may look like."""
    return OpenApiResponse(kind, text, _examples(examples))


def body(kind: Any, *examples: Any) -> OpenApiRequest:
    """A body with this document, for `request=`, with what it may look like."""
    return OpenApiRequest(kind, examples=_examples(examples))


def _examples(values: Sequence[Any]) -> list[OpenApiExample]:
    """Where there are several, members see the first and staff the last."""
    names = ["member", "staff"] if len(values) == 2 else ["example"]
    return [OpenApiExample(name, value) for name, value in zip(names, values, strict=False)]


def file(*types: str) -> dict[tuple[int, str], Any]:
    """The answer of a door that sends a file of one of these types, for `responses=`."""
    return {(200, each): OpenApiTypes.BINARY for each in types}
