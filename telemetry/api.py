"""The HTTP door of this room for pages and apps."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.models import Device
from devices.people.scopes import READINGS_READ
from devices.throttles import Throttle
from telemetry import described
from telemetry.charting import bands, charts, resolutions, vocabulary
from telemetry.charting.resolutions import MOST_POINTS, POINTS, Plan, RangeError, Source

COMPARED = 10
"""Devices on one chart."""
_OFFERED = 20
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_MILLISECONDS = (resolutions.milliseconds(_EARLIEST), resolutions.milliseconds(_LATEST) - 1)
_NAME = r"\A[a-z][a-z0-9_]{0,62}\Z"


@extend_schema_field(
    {
        "description": "RFC 3339 with a zone, or milliseconds since 1970; from 2000 to 2099.",
        "oneOf": [
            {"type": "string", "format": "date-time"},
            {"type": "integer", "minimum": _MILLISECONDS[0], "maximum": _MILLISECONDS[1]},
        ],
    }
)
class MomentField(serializers.DateTimeField):
    """A moment as RFC 3339 with its zone, or as epoch ms."""

    default_error_messages = {
        "invalid": "A moment is RFC 3339 with a zone (2026-11-21T17:00:00Z) or milliseconds since 1970.",
        "far": "Only moments from 2000 to 2099.",
    }

    def to_internal_value(self, value: Any) -> datetime:
        """Epoch ms if it is a number."""
        text = str(value).strip().replace(" ", "+")  # a `+` of the zone that was not escaped arrives as a blank
        if text.isascii() and text.isdigit() and len(text) <= 14:
            moment = resolutions.moment(int(text))
        else:
            moment = super().to_internal_value(text)
            if not any(sign in text[10:] for sign in "Zz+-"):
                self.fail("invalid")
        if not _EARLIEST <= moment < _LATEST:
            self.fail("far")
        return moment


class RangeRequest(serializers.Serializer[Any]):
    """Which part of the past, and how fine: `since` to `until`, or `seconds` back from `until` (now)."""

    seconds = serializers.IntegerField(min_value=10, max_value=int(resolutions.LONGEST.total_seconds()), required=False)
    since = MomentField(required=False)
    until = MomentField(required=False)
    points = serializers.IntegerField(min_value=10, max_value=MOST_POINTS, default=POINTS)
    resolution = serializers.ChoiceField(["auto", *Source], default="auto")

    def plan(self, now: datetime) -> Plan:
        """How it is drawn. Raises ValidationError with the part of the question that is wrong."""
        self.is_valid(raise_exception=True)
        asked = self.validated_data
        if "seconds" in asked and "since" in asked:
            raise serializers.ValidationError({"seconds": ["Say `since` or `seconds`, not both."]})
        until = asked.get("until", now + timedelta(seconds=1))
        since = asked.get("since", until - timedelta(seconds=asked.get("seconds", 900)))
        wanted = None if asked["resolution"] == "auto" else Source(asked["resolution"])
        try:
            return resolutions.plan(since, until, charts.kept(now), asked["points"], wanted)
        except RangeError as error:
            raise serializers.ValidationError({error.field: [error.detail]}) from error


class SeriesRequest(RangeRequest):
    """A range, and which metrics."""

    metric = serializers.ListField(child=serializers.RegexField(_NAME), max_length=vocabulary.MOST, required=False)


class MetricRequest(RangeRequest):
    """A range, and one metric."""

    metric = serializers.RegexField(_NAME)


class ComparisonRequest(MetricRequest):
    """A range, a metric, and which devices."""

    device = serializers.ListField(child=serializers.SlugField(max_length=63), min_length=1, max_length=COMPARED)


class SearchRequest(serializers.Serializer[Any]):
    """Devices by a part of the name or by id."""

    metric = serializers.RegexField(_NAME)
    q = serializers.CharField(max_length=200, default="", allow_blank=True)


class DrawingView(APIView):
    """Base of what reads a range of the past: so many a minute of one person, `too_much` (400) after ten seconds."""

    scopes = {"GET": READINGS_READ}
    throttle_classes = (Throttle,)
    throttle_scope = "charts"


class SeriesView(DrawingView):
    """`GET /api/v1/devices/<device_id>/series?seconds=900&metric=…`: averages, lows, highs and last values."""

    @described.series(SeriesRequest)
    def get(self, request: Request, device_id: str) -> Response:
        """Times in epoch ms, values by metric name, `null` where a bucket lacks the metric."""
        asked, now = SeriesRequest(data=request.query_params), timezone.now()
        plan = asked.plan(now)
        names = asked.validated_data.get("metric", [])
        found = charts.series(_device(request, device_id), plan, now, names)
        _check_known(names, found.metrics)
        return Response(_drawn(found))


class ComparisonView(DrawingView):
    """`GET /api/v1/series?device=a&device=b&metric=…`: one metric of up to ten devices on one time axis."""

    @described.comparison(ComparisonRequest)
    def get(self, request: Request) -> Response:
        """As of one device, but values by device id."""
        asked, now = ComparisonRequest(data=request.query_params), timezone.now()
        plan = asked.plan(now)
        name, wanted = asked.validated_data["metric"], list(dict.fromkeys(asked.validated_data["device"]))
        rows = Device.objects.visible_to(request.user).filter(device_id__in=wanted)
        devices = {device.device_id: device for device in rows}
        if len(devices) < len(wanted):
            raise Http404
        found = charts.compared([devices[each] for each in wanted], plan, now, name)
        _check_known([name], found.metrics)
        return Response(_drawn(found) | {"names": {each: str(devices[each]) for each in wanted}})


class BandView(DrawingView):
    """`GET /api/v1/devices/<device_id>/band?metric=…`: what was usual at this time of day, and when it was left."""

    @described.band(MetricRequest)
    def get(self, request: Request, device_id: str) -> Response:
        """Lows and highs at the middles of hours; `outside` are buckets of the chart with the same range and points."""
        asked, now = MetricRequest(data=request.query_params), timezone.now()
        plan = asked.plan(now)
        found = bands.band(_device(request, device_id), asked.validated_data["metric"], plan, now)
        if found is None:
            raise _unknown(asked.validated_data["metric"])
        answer = asdict(found) | {"metric": _metric(found.metric), "step_ms": _step(plan)}
        return Response(answer)


class ComparableView(APIView):
    """`GET /api/v1/devices/<device_id>/comparable?metric=…&q=…`: its tenant's other devices with the same metric."""

    scopes = {"GET": READINGS_READ}

    @described.comparable(SearchRequest)
    def get(self, request: Request, device_id: str) -> Response:
        """At most 20, by name."""
        asked = SearchRequest(data=request.query_params)
        asked.is_valid(raise_exception=True)
        device, text = _device(request, device_id), asked.validated_data["q"]
        types = vocabulary.types_with(charts.vocabulary_of(device, [asked.validated_data["metric"]]))
        rows = Device.objects.visible_to(request.user).filter(tenant=device.tenant_id, device_type__in=types)
        rows = rows.exclude(pk=device.pk).filter(latest__isnull=False)  # who never spoke has nothing to draw
        if text:
            rows = rows.filter(Q(name__icontains=text) | Q(device_id=text))
        found = rows.order_by("name", "device_id").values_list("device_id", "name")[:_OFFERED]
        return Response({"devices": [{"device": key, "name": name or key} for key, name in found]})


