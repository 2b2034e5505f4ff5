"""Advancing a campaign: lock the row, tally once, decide, do, and keep the verdict with its numbers."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction

from devices import evidence, findings
from devices.auditing import CRITICAL, Found
from devices.errors import CertificateError
from devices.models import Finding
from firmware import live, nudges, offers, planning, rollbacks, rollout, scope, tallies, updates
from firmware.models import Campaign, Stage, Stop, Update, Verdict
from firmware.rollout import Action, Decision, Gate, OpenStage, Plan, Progress, Tally
from firmware.states import (
    FOLLOWS,
    UNDER_WAY,
    CampaignState,
    PauseReason,
    StageState,
    UpdateState,
    Waiting,
)

STUCK = "campaign_stuck"
"""Kind of the finding that a stage does not move."""
STOPPED = "campaign_stopped"
"""Kind of the finding that a campaign paused or rolled back by itself."""
NO_PERMITS = "permit_key_unavailable"
"""Kind of the finding that nobody can be led back: the permit key does not open where campaigns are advanced."""
INCOMPLETE = "rollback_incomplete"
"""Kind of the finding that some devices could not be led back."""
_STEPS = 40
"""Decisions in one step at most: each stage opens, is watched and passes, and there is an end to everything."""
_QUIET = {Action.HOLD, Action.OFFER}
"""Nothing changed: no verdict."""
_FINAL = {Action.HOLD, Action.OFFER, Action.ALERT, Action.PAUSE, Action.ROLL_BACK, Action.COMPLETE, Action.END_ABORT}
"""Nothing is to be decided after these; the others are asked again at once."""


def advance(campaign_pk: int, now: datetime) -> Decision | None:
    """One step. None when another worker has the row, or there is nothing to do. In a transaction of its own.

    Devices are told after the commit. Safe to repeat, at any time, by any number of workers, after a crash anywhere.
    """
    with transaction.atomic():
        campaign = (
            Campaign.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("release", "rollback_of__release")
            .filter(pk=campaign_pk, state__in=UNDER_WAY)
            .first()
        )
        if campaign is None:
            return None
        told = [update for update in updates.settle(campaign, now) if update.state != UpdateState.SUCCEEDED]
        decision, more = _step(campaign, now)
        told += more
        change(campaign, figures=campaign.figures, advanced_at=now)
        # Whoever is told is not yet: a crash between commit and message only delays (nudges.py).
        transaction.on_commit(lambda: nudges.tell(told), robust=True)
        pages = [pk for pk in (campaign_pk, campaign.rollback_of_id) if pk]  # its parent's page shows it, too
        transaction.on_commit(lambda: live.push(pages), robust=True)
    return decision


def tally(campaign: Campaign, now: datetime) -> Tally:
    """Count a campaign's devices, in one query (and one for the control group)."""
    return progress(campaign, now).tally


def progress(campaign: Campaign, now: datetime, state: CampaignState | None = None) -> Progress:
    """Where a campaign is, counted now; `state`: as if it were in that one."""
    stage = tallies.open_stage(campaign)
    last = stage is not None and not campaign.stages.filter(number__gt=stage.number).exists()
    stop = Stop.objects.order_by("-pk").first()
    return Progress(
        state=state or CampaignState(campaign.state),
        stopped=stop is not None and stop.ended_at is None,
        stage=_seen(campaign, stage, last, stop) if stage else None,
        tally=tallies.tally(campaign, stage, last, now),
        alerted=campaign.alerted_at is not None,
    )


def plan(campaign: Campaign) -> Plan:
    """What the engine must know of what was approved."""
    return Plan(
        error_rate=campaign.error_rate,
        offline_rate=campaign.offline_rate,
        reject_rate=campaign.reject_rate,
        rolls_back=campaign.rolls_back,
        burn_rate=campaign.burn_rate,
        success_target=campaign.success_target,
        min_executed=campaign.min_executed,
        stage_timeout=campaign.stage_timeout,
        continuous=campaign.continuous,
        ends_at=campaign.ends_at,
        gated=campaign.rollback_of_id is None,
    )


