"""Campaigns and updates as documents: all of them for staff, their own part for customers."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from rest_framework.request import Request
from rest_framework.reverse import reverse

from firmware.api import words
from firmware.models import Campaign, Stage, Update, Verdict
from firmware.states import ACTIVE, FAILURES, UpdateState

# Name in a document → column of Campaign. Durations are seconds there.
PACE = {
    "max_concurrent": "max_concurrent",
    "offers_per_minute": "offers_per_minute",
    "use_windows": "use_windows",
    "reboot_jitter_seconds": "reboot_jitter",
    "download_attempts": "download_attempts",
}
GATES = {
    "rolls_back": "rolls_back",
    "error_rate_bp": "error_rate",
    "offline_rate_bp": "offline_rate",
    "reject_rate_bp": "reject_rate",
    "burn_rate": "burn_rate",
    "success_target_bp": "success_target",
    "min_executed": "min_executed",
    "offline_grace_seconds": "offline_grace",
    "verify_seconds": "verify_time",
    "install_timeout_seconds": "install_timeout",
    "stage_timeout_seconds": "stage_timeout",
}


def short(campaign: Campaign, request: Request) -> dict[str, Any]:
    """A campaign in the list of staff."""
    return {
        "id": campaign.pk,
        "url": reverse("campaign", [campaign.pk], request=request),
        "name": campaign.name,
        "release": campaign.release_id,
        "version": campaign.release.version if campaign.release else None,
        "rollback_of": campaign.rollback_of_id,
        "state": campaign.state,
        "pause_reason": campaign.pause_reason,
        "state_reason": campaign.state_reason,
        "author": campaign.author.get_username(),
        "approved_by": campaign.approved_by.get_username() if campaign.approved_by else None,
        "targets": campaign.targets,
        "created_at": campaign.created_at,
        "approved_at": campaign.approved_at,
        "starts_at": campaign.starts_at,
        "started_at": campaign.started_at,
        "paused_at": campaign.paused_at,
        "ends_at": campaign.ends_at,
        "ended_at": campaign.ended_at,
    }


def plan(campaign: Campaign, request: Request) -> dict[str, Any]:
    """All of a campaign but what moves by itself."""
    return short(campaign, request) | {
        "notes": campaign.notes,
        "filters": {
            "tenants": [tenant.slug for tenant in campaign.tenants.all()],
            "groups": [group.pk for group in campaign.groups.all()],
            "sites": [site.pk for site in campaign.sites.all()],
            "tags": campaign.tags,
            "versions": campaign.versions,
        },
        "ring": campaign.ring_id,
        "continuous": campaign.continuous,
        "spread_sites": campaign.spread_sites,
        "pace": {name: _plain(getattr(campaign, column)) for name, column in PACE.items()},
        "gates": {name: _plain(getattr(campaign, column)) for name, column in GATES.items()},
        "stages": [_stage(stage) for stage in campaign.stages.all()],
        "updates_url": reverse("campaign-updates", [campaign.pk], request=request),
        "verdicts_url": reverse("campaign-verdicts", [campaign.pk], request=request),
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "percent": stage.percent,
        "soak_seconds": _plain(stage.soak),
        "number": stage.number,
        "state": stage.state,
        "size": stage.size,
        "started_at": stage.started_at,
        "soak_from": stage.soak_from,
        "ended_at": stage.ended_at,
    }


def _plain(value: Any) -> Any:
    return int(value.total_seconds()) if isinstance(value, timedelta) else value


def verdict(row: Verdict) -> dict[str, Any]:
    """A decision with its numbers."""
    return {
        "id": row.pk,
        "at": row.at,
        "stage": row.stage,
        "gate": row.gate,
        "action": row.action,
        "text": row.text,
        "figures": row.figures,
        "user": row.user,
    }


def update(row: Update) -> dict[str, Any]:
    """One device's update, for staff."""
    return own_update(row) | {
        "update_id": row.update_id,
        "serial": row.serial,
        "tenant": row.device.tenant.slug,
        "stage": row.stage,
        "attempt": row.attempt,
        "detail": row.detail,
        "fallback": row.fallback.version if row.fallback else None,
        "installing_at": row.installing_at,
        "rebooting_at": row.rebooting_at,
        "needs_attention": row.needs_attention,
    }


def own_update(row: Update) -> dict[str, Any]:
    """The same for the device's owner: nothing of the campaign it is a part of."""
    return {
        "device_id": row.device.device_id,
        "version": row.release.version if row.release else None,
        "from_version": row.from_version,
        "state": row.state,
        "waiting": row.waiting,
        "reason_code": row.reason_code,
        "text": words.of(row.state, row.waiting, row.reason_code, row.progress, row.from_version).text,
        "progress": row.progress if row.state in ACTIVE else None,
        "offered_at": row.offered_at,
        "ended_at": row.ended_at,
        "changed_at": row.changed_at,
    }


def own(campaign: Campaign, counts: dict[str, int], request: Request) -> dict[str, Any]:
    """A campaign for a customer: what it brings, as its name is the staff's."""
    version = campaign.release.version if campaign.release else None
    return {
        "id": campaign.pk,
        "url": reverse("campaign", [campaign.pk], request=request),
        "name": f"Update to {version}" if version else "Back to an older version",
        "version": version,
        "state": campaign.state,
        "devices": counts,
        "updates_url": reverse("campaign-updates", [campaign.pk], request=request),
    }


def own_counts(campaigns: Iterable[Campaign], user: Any) -> dict[int, dict[str, int]]:
    """How the user's devices fare in these campaigns, in one query."""
    mine = Update.objects.visible_to(user).filter(campaign__in=[campaign.pk for campaign in campaigns])
    offered = Q(offered_at__isnull=False)
    rows: Any = mine.order_by().values("campaign").annotate(
        total=Count("pk"),
        waiting=Count("pk", Q(state__in=ACTIVE) & ~offered),
        updating=Count("pk", Q(state__in=ACTIVE) & offered),
        succeeded=Count("pk", Q(state=UpdateState.SUCCEEDED)),
        failed=Count("pk", Q(state__in=[state for state in FAILURES if state != UpdateState.ROLLED_BACK])),
        rolled_back=Count("pk", Q(state=UpdateState.ROLLED_BACK)),
    )  # fmt: skip
    nothing = dict.fromkeys(("total", "waiting", "updating", "succeeded", "failed", "rolled_back"), 0)
    found: dict[int, dict[str, int]] = defaultdict(lambda: dict(nothing))
    for row in rows:
        found[row["campaign"]] = {name: count for name, count in row.items() if name != "campaign"}
    return found
