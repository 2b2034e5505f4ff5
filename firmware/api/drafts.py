"""Drafts as documents: what may be told of a campaign's plan, where the mistake is, and writing it down."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from devices import evidence
from devices.models import Group, Site, Tenant
from firmware import campaigns
from firmware.api.base import Strict, Text
from firmware.api.showing import GATES, PACE
from firmware.errors import FirmwareError
from firmware.models import Campaign, Release, Ring, Stage
from firmware.states import EDITABLE, CampaignState

_MONTH = 31 * 86400
_MANY = 500
_SMALL, _INTEGER, _LARGE = 2**15 - 1, 2**31 - 1, 2**63 - 1
_STAGES = 20
USUAL_STAGES = [{"percent": percent, "soak_seconds": 1800} for percent in (1, 5, 10, 25, 100)]


def _ids(**options: Any) -> serializers.ListField:
    child = serializers.IntegerField(min_value=1, max_value=_LARGE)
    return serializers.ListField(child=child, required=False, max_length=_MANY, **options)


def _words(longest: int) -> serializers.ListField:
    return serializers.ListField(child=Text(max_length=longest), required=False, max_length=_MANY)


def _seconds(least: int = 0) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=least, max_value=_MONTH, required=False)


def _number(least: int, most: int) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=least, max_value=most, required=False)


class FiltersRequest(Strict):
    """Whom it is for: all of the given."""

    tenants = _words(63)
    groups = _ids()
    sites = _ids()
    tags = _words(63)
    versions = _words(64)


class StageRequest(Strict):
    """A step: cumulative percent of the devices, and how long they are watched."""

    percent = serializers.IntegerField(min_value=1, max_value=100)
    soak_seconds = serializers.IntegerField(min_value=0, max_value=_MONTH, default=1800)


class PaceRequest(Strict):
    """How fast."""

    max_concurrent = _number(1, _INTEGER)
    offers_per_minute = _number(1, _INTEGER)
    use_windows = serializers.BooleanField(required=False)
    reboot_jitter_seconds = serializers.IntegerField(min_value=0, max_value=86400, required=False)
    download_attempts = _number(1, 100)


class GatesRequest(Strict):
    """When it stops by itself. `_bp`: basis points, 100 of them are one percent."""

    rolls_back = serializers.BooleanField(required=False)
    error_rate_bp = _number(0, 10_000)
    offline_rate_bp = _number(0, 10_000)
    reject_rate_bp = _number(0, 10_000)
    burn_rate = _number(1, _SMALL)
    success_target_bp = _number(0, 9_999)
    min_executed = _number(1, _SMALL)
    offline_grace_seconds = _seconds()
    verify_seconds = _seconds()
    install_timeout_seconds = _seconds(1)
    stage_timeout_seconds = _seconds(1)


class DraftRequest(Strict):
    """A campaign's plan. What is left out stays as it is, in a new one as is usual."""

    name = Text(max_length=200)
    release = serializers.IntegerField(min_value=1, max_value=_LARGE)
    notes = Text(max_length=10_000, required=False, allow_blank=True)
    filters = FiltersRequest(required=False)
    ring = serializers.IntegerField(min_value=1, max_value=_LARGE, required=False, allow_null=True)
    continuous = serializers.BooleanField(required=False)
    ends_at = serializers.DateTimeField(required=False, allow_null=True)
    spread_sites = serializers.BooleanField(required=False)
    stages = serializers.ListField(child=StageRequest(), required=False, min_length=1, max_length=_STAGES)
    pace = PaceRequest(required=False)
    gates = GatesRequest(required=False)

    def validate_release(self, value: int) -> Release:
        """One that is ready."""
        release = Release.objects.ready().filter(pk=value).first()
        if release is None:
            raise ValidationError("There is no such release, or it is archived.")
        return release

    def validate_ring(self, value: int | None) -> Ring | None:
        """One that exists."""
        ring = Ring.objects.filter(pk=value).first() if value else None
        if value and ring is None:
            raise ValidationError("There is no such ring.")
        return ring

    def validate_filters(self, value: dict[str, Any]) -> dict[str, Any]:
        """Tenants, groups and sites that exist."""
        found: dict[str, models.QuerySet[Any]] = {
            "tenants": Tenant.objects.filter(slug__in=value.get("tenants", ())),
            "groups": Group.objects.filter(pk__in=value.get("groups", ())),
            "sites": Site.objects.filter(pk__in=value.get("sites", ())),
        }
        for name, rows in found.items():
            if name in value:
                key = "slug" if name == "tenants" else "pk"
                _all_exist(name, value[name], rows.values_list(key, flat=True))
                value[name] = list(rows)
        return value

    def validate_stages(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Percents that grow, up to 100."""
        before = 0
        for number, stage in enumerate(value):
            # Of an edited plan, too, a stage is told whole.
            if "percent" not in stage:
                raise ValidationError({str(number): {"percent": "This field is required."}})
            if stage["percent"] <= before:
                raise ValidationError({str(number): {"percent": f"Must be more than the {before} % before it."}})
            before = stage["percent"]
        if before != 100:
            raise ValidationError({str(len(value) - 1): {"percent": "The last stage takes 100 % of the devices."}})
        return value


def _all_exist(name: str, asked: Sequence[Any], found: Iterable[Any]) -> None:
    known = set(found)
    for number, each in enumerate(asked):
        if each not in known:
            raise ValidationError({name: {str(number): "There is no such one."}})


@transaction.atomic
def make(told: dict[str, Any], user: Any) -> Campaign:
    """Write a new draft. `told`: what `DraftRequest` validated."""
    campaign = Campaign.objects.create(author=user, **_columns(told))
    _relate(campaign, {"stages": USUAL_STAGES} | told)
    detail = {"campaign": campaign.pk, "name": campaign.name}
    evidence.record("campaign.created", user=user, detail=detail)
    return campaign


@transaction.atomic
def change(campaign: Campaign, told: dict[str, Any], user: Any, now: datetime) -> None:
    """Edit a plan nothing was offered of; an approval is void by that. `campaign`: locked by the caller.

    Raises `FirmwareError` (not_editable).
    """
    if CampaignState(campaign.state) not in EDITABLE:
        raise FirmwareError(f"It is {campaign.state.replace('_', ' ')}: its plan is not edited.", "not_editable")
    columns = _columns(told)
    campaigns.edited(campaign, user, now)
    if columns:
        Campaign.objects.filter(pk=campaign.pk).update(**columns)
    _relate(campaign, told)
    detail = {"campaign": campaign.pk, "changed": sorted(told)}
    evidence.record("campaign.edited", user=user, detail=detail)


def _columns(told: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "release", "notes", "ring", "continuous", "ends_at", "spread_sites")
    columns = {name: told[name] for name in names if name in told}
    for part, table in (("pace", PACE), ("gates", GATES)):
        for name, value in told.get(part, {}).items():
            columns[table[name]] = timedelta(seconds=value) if name.endswith("_seconds") else value
    filters = told.get("filters", {})
    return columns | {name: filters[name] for name in ("tags", "versions") if name in filters}


def _relate(campaign: Campaign, told: dict[str, Any]) -> None:
    filters = told.get("filters", {})
    for name in ("tenants", "groups", "sites"):
        if name in filters:
            getattr(campaign, name).set(filters[name])
    if "stages" in told:
        campaign.stages.all().delete()
        Stage.objects.bulk_create(
            Stage(
                campaign=campaign,
                number=number,
                percent=stage["percent"],
                soak=timedelta(seconds=stage.get("soak_seconds", 1800)),
            )
            for number, stage in enumerate(told["stages"], 1)
        )
