"""What the API's description says of this room's doors: one decorator an operation."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema

from devices import contract
from devices.api.base import UNCHANGED
from devices.openapi import ETAG, IF_NONE_MATCH, LOCATION, PAGES, Refused, Tags, answer, body, file
from devices.repeating import AGAIN, KEY
from telemetry import answers

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
_DEVICE: Final = "d-7kq2m4x9t3vb"
_URL: Final = "https://portal.example.com/api/v1/exports/4"
_METRIC: Final = {"name": "temperature_c", "label": "Temperature", "unit": "°C", "kind": "number"}
_RANGE: Final = Refused("invalid", "too_much", detail="$.since: The range is empty.", path="$.since")
_SERIES: Final[dict[str, Any]] = {
    "source": "reading",
    "step_ms": 60_000,
    "since": 1_795_280_400_000,
    "until": 1_795_280_520_000,
    "metrics": [_METRIC],
    "times": [1_795_280_400_000, 1_795_280_460_000],
    "values": {"temperature_c": [4.5, None]},
    "lows": {"temperature_c": [4.1, None]},
    "highs": {"temperature_c": [4.8, None]},
    "lasts": {"temperature_c": [4.6, None]},
    "gaps": {"temperature_c": []},
    "left_out": [],
}
_COMPARED: Final = {name: {_DEVICE: each["temperature_c"]} for name, each in _SERIES.items() if isinstance(each, dict)}
_BAND: Final = {
    "metric": _METRIC,
    "times": [1_795_282_200_000],
    "lows": [3.5],
    "highs": [5.5],
    "days": 14,
    "outside": [],
    "reason": "",
    "step_ms": 60_000,
}
_EXPORT: Final[dict[str, Any]] = {
    "id": 4,
    "url": _URL,
    "file_url": f"{_URL}/file",
    "tenant": "north-dairies",
    "devices": [_DEVICE],
    "since": "2026-11-01T00:00:00Z",
    "until": "2026-11-08T00:00:00Z",
    "format": "csv",
    "resolution": "minute",
    "state": "done",
    "percent": 100,
    "rows": 10080,
    "size": 482113,
    "error": "",
    "requested_by": "ada",
    "created_at": "2026-11-21T17:00:00Z",
    "finished_at": "2026-11-21T17:00:09Z",
    "expires_at": "2026-11-28T17:00:09Z",
}
_WAITING: Final = _EXPORT | {
    "file_url": None,
    "state": "waiting",
    "percent": 0,
    "rows": 0,
    "size": 0,
    "finished_at": None,
    "expires_at": None,
}
_ENVELOPE: Final = {
    "type": "object",
    "description": "One message. A resend repeats `msg_id` and `ts` exactly.",
    "required": ["msg_id", "ts", "schema_version", "values"],
    "properties": {
        "msg_id": {"type": "string", "format": "uuid"},
        "ts": {
            "description": "RFC 3339 with offset, or milliseconds since 1970.",
            "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
        },
        "schema_version": {"type": "integer", "minimum": 1, "maximum": 32767},
        "values": {"type": "object", "additionalProperties": {}},
    },
}
_ENVELOPES: Final = {
    "oneOf": [_ENVELOPE, {"type": "array", "items": _ENVELOPE, "minItems": 1, "maxItems": contract.MAX_ENVELOPES}]
}
_SENT: Final = {
    "msg_id": "0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b",
    "ts": "2026-11-21T17:00:00.123Z",
    "schema_version": 1,
    "values": {"temperature_c": 4.5},
}


def series(query: Any) -> Any:
    """Metrics of one device."""
    return extend_schema(
        operation_id="get_series",
        tags=[Tags.READINGS],
        summary="Read series of a device",
        description="Averages, lows, highs and last values of its metrics, in buckets as wide as the range asks for. "
        "The range is `since` to `until`, or `seconds` back from `until` (now).",
        parameters=[query],
        responses={200: answer(answers.Series, _SERIES), 400: _RANGE},
    )


def comparison(query: Any) -> Any:
    """One metric of several devices."""
    return extend_schema(
        operation_id="compare_devices",
        tags=[Tags.READINGS],
        summary="Compare a metric of several devices",
        description="Up to ten devices on one time axis.",
        parameters=[query],
        responses={
            200: answer(answers.Comparison, _SERIES | _COMPARED | {"names": {_DEVICE: "Cooler 12"}}),
            400: _RANGE,
            404: Refused("not_found", detail="There is no such thing, or it is not yours."),
        },
    )


def band(query: Any) -> Any:
    """What was usual."""
    return extend_schema(
        operation_id="get_band",
        tags=[Tags.READINGS],
        summary="Read what is usual for a metric",
        description="The range in which it lay at this time of day during the last weeks, and when it left it.",
        parameters=[query],
        responses={200: answer(answers.Band, _BAND), 400: _RANGE},
    )


def comparable(query: Any) -> Any:
    """Whom to compare with."""
    return extend_schema(
        operation_id="list_comparable_devices",
        tags=[Tags.READINGS],
        summary="Find devices to compare with",
        description="Devices of the same organisation with the same metric, by name; at most 20.",
        parameters=[query],
        responses={200: answer(answers.Comparable, {"devices": [{"device": _DEVICE, "name": "Cooler 12"}]})},
    )


EXPORTS: Final = extend_schema(
    operation_id="list_exports",
    tags=[Tags.EXPORTS],
    summary="List exports",
    description="Newest first.",
    parameters=[*PAGES],
    responses={200: answer(answers.ExportPage, {"next": None, "previous": None, "results": [_EXPORT]})},
)


def export_asked(asked: Any) -> Any:
    """Have one made."""
    return extend_schema(
        operation_id="create_export",
        tags=[Tags.EXPORTS],
        summary="Have an export made",
        description="At most 200 devices of one organisation, and at most 400 days. Look at `url` until its `state` "
        "is done, then fetch `file_url`.",
        parameters=[KEY, LOCATION],
        request=body(
            asked,
            {"devices": [_DEVICE], "since": _EXPORT["since"], "until": _EXPORT["until"], "resolution": "minute"},
        ),
        responses={
            202: answer(answers.ExportDocument, _WAITING),
            400: Refused(
                "invalid", "device_unknown", "several_tenants", "range_empty", "range_too_long", "range_too_old",
                path="$.devices[0]",
            ),
            429: Refused("too_many_exports", "exports_full", "throttled"),
            **AGAIN,
        },
    )  # fmt: skip


EXPORT: Final = extend_schema(
    operation_id="get_export",
    tags=[Tags.EXPORTS],
    summary="Read an export",
    description="How far it is, and where its file is.",
    parameters=[IF_NONE_MATCH, ETAG],
    responses={200: answer(answers.ExportDocument, _EXPORT), 304: UNCHANGED},
)
EXPORT_REMOVED: Final = extend_schema(
    operation_id="delete_export",
    tags=[Tags.EXPORTS],
    summary="Remove an export",
    description="Ends it and removes its file, by whoever asked for it and by owners of rights; twice is like once.",
    responses={204: answer(None, text="It is gone.")},
)
EXPORT_FILE: Final = extend_schema(
    operation_id="get_export_file",
    tags=[Tags.EXPORTS],
    summary="Fetch the file of an export",
    description="CSV or Parquet, as it was asked for.",
    responses=file(CSV, PARQUET) | {410: Refused("export_gone", detail="It is not there yet, or no longer.")},
)
TELEMETRY: Final = extend_schema(
    operation_id="send_telemetry",
    tags=[Tags.JOINING],
    summary="Send readings",
    description="What a device would publish over MQTT: one message or an array of at most 500, JSON or CBOR, at most "
    "256 KiB. Only a 200 settles anything; come again with the rest.",
    parameters=[
        OpenApiParameter(
            "Content-Encoding", str, OpenApiParameter.HEADER, exclude=True, description="The payload tells by itself."
        )
    ],
    request={"application/json": body(_ENVELOPES, [_SENT]), "application/cbor": body(_ENVELOPES, [_SENT])},
    responses={
        200: answer(answers.Settled, {"stored": [_SENT["msg_id"]], "refused": []}),
        400: Refused("json", "schema", path="$.values"),
        401: Refused("credential_missing", "token_unknown", "token_expired", "token_revoked"),
        403: Refused("quarantined", "decommissioned"),
        413: Refused("too_large"),
        429: Refused("throttled", "flood"),
        503: Refused("try_again", "unstorable"),
    },
)
