"""What the dry run of a campaign shows: whom it would reach, in stages of real numbers, and what stands against it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from devices.badges import badge
from firmware import planning
from firmware.admin.campaign_acts import possible
from firmware.admin.plain_fields import say_duration, say_percent
from firmware.models import Campaign, Signature
from firmware.states import CampaignState

_NAMED = 10
"""Tenants, groups and sites that are named of each kind."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage in real numbers; its part of the bar in thousandths."""

    percent: int
    size: int
    own: int
    soak: str
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature, and whether its key counts now."""

    row: Signature
    badge: str


def plan_context(request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
    """The page of a campaign that has not started."""
    now = timezone.now()
    planned = planning.dry_run(campaign, now)
    artifact = getattr(campaign.release, "artifact", None)
    acts = possible(request, campaign)
    return {
        "campaign": campaign,
        "badge": badge(campaign.state, campaign.get_state_display()),
        "planned": planned,
        "online": planned.targets - planned.offline,
        "duration": say_duration(_rounded(planned.duration)),
        "each": say_duration(_rounded(planned.each)),
        "stages": _stages(campaign, planned),
        "whom": whom(campaign),
        "rules": rules(campaign),
        "artifact": artifact,
        "signed": _signed(artifact, now),
        "digest": planning.digest(campaign),
        "acts": acts,
        "own": campaign.author_id == request.user.pk and campaign.state == CampaignState.PENDING_APPROVAL,
        "verdicts": [(verdict, "info") for verdict in campaign.verdicts.order_by("-pk")[:10]],
    }


def _stages(campaign: Campaign, planned: planning.Planned) -> list[PlannedStage]:
    soaks = {stage.percent: stage.soak for stage in campaign.stages.all()}
    found, before, total = [], 0, max(planned.targets, 1)
    for bound in planned.stages:
        x = before * 1000 // total
        width = bound.size * 1000 // total - x
        soak = say_duration(soaks.get(bound.percent, timedelta()))
        found.append(PlannedStage(bound.percent, bound.size, bound.size - before, soak, x, width))
        before = bound.size
    return found


def whom(campaign: Campaign) -> list[tuple[str, str]]:
    """The filters that are set, in words."""
    parts = [
        ("Tenants", _names(campaign.tenants)),
        ("Groups", _names(campaign.groups)),
        ("Sites", _names(campaign.sites)),
        ("Tags", ", ".join(campaign.tags)),
        ("Running", ", ".join(campaign.versions)),
        ("Ring", str(campaign.ring or "")),
    ]
    return [(name, told) for name, told in parts if told] or [("Devices", "all of the release's types")]


def _names(rows: Any) -> str:
    found = [str(row) for row in rows.all()[: _NAMED + 1]]
    return ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")


def rules(campaign: Campaign) -> list[tuple[str, str]]:
    """How fast it goes and when it stops, in words."""
    taken = "rolls back" if campaign.rolls_back else "pauses"
    return [
        ("Pace", f"{campaign.max_concurrent:,} at once, {campaign.offers_per_minute:,} offers a minute"),
        ("Maintenance windows", "respected" if campaign.use_windows else "ignored"),
        ("Reboot", f"after a random part of {say_duration(campaign.reboot_jitter)}"),
        (f"Failed over {say_percent(campaign.error_rate)} %", taken),
        (
            f"Gone over {say_percent(campaign.offline_rate)} %",
            f"{taken} (after {say_duration(campaign.offline_grace)})",
        ),
        (f"Refused over {say_percent(campaign.reject_rate)} %", "pauses"),
        (
            "Failing faster",
            f"than {campaign.burn_rate} × what an aim of {say_percent(campaign.success_target)} % allows: pauses",
        ),
        ("A success", f"after {say_duration(campaign.verify_time)} online with the new version"),
        (
            "Timeouts",
            f"{say_duration(campaign.install_timeout)} to install, {say_duration(campaign.stage_timeout)} a stage",
        ),
        ("Targets", "also those that come to match later" if campaign.continuous else "those that match at the start"),
    ]


def _signed(artifact: Any, now: datetime) -> list[Signed]:
    if artifact is None:
        return []
    rows = artifact.signatures.select_related("key").order_by("pk")
    return [Signed(row, _key_badge(row, now)) for row in rows]


def _key_badge(signature: Signature, now: datetime) -> str:
    key = signature.key
    if key.revoked_at:
        return badge("revoked")
    if now > key.not_after:
        return badge("expired")
    return badge("valid") if now >= key.not_before else badge("pending", "Not valid yet")


def _rounded(length: timedelta) -> timedelta:
    """An estimate is not told to the second."""
    minute = timedelta(minutes=1)
    return length if length < minute else round(length / minute) * minute
