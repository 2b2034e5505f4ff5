"""What people do with campaigns, for apps: each act with its permission, its reason, and who did it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery.exceptions import OperationalError
from django.db import transaction
from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema_view
from redis.exceptions import RedisError
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from firmware import campaigns
from firmware.api import base, described
from firmware.api.campaigns import AUTHOR, document, locked, whole
from firmware.errors import FirmwareError
from firmware.models import Campaign
from firmware.states import CampaignState
from firmware.tasks import advance

APPROVER, OPERATOR = "add_verdict", "change_campaign"
_WRITTEN = (CampaignState.DRAFT, CampaignState.PENDING_APPROVAL)


class ScheduleRequest(base.OptionalReasonRequest):
    """When it starts by itself; null: somebody starts it."""

    starts_at = serializers.DateTimeField(allow_null=True)

    def validate_starts_at(self, value: datetime | None) -> datetime | None:
        """Ahead of now."""
        if value is not None and value <= timezone.now():
            raise ValidationError("Must lie ahead; to begin now, start it.")
        return value


@dataclass(frozen=True, slots=True)
class Act:
    """Something people do with a campaign."""

    text: str
    """What it is, for people."""
    needs: str
    do: Callable[[Campaign, Any, dict[str, Any], datetime], Any]
    told: type[serializers.Serializer[Any]] = base.ReasonRequest
    draft: str = ""
    """What it needs instead while nobody has approved the plan: what is only written is its writers' business."""
    of_what_was_seen: bool = False
    """`If-Match` must name the plan that the caller looked at."""

    def needed(self, state: str) -> str:
        """The permission to do it to a campaign in this state."""
        return self.draft if self.draft and state in _WRITTEN else self.needs


ACTS = {
    "submit": Act(
        "Ask for a campaign's approval",
        AUTHOR,
        lambda row, user, told, now: campaigns.submit(row, user, now, told["reason"]),
        base.OptionalReasonRequest,
    ),
    "approve": Act(
        "Approve a campaign",
        APPROVER,
        lambda row, user, told, now: campaigns.approve(row, user, now, told["reason"]),
        base.OptionalReasonRequest,
        of_what_was_seen=True,
    ),
    "reject": Act(
        "Send a campaign back to its author",
        APPROVER,
        lambda row, user, told, now: campaigns.reject(row, user, told["reason"], now),
    ),
    "schedule": Act(
        "Say when a campaign starts",
        OPERATOR,
        lambda row, user, told, now: campaigns.schedule(row, user, told["starts_at"], now, told["reason"]),
        ScheduleRequest,
    ),
    "start": Act(
        "Start a campaign",
        OPERATOR,
        lambda row, user, told, now: campaigns.start(row, user, now, told["reason"]),
        base.OptionalReasonRequest,
    ),
    "pause": Act(
        "Pause a campaign", OPERATOR, lambda row, user, told, now: campaigns.pause(row, user, told["reason"], now)
    ),
    "resume": Act(
        "Go on with a paused campaign",
        OPERATOR,
        lambda row, user, told, now: campaigns.resume(row, user, told["reason"], now),
    ),
    "abort": Act(
        "End a campaign before it is through",
        OPERATOR,
        lambda row, user, told, now: campaigns.abort(row, user, told["reason"], now),
        draft=AUTHOR,
    ),
    "roll-back": Act(
        "Take a campaign back",
        OPERATOR,
        lambda row, user, told, now: campaigns.roll_back(row, user, told["reason"], now),
    ),
    "retry-failed": Act(
        "Offer it again to devices that failed",
        OPERATOR,
        lambda row, user, told, now: campaigns.retry_failed(row, user, told["reason"], now),
    ),
}
"""What stands at the end of the address. All check the state themselves: done twice, the second one is a 409."""


class ActView(base.View):
    """`POST /api/v1/campaigns/<id>/<act>` with `{"reason": …}`; `<act>` is a word of `ACTS`.

    Answers with the campaign. 409 with an `error_code` where its state does not allow it; `If-Match` as for an edit.
    To approve, it must be there (428 precondition_required): approved is what the caller looked at, and nothing else.
    """

    def permission(self, request: Request) -> str:
        """Each act has its people; where its state has a say, the row is asked when it is locked."""
        if self.kwargs["act"] not in ACTS:
            raise Http404
        act = ACTS[self.kwargs["act"]]
        return act.draft if act.draft and request.user.has_perm(f"firmware.{act.draft}") else act.needs

    def post(self, request: Request, campaign: int, act: str) -> Response:
        """Do it."""
        if ACTS[act].of_what_was_seen:
            base.require_match(request)
        told = ACTS[act].told(data=request.data)
        told.is_valid(raise_exception=True)
        refused = None
        with transaction.atomic():
            row = locked(request, campaign)
            if not request.user.has_perm(f"firmware.{ACTS[act].needed(row.state)}"):
                raise PermissionDenied
            try:
                ACTS[act].do(row, request.user, told.validated_data, timezone.now())
            except FirmwareError as error:
                refused = error  # what the refusal itself changed stays: a plan that was tampered with is a draft again
            transaction.on_commit(lambda: _advance(campaign), robust=True)  # it is named where it fails: no partial
        if refused:
            raise refused
        return document(whole(campaign), request)


def operations() -> dict[str, type[ActView]]:
    """For the API's description: each act as an operation of its own."""
    found = {}
    for name, act in ACTS.items():
        example = {"starts_at": "2026-12-01T02:00:00Z"} if act.told is ScheduleRequest else {"reason": "As agreed."}
        told = described.act(name, act.text, act.told, example, act.of_what_was_seen)
        found[name] = extend_schema_view(post=told)(type("ActView", (ActView,), {"__doc__": ActView.__doc__}))
    return found


def _advance(campaign: int) -> None:
    """At once instead of at the next sweep, which is the truth while the queue is away."""
    with suppress(OperationalError, RedisError):
        advance.delay(campaign)