def _seen(campaign: Campaign, stage: Stage, last: bool, stop: Stop | None) -> OpenStage:
    assert stage.started_at is not None  # noqa: S101 (for mypy: it is open)
    halts = (stage.started_at, campaign.resumed_at, stop.ended_at if stop else None)
    return OpenStage(
        number=stage.number,
        size=stage.size,
        state=StageState(stage.state),
        soak=stage.soak,
        started_at=stage.started_at,
        soak_from=stage.soak_from,
        soak_failures=stage.soak_failures,
        last=last,
        clock_from=max(at for at in halts if at is not None),
    )


# --- one step -------------------------------------------------------------------------------------------------------


def _step(campaign: Campaign, now: datetime) -> tuple[Decision, list[Update]]:
    """What is decided last, and whom to tell."""
    if campaign.state == CampaignState.ROLLING_BACK:
        return _roll_back(campaign, now)
    if campaign.rollback_of is not None:
        return _lead_back(campaign, now)
    told: list[Update] = []
    if campaign.state == CampaignState.ABORTING:
        told += offers.withdraw(campaign, now, "aborted")
    if campaign.state == CampaignState.RUNNING and campaign.continuous and _is_new_minute(campaign.advanced_at, now):
        if scope.is_outgrown(campaign):
            return _outgrown(campaign, now), told
        planning.admit(campaign, now)
    for _ in range(_STEPS):
        seen = progress(campaign, now)
        decision = _guarded(rollout.decide(plan(campaign), seen, now), seen.tally)
        told += _apply(campaign, decision, seen, now)
        if decision.action in _FINAL:
            break
    if decision.action in (Action.OFFER, Action.ALERT):
        told += offers.offer(campaign, now)
    campaign.figures = _figures(seen.tally, decision, now)
    return decision, told


def _is_new_minute(before: datetime | None, now: datetime) -> bool:
    """Who came to match is asked once a minute: in a large fleet that costs as much as all the rest."""
    return before is None or before.replace(second=0, microsecond=0) != now.replace(second=0, microsecond=0)


def _outgrown(campaign: Campaign, now: datetime) -> Decision:
    """It would take in devices that nobody approved: somebody has to decide."""
    seen = progress(campaign, now)
    decision = Decision(Action.PAUSE, Gate.OPERATOR, scope.OUTGROWN)
    _apply(campaign, decision, seen, now)
    campaign.figures = _figures(seen.tally, decision, now)
    return decision


def _guarded(decision: Decision, counted: Tally) -> Decision:
    """No campaign ends above a device that is writing its flash: nobody would look at that one again."""
    if decision.action in (Action.COMPLETE, Action.END_ABORT) and counted.installing:
        return Decision(Action.HOLD, decision.gate, f"{counted.installing} still install.", decision.figures)
    return decision


def _apply(campaign: Campaign, decision: Decision, seen: Progress, now: datetime) -> list[Update]:
    """Carry a decision out, but for offers; returns whom to tell."""
    told: list[Update] = []
    match decision.action:
        case Action.OPEN:
            _pass_stage(campaign, seen, now)
            _open_next(campaign, seen.stage, now)
            is_well(campaign, STUCK)
        case Action.SOAK | Action.RESTART_SOAK:
            _on_open(campaign, state=StageState.SOAKING, soak_from=now, soak_failures=seen.tally.failed)
        case Action.RESUME_ROLLING:
            _on_open(campaign, state=StageState.ROLLING, soak_from=None)
        case Action.ALERT:
            _find(campaign, STUCK, decision.text)
            change(campaign, alerted_at=now)
        case Action.PAUSE:
            reason = rollout.PAUSE_REASONS.get(decision.gate, PauseReason.OPERATOR)
            _find(campaign, STOPPED, decision.text)
            move(campaign, CampaignState.PAUSED, pause_reason=reason, paused_at=now, state_reason=decision.text[:500])
        case Action.ROLL_BACK:
            told += begin_rollback(campaign, decision.text, now)
            _find(campaign, STOPPED, decision.text)
        case Action.COMPLETE:
            told += _leave_behind(campaign, now)
            _pass_stage(campaign, seen, now)
            move(campaign, CampaignState.COMPLETED, ended_at=now, state_reason=decision.text[:500])
            is_well(campaign, STUCK, STOPPED)
        case Action.END_ABORT:
            _close_stage(campaign, StageState.FAILED, now)
            move(campaign, CampaignState.ABORTED, ended_at=now)
            is_well(campaign, STUCK, STOPPED)
    if decision.action not in _QUIET:
        record(campaign, decision, now, stage=seen.stage.number if seen.stage else None)
    return told


