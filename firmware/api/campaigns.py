"""Campaigns for apps: staff plan and steer them, customers see their own devices' part."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from devices.api.base import single
from devices.repeating import once
from devices.tenancy import sees_all
from firmware import planning
from firmware.api import base, described, drafts, queries, showing
from firmware.models import Campaign, Update

AUTHOR = "add_campaign"
"""Permission of those who write plans."""


def _rows() -> QuerySet[Campaign]:
    return Campaign.objects.select_related("release", "author", "approved_by")


def document(campaign: Campaign, request: Request, status: int = 200) -> Response:
    """A campaign as staff see it, with its tag."""
    plan, figures = showing.plan(campaign, request), _figures(campaign)
    headers = {"ETag": base.etag(plan, figures)}
    if status == 201:
        headers["Location"] = plan["url"]
    return Response(plan | figures, status=status, headers=headers)


def _figures(campaign: Campaign) -> dict[str, Any]:
    """What moves by itself."""
    return {"figures": campaign.figures, "advanced_at": campaign.advanced_at}


def whole(pk: int) -> Campaign:
    """With all that hangs on its plan."""
    return _rows().prefetch_related("tenants", "groups", "sites", "stages").get(pk=pk)


class CampaignsView(base.View):
    """`GET /api/v1/campaigns?state=running&release=7`: newest first, by cursor. Customers: where devices of theirs are.

    `POST` makes a draft (staff who may add campaigns): name and release, and what differs from what is usual.
    """

    customers = True

    def permission(self, request: Request) -> str:
        """Looking or making."""
        return AUTHOR if request.method == "POST" else self.needs

    @described.CAMPAIGNS
    def get(self, request: Request) -> Response:
        """A page of them."""
        asked = queries.told(queries.CampaignsQuery, request)
        rows = _rows().visible_to(request.user)  # type: ignore[attr-defined]
        if asked.get("state"):
            rows = rows.filter(state__in=asked["state"])
        if asked.get("release"):
            rows = rows.filter(release=asked["release"])
        found, pages = base.page(request, rows, "-id", self)
        if sees_all(request.user):
            return pages.get_paginated_response([showing.short(each, request) for each in found])
        counts = showing.own_counts(found, request.user)
        return pages.get_paginated_response([showing.own(each, counts[each.pk], request) for each in found])

    @described.CAMPAIGN_MADE
    @once
    def post(self, request: Request) -> Response:
        """A new draft."""
        told = drafts.DraftRequest(data=request.data)
        told.is_valid(raise_exception=True)
        campaign = drafts.make(told.validated_data, request.user)
        return document(whole(campaign.pk), request, 201)


class CampaignView(base.View):
    """`GET /api/v1/campaigns/<id>`: plan, stages, gates and the last count; customers get their devices' part of it.

    Its ETag has two halves, plan with state and figures. `PATCH` edits the plan of a campaign that was not started,
    which voids its approval; `If-Match` refuses (412) where plan or state changed since.
    """

    customers = True

    def permission(self, request: Request) -> str:
        """Looking or editing."""
        return AUTHOR if request.method == "PATCH" else self.needs

    @described.CAMPAIGN
    def get(self, request: Request, campaign: int) -> HttpResponseBase:
        """One of them."""
        row = get_object_or_404(_rows().visible_to(request.user), pk=campaign)  # type: ignore[attr-defined]
        if sees_all(request.user):
            row = whole(row.pk)
            return single(request, showing.plan(row, request), _figures(row))
        plan = showing.own(row, showing.own_counts([row], request.user)[row.pk], request)
        counts = {"devices": plan.pop("devices")}
        return single(request, plan, counts)

    @described.CAMPAIGN_EDITED
    def patch(self, request: Request, campaign: int) -> Response:
        """Another plan."""
        told = drafts.DraftRequest(data=request.data, partial=True)
        told.is_valid(raise_exception=True)
        with transaction.atomic():
            row = locked(request, campaign)
            drafts.change(row, told.validated_data, request.user, timezone.now())
        return document(whole(campaign), request)


def locked(request: Request, campaign: int) -> Campaign:
    """The campaign, kept from changing until the transaction ends. Raises Http404, `FirmwareError` (412)."""
    rows = Campaign.objects.visible_to(request.user).select_for_update(of=("self",))
    row = get_object_or_404(rows, pk=campaign)
    if "If-Match" in request.headers:
        base.check_match(request, base.etag(showing.plan(whole(campaign), request), None))
    return row


class UpdatesView(base.View):
    """`GET /api/v1/campaigns/<id>/updates?state=failed&stage=1`: its devices, by cursor; customers get their own."""

    customers = True

    @described.UPDATES
    def get(self, request: Request, campaign: int) -> Response:
        """A page of them, in the order of their registration."""
        asked = queries.told(queries.UpdatesQuery, request)
        whose = get_object_or_404(Campaign.objects.visible_to(request.user), pk=campaign)
        related = ("device__tenant", "release", "fallback")
        rows = Update.objects.visible_to(request.user).filter(campaign=whose).select_related(*related)
        filters = {"state__in": "state", "waiting": "waiting", "stage": "stage", "device__device_id": "device"}
        rows = rows.filter(**{lookup: asked[name] for lookup, name in filters.items() if asked.get(name)})
        if asked["needs_attention"] is not None:
            rows = rows.filter(needs_attention=asked["needs_attention"])
        found, pages = base.page(request, rows, "device_id", self)  # (campaign, device) is an index
        show = showing.update if sees_all(request.user) else showing.own_update
        return pages.get_paginated_response([show(each) for each in found])


class VerdictsView(base.View):
    """`GET /api/v1/campaigns/<id>/verdicts`: what was decided, by whom or by which gate, on which numbers. Staff."""

    @described.VERDICTS
    def get(self, request: Request, campaign: int) -> Response:
        """A page of them, newest first."""
        rows = get_object_or_404(Campaign.objects.visible_to(request.user), pk=campaign).verdicts.all()
        found, pages = base.page(request, rows, "-id", self)
        return pages.get_paginated_response([showing.verdict(each) for each in found])


class DryRunView(base.View):
    """`POST /api/v1/campaigns/<id>/dry-run`: what would happen if it started now. Changes nothing. Staff."""

    @described.DRY_RUN
    def post(self, request: Request, campaign: int) -> Response:
        """Numbers per stage, who is skipped and why, how long it will take, and what keeps it from starting."""
        row = get_object_or_404(Campaign.objects.visible_to(request.user), pk=campaign)
        planned = planning.dry_run(row, timezone.now())
        return Response(
            {
                "matching": planned.matching,
                "targets": planned.targets,
                "offline": planned.offline,
                "busy": planned.busy,
                "stages": [{"percent": bound.percent, "size": bound.size} for bound in planned.stages],
                "skipped": [
                    {
                        "reason_code": each.reason_code,
                        "text": each.text,
                        "count": each.count,
                        "examples": [device.device_id for device in each.examples],
                    }
                    for each in planned.skipped
                ],
                "duration_seconds": int(planned.duration.total_seconds()),
                "problems": planned.problems,
            }
        )
