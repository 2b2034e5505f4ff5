"""What a device said, for apps: its newest values, and reading by reading."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import UNCHANGED, View, documents, question, single, visible
from devices.models import Device
from devices.openapi import ETAG, IF_NONE_MATCH, PAGES, Tags, answer, paged
from devices.people.scopes import READINGS_READ
from devices.rest import page
from telemetry.api import MomentField
from telemetry.charting import charts
from telemetry.models import Latest, Metric, Reading
from telemetry.models.reading import Flag

MOST: Final = 1000
"""Readings of a page."""
ORDERS: Final = {"newest": ("-ts", "-msg_id"), "oldest": ("ts", "msg_id")}
USUAL: Final = timedelta(days=1)


class ValueDocument(serializers.Serializer[Any]):
    """One value, with what it means."""

    name = serializers.CharField()
    label: Any = serializers.CharField()  # a name that DRF's class has, too, for something else
    unit = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=Metric.Kind.choices)
    value: Any = serializers.JSONField(allow_null=True, help_text="A number, true or false, a text; null: not told.")


class LatestDocument(serializers.Serializer[Any]):
    """The newest reading of a device; without values while it has not spoken."""

    device_id = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True, help_text="By the device's clock.")
    received_at = serializers.DateTimeField(allow_null=True)
    values = ValueDocument(many=True)


class ReadingDocument(serializers.Serializer[Any]):
    """One telemetry message, as it was stored."""

    message_id = serializers.UUIDField(help_text="The device's own.")
    at = serializers.DateTimeField(help_text="By the device's clock.")
    received_at = serializers.DateTimeField()
    clock_suspect = serializers.BooleanField(help_text="The device's clock was wrong.")
    values = serializers.DictField(child=serializers.JSONField(allow_null=True), help_text="By metric name.")


class ReadingsRequest(serializers.Serializer[Any]):
    """Which part of the past."""

    since = MomentField(required=False, help_text="RFC 3339 with a zone, or epoch ms; usually a day before `until`.")
    until = MomentField(required=False, help_text="Not included; now, if left out.")
    order = serializers.ChoiceField(choices=list(ORDERS), default="newest")


_LATEST = {
    "device_id": "d-7f3kq2m9xw",
    "at": "2026-11-21T09:30:00Z",
    "received_at": "2026-11-21T09:30:02Z",
    "values": [{"name": "temperature_c", "label": "Temperature", "unit": "°C", "kind": "number", "value": 4.2}],
}
_READING = {
    "message_id": "018f3c1e-9a57-7cc1-8b3e-5d9f6a3a8c11",
    "at": "2026-11-21T09:30:00Z",
    "received_at": "2026-11-21T09:30:02Z",
    "clock_suspect": False,
    "values": {"temperature_c": 4.2, "door_open": False},
}
_LIMIT = OpenApiParameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 50}, description="How many at most."
)


class LatestView(View):
    """`GET /api/v1/devices/<device_id>/latest`: its newest values."""

    scopes = {"GET": READINGS_READ}

    @extend_schema(
        operation_id="get_latest",
        summary="Newest values of a device",
        tags=[Tags.READINGS],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(LatestDocument, _LATEST), 304: UNCHANGED},
    )
    def get(self, request: Request, device_id: str) -> HttpResponseBase:
        """With labels and units. Who asks often sends the ETag: 304 while the device has said nothing new."""
        device = visible(Device.objects.all(), request, device_id=device_id)
        latest = Latest.objects.filter(device=device).first()
        body = {
            "device_id": device.device_id,
            "at": latest.ts if latest else None,
            "received_at": latest.received_at if latest else None,
            "values": charts.shown(latest) if latest else [],
        }
        return single(request, LatestDocument(body).data)


class ReadingsView(View):
    """`GET /api/v1/devices/<device_id>/readings?since=…&until=…`: reading by reading, by cursor."""

    scopes = {"GET": READINGS_READ}

    @extend_schema(
        operation_id="list_readings",
        summary="Readings of a device",
        tags=[Tags.READINGS],
        parameters=[ReadingsRequest, _LIMIT, *PAGES[1:]],
        responses={200: answer(paged(ReadingDocument), {"next": None, "previous": None, "results": [_READING]})},
    )
    def get(self, request: Request, device_id: str) -> Response:
        """Newest first, or `order=oldest`. What left the database for the archive comes by an export.

        For a chart, `series` is better: it has no more points than a screen.
        """
        device = visible(Device.objects.all(), request, device_id=device_id)
        asked, now = question(ReadingsRequest, request), timezone.now()
        until = asked.get("until", now + timedelta(seconds=1))
        since = asked.get("since", until - USUAL)
        if since >= until:
            raise ValidationError({"since": ["Must be before `until`."]})
        rows = Reading.objects.filter(device=device, ts__gte=max(since, charts.kept(now).readings), ts__lt=until)
        found, pages = page(request, rows, ORDERS[asked["order"]], self, MOST)
        return pages.get_paginated_response(documents(ReadingDocument, _shown(found)))


def _shown(rows: list[Reading]) -> Iterable[dict[str, Any]]:
    names: dict[int, list[tuple[str, str]]] = defaultdict(list)
    numbers = Metric.objects.filter(schema_id__in={row.schema_id for row in rows}).exclude(kind=Metric.Kind.TEXT)
    for schema, name, kind in numbers.order_by("position").values_list("schema_id", "name", "kind"):
        names[schema].append((name, kind))
    for row in rows:
        told = zip(names[row.schema_id], row.metrics, strict=False)  # an array may be older than the newest metrics
        yield {
            "message_id": row.msg_id,
            "at": row.ts,
            "received_at": row.received_at,
            "clock_suspect": bool(row.flags & Flag.CLOCK_SUSPECT),
            "values": {name: _value(kind, value) for (name, kind), value in told if value is not None}
            | (row.extra or {}),
        }


def _value(kind: str, value: float) -> bool | int | float:
    if kind == Metric.Kind.BOOLEAN:
        return bool(value)
    return int(value) if kind == Metric.Kind.INTEGER else value