def begin_rollback(campaign: Campaign, why: str, now: datetime) -> list[Update]:
    """ROLLING_BACK: take back what is not being installed, and open the child. The caller holds the row.

    Returns whom to tell after the commit.
    """
    told = offers.withdraw(campaign, now, "rolled_back")
    _close_stage(campaign, StageState.FAILED, now)
    move(campaign, CampaignState.ROLLING_BACK, state_reason=why[:500], pause_reason="", ended_at=None)
    rollbacks.begin(campaign, now)
    is_well(campaign, STUCK)
    return told


def _roll_back(parent: Campaign, now: datetime) -> tuple[Decision, list[Update]]:
    """A campaign that is being rolled back: its installations end, then it ends with its child."""
    told = offers.withdraw(parent, now, "rolled_back")
    child = rollbacks.begin(parent, now)
    counted = tally(parent, now)
    ended = rollbacks.outcome(parent, child, now)
    if ended is None:
        decision = Decision(Action.HOLD, Gate.ADVANCE, "Devices are led back.")
    else:
        decision = Decision(Action.COMPLETE, Gate.ADVANCE, ended.text, ended.figures)
        move(parent, ended.state, ended_at=now, state_reason=ended.text[:500])
        record(parent, decision, now)
        is_well(parent, STOPPED)  # what is left of it is said in the other one
        if ended.state == CampaignState.ROLLED_BACK:
            is_well(parent, INCOMPLETE)
        else:
            _find(parent, INCOMPLETE, ended.text)
    parent.figures = _figures(counted, decision, now)
    return decision, told


def _lead_back(child: Campaign, now: datetime) -> tuple[Decision, list[Update]]:
    """A rollback's own campaign: no gates but the stop and a pause, and it does not end before its parent."""
    rollbacks.admit(child, now)
    rollbacks.look_again(child)
    seen = progress(child, now)
    decision = rollout.decide(plan(child), seen, now)
    told: list[Update] = []
    if rollbacks.is_over(child, now):
        decision = Decision(Action.COMPLETE, Gate.ADVANCE, "Nothing is left to lead back.")
        told += _leave_behind(child, now)
        _pass_stage(child, seen, now)
        if child.state == CampaignState.PAUSED:
            move(child, CampaignState.RUNNING, pause_reason="")
        move(child, CampaignState.COMPLETED, ended_at=now, state_reason=decision.text)
        record(child, decision, now, stage=1)
        if child.rollback_of is not None and not rollbacks.is_incomplete(child):
            is_well(child.rollback_of, INCOMPLETE)
    elif decision.gate not in (Gate.STOP, Gate.OPERATOR):
        decision, more = _offer_back(child, now)
        told += more
    child.figures = _figures(seen.tally, decision, now)
    return decision, told


def _offer_back(child: Campaign, now: datetime) -> tuple[Decision, list[Update]]:
    """Offers with permits. Without the key there are none, and somebody is told; all else of the step is done."""
    try:
        with transaction.atomic():
            told = offers.offer(child, now)
    except CertificateError as error:
        evidence.find_all([Found(NO_PERMITS, error.detail, CRITICAL)])
        return Decision(Action.HOLD, Gate.ADVANCE, f"Nobody can be led back: {error.detail}"), []
    return Decision(Action.OFFER, Gate.ADVANCE, "Devices are led back."), told