def _device(request: Request, device_id: str) -> Device:
    return get_object_or_404(Device.objects.visible_to(request.user), device_id=device_id)


def _unknown(name: str) -> serializers.ValidationError:
    return serializers.ValidationError({"metric": [f"No such metric: {name}."]})


def _check_known(names: list[str], metrics: list[vocabulary.Drawn]) -> None:
    known = {metric.name for metric in metrics}
    for name in names:
        if name not in known:
            raise _unknown(name)


def _step(plan: Plan) -> int:
    return plan.step // timedelta(milliseconds=1)


def _metric(metric: vocabulary.Drawn) -> dict[str, str]:
    return {"name": metric.name, "label": metric.label, "unit": metric.unit, "kind": metric.kind}


def _drawn(found: charts.Series) -> dict[str, Any]:
    return {
        "source": found.plan.source,
        "step_ms": _step(found.plan),
        "since": resolutions.milliseconds(found.plan.since),
        "until": resolutions.milliseconds(found.plan.until),
        "metrics": [_metric(metric) for metric in found.metrics],
        "times": found.times,
        "values": found.values,
        "lows": found.lows,
        "highs": found.highs,
        "lasts": found.lasts,
        "gaps": found.gaps,
        "left_out": [asdict(each) for each in found.left_out],
    }
