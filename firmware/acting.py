"""How people's acts on campaigns are done: locked, checked against the state, with an event and a verdict of each."""

from datetime import datetime
from typing import Any

from django.db import transaction

from devices import evidence
from firmware import advancing, live, tallies
from firmware.errors import FirmwareError
from firmware.models import Campaign
from firmware.rollout import Action, Decision, Gate
from firmware.states import FOLLOWS, CampaignState

_DONE = {
    "submit": "Submitted",
    "approve": "Approved",
    "reject": "Rejected",
    "edit": "Edited",
    "void": "Made a draft again",
    "schedule": "Scheduled",
    "start": "Started",
    "pause": "Paused",
    "resume": "Resumed",
    "abort": "Aborted",
    "roll_back": "Rollback begun",
    "retry_failed": "Failed ones planned again",
}
"""Verb → what a verdict says was done."""
_BECOMES = {
    CampaignState.DRAFT: "made a draft again",
    CampaignState.PENDING_APPROVAL: "submitted",
    CampaignState.SCHEDULED: "approved",
    CampaignState.RUNNING: "started",
    CampaignState.PAUSED: "paused",
    CampaignState.ABORTING: "aborted",
    CampaignState.ABORTED: "aborted",
    CampaignState.ROLLING_BACK: "rolled back",
}
"""State that people lead to → what is done to a campaign by that."""


def lock(campaign: Campaign) -> Campaign:
    """The row as it is now, kept until the end of the transaction."""
    return Campaign.objects.select_for_update(of=("self",)).select_related("release", "ring").get(pk=campaign.pk)


def act(
    campaign: Campaign,
    row: Campaign,
    verb: str,
    state: CampaignState | None,
    user: Any,
    reason: str,
    now: datetime,
    figures: dict[str, Any] | None = None,
    /,
    **fields: Any,
) -> None:
    """Change a locked row (to `state`, where there is one), and leave an event and a verdict of it."""
    if state is None:
        advancing.change(row, **fields)
    else:
        check_may(row, state)
        if not advancing.move(row, state, **fields):
            raise wrong_state(row, _BECOMES[state])
    for name in ("state", *fields):
        setattr(campaign, name, getattr(row, name))
    who = str(user) if user is not None else ""
    text = " ".join([f"{_DONE[verb]} by {who or 'the portal'}.", reason]).strip()
    stage = tallies.open_stage(row)
    decision = Decision(Action.HOLD, Gate.OPERATOR, text, figures or {})
    advancing.record(row, decision, now, stage=stage.number if stage else None, user=who, action=verb)
    detail = {"campaign": row.pk, "name": row.name} | (figures or {})
    evidence.record(f"campaign.{verb}", user=user, reason=reason, detail=detail, at=now)
    transaction.on_commit(lambda: live.push([row.pk]), robust=True)


def check_may(row: Campaign, state: CampaignState) -> None:
    """Raises `FirmwareError` (wrong_state) where this state may not follow."""
    if state not in FOLLOWS[CampaignState(row.state)]:
        raise wrong_state(row, _BECOMES[state])


def wrong_state(row: Campaign, wish: str) -> FirmwareError:
    """What is said of an act that its state does not allow."""
    state = "a draft" if row.state == CampaignState.DRAFT else row.get_state_display().lower()
    return FirmwareError(f"This campaign is {state}: it cannot be {wish}.", "wrong_state")


def check_ready(problems: list[str]) -> None:
    """Raises `FirmwareError` (not_ready) with what is missing."""
    if problems:
        raise FirmwareError(" ".join(problems), "not_ready")