# --- rows -----------------------------------------------------------------------------------------------------------


def subject(campaign: Campaign) -> str:
    """What a finding about it is about."""
    return f"#{campaign.pk} {campaign.name}"[:200]


def _find(campaign: Campaign, kind: str, text: str) -> None:
    evidence.find(kind, text, subject=subject(campaign), severity=Finding.Severity.CRITICAL)


def is_well(campaign: Campaign, *kinds: str) -> None:
    """What was found of these kinds is over, if there was anything."""
    findings.observe(kinds, [], subjects=[subject(campaign)])


def change(campaign: Campaign, **fields: Any) -> None:
    """Write these fields of a locked row, and of the object."""
    Campaign.objects.filter(pk=campaign.pk).update(**fields)
    for name, value in fields.items():
        setattr(campaign, name, value)


def move(campaign: Campaign, state: CampaignState, **fields: Any) -> bool:
    """Change the state of a locked row, where it may follow. False when it was moved meanwhile."""
    before = CampaignState(campaign.state)
    if state not in FOLLOWS[before]:
        return False
    if not Campaign.objects.filter(pk=campaign.pk, state=before).update(state=state, **fields):
        return False
    for name, value in ({"state": state} | fields).items():
        setattr(campaign, name, value)
    return True


def record(
    campaign: Campaign, decision: Decision, now: datetime, *, stage: int | None = None, user: str = "", action: str = ""
) -> Verdict:
    """Keep a verdict; `action`: what a person did, in a word."""
    return Verdict.objects.create(
        campaign=campaign,
        at=now,
        stage=stage,
        gate=decision.gate,
        action=action or decision.action,
        text=decision.text[:300],
        figures=decision.figures,
        user=user[:150],
    )


def _figures(counted: Tally, decision: Decision, now: datetime) -> dict[str, Any]:
    said = {"action": decision.action, "gate": decision.gate, "text": decision.text, "figures": decision.figures}
    plain = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(counted).items()
    }
    return {"at": now.isoformat(), "tally": plain, "decision": said}


def _on_open(campaign: Campaign, **fields: Any) -> None:
    Stage.objects.filter(campaign=campaign, state__in=tallies.OPEN).update(**fields)


def _close_stage(campaign: Campaign, state: StageState, now: datetime) -> None:
    _on_open(campaign, state=state, ended_at=now)


def _pass_stage(campaign: Campaign, seen: Progress, now: datetime) -> None:
    """The open stage has passed on its evidence. One whose devices were all skipped or removed was none."""
    if seen.tally.stage_succeeded:
        _close_stage(campaign, StageState.PASSED, now)
    elif seen.tally.failed or seen.tally.rejected:
        _close_stage(campaign, StageState.FAILED, now)
    else:
        _on_open(campaign, state=StageState.PENDING, started_at=None, soak_from=None)


def _open_next(campaign: Campaign, stage: OpenStage | None, now: datetime) -> None:
    later = campaign.stages.filter(state=StageState.PENDING, number__gt=stage.number if stage else 0)
    following = later.order_by("number").first()
    if following is not None:
        Stage.objects.filter(pk=following.pk, state=StageState.PENDING).update(state=StageState.ROLLING, started_at=now)
        change(campaign, alerted_at=None)


def _leave_behind(campaign: Campaign, now: datetime) -> list[Update]:
    """A campaign ends without those that stayed away. Returns whom to tell that it is over."""
    Update.objects.planned().filter(campaign=campaign).update(
        state=UpdateState.SKIPPED,
        waiting=Waiting.NO,
        reason_code="offline",
        detail="It stayed away until the campaign ended.",
        ended_at=now,
        changed_at=now,
        needs_attention=campaign.rollback_of_id is not None,
    )
    return offers.withdraw(campaign, now, "campaign_ended")
