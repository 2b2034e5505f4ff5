"""What people may do with a campaign: the buttons, by its state and their rights."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from firmware import campaigns
from firmware.admin import blast
from firmware.models import Campaign
from firmware.states import CampaignState as C
from firmware.states import UpdateState as U

WRITE, DECIDE, RUN = "firmware.add_campaign", "firmware.add_verdict", "firmware.change_campaign"
"""Rights: to compose and submit; to approve and reject; to start, pause and end."""

RETRIED = (U.FAILED, U.TIMED_OUT, U.REJECTED, U.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody answered to the question before an act."""

    reason: str = ""
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One button."""

    name: str
    label: str
    permission: str
    states: frozenset[C]
    carry_out: Callable[[Campaign, Any, Said, datetime], str]
    """Calls the use case; what it says afterwards."""
    notes: Callable[[Campaign], list[str]] = lambda _: []
    """What it will do, in numbers."""
    confirmed: bool = True
    """Asked about before it is done."""
    reason: bool = True
    """A reason must be given."""
    asks_when: bool = False
    """A moment is asked for."""
    tone: str = ""
    """default: the way forward; danger: what hurts."""

    @property
    def verb(self) -> str:
        """The label without what announces a question."""
        return self.label.removesuffix("…")


def possible(request: HttpRequest, campaign: Campaign) -> list[Act]:
    """The buttons of a campaign for this person, now."""
    return [act for act in ACTS if allowed(request, act) and applies(act, campaign, request.user)]


def allowed(request: HttpRequest, act: Act) -> bool:
    """May this person do it to any campaign?"""
    return request.user.has_perm(act.permission)


def applies(act: Act, campaign: Campaign, user: Any) -> bool:
    """Does the state of the campaign allow it? Nobody decides about a plan of their own."""
    if campaign.state not in act.states:
        return False
    if act.permission == DECIDE and campaign.author_id == user.pk:
        return False
    if campaign.rollback_of_id is not None:
        return act.name in ("pause", "resume")
    if act.name == "roll_back" and campaign.started_at is None:
        return False  # a plan that was discarded reached nobody
    return act.name != "retry_failed" or campaign.updates.filter(state__in=RETRIED).exists()


def _submit(campaign: Campaign, user: Any, _: Said, now: datetime) -> str:
    campaigns.submit(campaign, user, now)
    return "Submitted. Somebody else has to approve it now."


def _approve(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.approve(campaign, user, now, said.reason)
    return "Approved. It can be started or scheduled now; an edit would void this approval."


def _reject(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.reject(campaign, user, said.reason, now)
    return "Rejected. It is a draft again."


def _start(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.start(campaign, user, now, said.reason)
    return "Started. This page moves by itself."


def _schedule(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.schedule(campaign, user, said.starts_at, now, said.reason)
    return (
        f"It starts at {said.starts_at:%Y-%m-%d %H:%M} UTC." if said.starts_at else "Somebody has to start it by hand."
    )


def _pause(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.pause(campaign, user, said.reason, now)
    return "Paused. Nothing more is offered until somebody resumes it."


def _resume(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.resume(campaign, user, said.reason, now)
    return "Resumed."


def _abort(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.abort(campaign, user, said.reason, now)
    return "Aborted: nothing more is offered, and what can be taken back is taken back."


def _discard(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.abort(campaign, user, said.reason, now)
    return "Discarded."


def _roll_back(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    campaigns.roll_back(campaign, user, said.reason, now)
    return "Rolling back: each device is led back to the version it last ran healthily."


def _retry(campaign: Campaign, user: Any, said: Said, now: datetime) -> str:
    queued = campaigns.retry_failed(campaign, user, said.reason, now)
    return f"{blast.people(queued)} queued again." if queued else "Nobody was queued again: they are on hold."


def _on(*states: C) -> frozenset[C]:
    return frozenset(states)


ACTS = [
    Act("submit", "Submit for approval", WRITE, _on(C.DRAFT), _submit, confirmed=False, reason=False, tone="default"),
    Act(
        "approve", "Approve…", DECIDE, _on(C.PENDING_APPROVAL), _approve, blast.of_approve, reason=False, tone="default"
    ),
    Act("reject", "Reject…", DECIDE, _on(C.PENDING_APPROVAL), _reject, blast.of_reject, tone="danger"),
    Act("start", "Start now…", RUN, _on(C.SCHEDULED), _start, blast.of_start, reason=False, tone="default"),
    Act("schedule", "Schedule…", RUN, _on(C.SCHEDULED), _schedule, blast.of_reach, reason=False, asks_when=True),
    Act("resume", "Resume…", RUN, _on(C.PAUSED), _resume, blast.of_resume, tone="default"),
    Act("pause", "Pause…", RUN, _on(C.RUNNING), _pause, blast.of_pause),
    Act("retry_failed", "Retry failed…", RUN, _on(C.RUNNING, C.PAUSED, C.COMPLETED), _retry, blast.of_retry),
    Act("abort", "Abort…", RUN, _on(C.SCHEDULED, C.RUNNING, C.PAUSED), _abort, blast.of_abort, tone="danger"),
    Act("discard", "Discard…", WRITE, _on(C.DRAFT, C.PENDING_APPROVAL), _discard, blast.of_abort, tone="danger"),
    Act(
        "roll_back", "Roll back…", RUN,
        _on(C.RUNNING, C.PAUSED, C.ABORTING, C.ABORTED, C.COMPLETED, C.ROLLBACK_INCOMPLETE),
        _roll_back, blast.of_roll_back, tone="danger",
    ),
]  # fmt: skip
"""In the order of the buttons."""
BY_NAME = {act.name: act for act in ACTS}
