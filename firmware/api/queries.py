"""What lists of this room are asked: which rows."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from firmware.models import Release
from firmware.states import CampaignState, UpdateState, Waiting


class CampaignsQuery(serializers.Serializer[Any]):
    """Which campaigns."""

    state = serializers.MultipleChoiceField(choices=list(CampaignState), required=False)
    release = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class UpdatesQuery(serializers.Serializer[Any]):
    """Which updates of a campaign."""

    state = serializers.MultipleChoiceField(choices=list(UpdateState), required=False)
    waiting = serializers.ChoiceField(choices=[each for each in Waiting if each], required=False)
    stage = serializers.IntegerField(min_value=1, max_value=100, required=False)
    device = serializers.CharField(max_length=63, required=False)
    needs_attention = serializers.BooleanField(required=False, allow_null=True, default=None)


def told(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The questions of this request. Raises ValidationError."""
    asked = kind(data=request.query_params)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


class ReleasesQuery(serializers.Serializer[Any]):
    """What narrows a list of releases down."""

    version = serializers.CharField(max_length=64, required=False)
    device_type = serializers.CharField(max_length=63, required=False)
    state = serializers.ChoiceField(choices=Release.State.choices, required=False)
