"""The HTTP door of this room for pages and apps."""

from datetime import timedelta
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Device
from telemetry import charts


class RangeRequest(serializers.Serializer[Any]):
    """Which part of the past: a range back from now."""

    seconds = serializers.IntegerField(min_value=10, max_value=31 * 86400, default=900)


class SeriesView(APIView):
    """`GET /api/v1/devices/<device_id>/series?seconds=900`: averages, lows and highs, at most 600 points."""

    def get(self, request: Request, device_id: str) -> Response:
        """Times in epoch ms, values by metric name, `null` where a bucket lacks the metric."""
        asked = RangeRequest(data=request.query_params)
        asked.is_valid(raise_exception=True)
        device = get_object_or_404(Device.objects.visible_to(request.user), device_id=device_id)
        until = timezone.now() + timedelta(seconds=1)
        since = until - timedelta(seconds=asked.validated_data["seconds"])
        result = charts.series(device.pk, since, until)
        return Response(
            {
                "step_ms": int(result.step.total_seconds() * 1000),
                "times": result.times,
                "values": result.values,
                "lows": result.lows,
                "highs": result.highs,
            }
        )
