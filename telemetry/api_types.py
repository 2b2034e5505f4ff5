"""Device types for apps, with what their devices say."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from devices.api.base import UNCHANGED, View, documents, single, visible
from devices.models import DeviceType
from devices.openapi import ETAG, IF_NONE_MATCH, PAGES, Tags, answer, paged
from devices.people.scopes import DEVICES_READ
from devices.rest import page
from telemetry.models import Metric, Schema


class DeclaredMetricDocument(serializers.Serializer[Any]):
    """A value that devices of a type send."""

    name = serializers.CharField()
    label: Any = serializers.CharField()  # a name that DRF's class has, too, for something else
    unit = serializers.CharField(allow_blank=True)
    kind = serializers.ChoiceField(choices=Metric.Kind.choices)
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    required: Any = serializers.BooleanField()


class DeviceTypeDocument(serializers.Serializer[Any]):
    """A hardware model, and what it measures."""

    slug = serializers.CharField()
    url = serializers.URLField()
    name = serializers.CharField()
    silence_seconds = serializers.IntegerField(help_text="Silent for longer, a device counts as offline.")
    schema_version = serializers.IntegerField(allow_null=True, help_text="The newest; null: it measures nothing.")
    metrics = DeclaredMetricDocument(many=True)


_METRICS = tuple(DeclaredMetricDocument().fields)
_EXAMPLE = {
    "slug": "cold-room-sensor",
    "url": "https://portal.example.com/api/v1/device-types/cold-room-sensor",
    "name": "Cold room sensor",
    "silence_seconds": 180,
    "schema_version": 1,
    "metrics": [
        {
            "name": "temperature_c",
            "label": "Temperature",
            "unit": "°C",
            "kind": "number",
            "minimum": -60.0,
            "maximum": 80.0,
            "required": True,
        }
    ],
}


class DeviceTypesView(View):
    """`GET /api/v1/device-types`: those of my devices."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="list_device_types",
        summary="List device types",
        tags=[Tags.DEVICES],
        parameters=[*PAGES],
        responses={200: answer(paged(DeviceTypeDocument), {"next": None, "previous": None, "results": [_EXAMPLE]})},
    )
    def get(self, request: Request) -> Response:
        """A page of them, by name, each with the metrics of its newest schema."""
        found, pages = page(request, DeviceType.objects.visible_to(request.user), ("name", "id"), self)
        return pages.get_paginated_response(documents(DeviceTypeDocument, _shown(found, request)))


class DeviceTypeView(View):
    """`GET /api/v1/device-types/<device_type>`: one of them."""

    scopes = {"GET": DEVICES_READ}

    @extend_schema(
        operation_id="get_device_type",
        summary="One device type",
        tags=[Tags.DEVICES],
        parameters=[IF_NONE_MATCH, ETAG],
        responses={200: answer(DeviceTypeDocument, _EXAMPLE), 304: UNCHANGED},
    )
    def get(self, request: Request, device_type: str) -> HttpResponseBase:
        """With the metrics of its newest schema."""
        (body,) = _shown([visible(DeviceType.objects.all(), request, slug=device_type)], request)
        return single(request, body)


def _shown(rows: list[DeviceType], request: Request) -> list[dict[str, Any]]:
    schemas = Schema.objects.filter(device_type__in=rows).order_by("device_type_id", "-version")
    newest = {each.device_type_id: each for each in schemas.distinct("device_type_id").prefetch_related("metrics")}
    shown = []
    for row in rows:
        schema = newest.get(row.pk)
        metrics = sorted(schema.metrics.all(), key=lambda each: each.position) if schema else []
        shown.append(
            {
                "slug": row.slug,
                "url": reverse("api-device-type", [row.slug], request=request),
                "name": row.name,
                "silence_seconds": row.silence_seconds,
                "schema_version": schema.version if schema else None,
                "metrics": [{name: getattr(each, name) for name in _METRICS} for each in metrics],
            }
        )
    return shown
