"""What this room answers with, as the API's description tells it."""

from typing import Any, Final

from rest_framework import serializers

from devices.openapi import paged
from telemetry.charting.resolutions import Source
from telemetry.models import Export, Metric

_Serializer = serializers.Serializer[Any]
_POINTS: Final = "One for each time; null: no value."


def _series(text: str) -> serializers.DictField:
    return serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField(allow_null=True)), help_text=f"{text} {_POINTS}"
    )


def _moments(text: str) -> serializers.ListField:
    return serializers.ListField(child=serializers.IntegerField(), help_text=text)


class MetricDocument(_Serializer):
    """What is measured."""

    name = serializers.CharField()
    label: Any = serializers.CharField(help_text="For people.")  # a name that DRF's class has for something else
    unit = serializers.CharField()
    kind = serializers.ChoiceField(choices=Metric.Kind.values)


class LeftOutDocument(_Serializer):
    """Values of another unit or kind that are not drawn."""

    metric = serializers.CharField()
    unit = serializers.CharField()


class Series(_Serializer):
    """Several series on one time axis. Times are milliseconds since 1970; names are those of metrics."""

    source: Any = serializers.ChoiceField(choices=list(Source), help_text="Which figures it was drawn from.")
    step_ms = serializers.IntegerField(help_text="Width of a bucket.")
    since = serializers.IntegerField()
    until = serializers.IntegerField()
    metrics = MetricDocument(many=True)
    times = _moments("Starts of buckets.")
    values = _series("Averages, by name.")
    lows = _series("Lowest values, by name.")
    highs = _series("Highest values, by name.")
    lasts = _series("Last values, by name.")
    gaps = serializers.DictField(
        child=serializers.ListField(child=serializers.ListField(child=serializers.IntegerField())),
        help_text="Stretches of silence, each from and until when, by name.",
    )
    left_out = LeftOutDocument(many=True)


class Comparison(Series):
    """One metric of several devices on one time axis; names are those of devices."""

    names = serializers.DictField(child=serializers.CharField(), help_text="By device id, for people.")


class Band(_Serializer):
    """What was usual at this time of day. Without it, `reason` says why."""

    metric = MetricDocument()
    times = _moments("Middles of hours.")
    lows = serializers.ListField(child=serializers.FloatField(allow_null=True))
    highs = serializers.ListField(child=serializers.FloatField(allow_null=True))
    days = serializers.IntegerField(help_text="Days with readings that it is told from.")
    outside = _moments("Starts of the chart's buckets whose average lies outside.")
    reason = serializers.CharField()
    step_ms = serializers.IntegerField()


class ComparableDevice(_Serializer):
    """A device with the same metric."""

    device = serializers.CharField()
    name = serializers.CharField()


class Comparable(_Serializer):
    """Devices to compare with."""

    devices = ComparableDevice(many=True)


class ExportDocument(_Serializer):
    """Readings as a file."""

    id = serializers.IntegerField()
    url = serializers.URLField()
    file_url = serializers.URLField(allow_null=True, help_text="Where its file is, while there is one.")
    tenant = serializers.CharField()
    devices = serializers.ListField(child=serializers.CharField())
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    format = serializers.ChoiceField(choices=Export.Format.values)
    resolution = serializers.ChoiceField(choices=Export.Resolution.values)
    state = serializers.ChoiceField(choices=Export.State.values)
    percent = serializers.IntegerField()
    rows = serializers.IntegerField()
    size = serializers.IntegerField(help_text="Bytes.")
    error = serializers.CharField(help_text="Why it failed, for people.")
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Until when its file is kept.")


ExportPage: Final = paged(ExportDocument)


class RefusedMessage(_Serializer):
    """A message that was settled by refusing it."""

    msg_id = serializers.UUIDField()
    reason = serializers.CharField()


class Settled(_Serializer):
    """Drop both kinds from your buffer."""

    stored = serializers.ListField(child=serializers.UUIDField())
    refused = RefusedMessage(many=True)
