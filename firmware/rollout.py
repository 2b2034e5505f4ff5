"""The engine: what becomes of a campaign now. Pure; docs/firmware.md tells people the same rules.

The rates are in gates.py, the stage's clock and evidence in standing.py.
`decide(plan, progress, now)` says what to do and on which numbers; `advancing.py` does it.

Evidence is cumulative: it counts all devices up to and with the open stage. Besides, a stage that still has devices of
its own to come needs one of its own that is verified (`Tally.own_succeeded`), or a whole stage that is switched off
would pass on the word of an earlier one. A stage of which nobody is left (all skipped, removed or superseded) is merged
into the next while nothing was executed yet; later the evidence so far stands for it. One whose devices gave up by
themselves is not: it has no evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from firmware import gates
from firmware.gates import BURN_WINDOW, Gate, Gauge, Plan, Tally, gauges
from firmware.standing import OpenStage, Standing, span
from firmware.states import CampaignState, PauseReason, StageState

__all__ = [
    "BURN_WINDOW",
    "PAUSE_REASONS",
    "Action",
    "Decision",
    "Gate",
    "Gauge",
    "OpenStage",
    "Plan",
    "Progress",
    "Tally",
    "decide",
    "gauges",
]


class Action(StrEnum):
    """What to do with a campaign."""

    HOLD = "hold"
    """Nothing changes, and nothing is offered."""
    OFFER = "offer"
    """Nothing changes; go on offering in the open stage."""
    OPEN = "open"
    """The open stage has passed, if there is one: open the next (the first one, too)."""
    SOAK = "soak"
    """The open stage has its evidence: watch it."""
    RESTART_SOAK = "restart_soak"
    """New failures while watching: begin to watch anew. Offers go on (devices that come back)."""
    RESUME_ROLLING = "resume_rolling"
    """More devices came (back) into the stage while it was watched than were verified: it rolls again."""
    ALERT = "alert"
    """The stage does not move: tell an operator, once. Offers go on."""
    PAUSE = "pause"
    ROLL_BACK = "roll_back"
    COMPLETE = "complete"
    """It ends. Absent devices are skipped; what was offered and is not being installed is taken back."""
    END_ABORT = "end_abort"
    """ABORTING, and nothing is under way any more."""


PAUSE_REASONS: dict[Gate, PauseReason] = {
    Gate.ERROR_RATE: PauseReason.ERROR_RATE,
    Gate.OFFLINE_RATE: PauseReason.OFFLINE_RATE,
    Gate.BURN_RATE: PauseReason.BURN_RATE,
    Gate.REJECT_RATE: PauseReason.REJECT_RATE,
    Gate.EVIDENCE: PauseReason.NO_EVIDENCE,
}
"""What a campaign that a gate pauses says of it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a campaign is."""

    state: CampaignState
    stopped: bool
    """The global stop is on."""
    stage: OpenStage | None
    """None: none was opened yet."""
    tally: Tally
    alerted: bool = False
    """Somebody was told that the open stage does not move, since its clock began."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, by which gate, why (for people), and the numbers: numerators, denominators, thresholds."""

    action: Action
    gate: Gate
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


_Step = tuple[Action, Gate, str]


def decide(plan: Plan, progress: Progress, now: datetime) -> Decision:
    """What becomes of the campaign now. Raises nothing."""
    stage, tally = progress.stage, progress.tally
    step = (
        _flagged(progress)
        or (_tripped(plan, tally) if plan.gated else None)
        or _out_of_time(plan, tally, now)
        or _nobody(plan, tally, stage)
    )
    if step is None and stage is not None:
        step = _moved(Standing(plan, stage, tally, now), alerted=progress.alerted)
    step = step or (Action.OPEN, Gate.ADVANCE, f"the first of {tally.targets} devices")
    return Decision(*step, _figures(plan, stage, tally, now))


def _flagged(progress: Progress) -> _Step | None:
    """The global stop, and what people have said."""
    active = progress.tally.active
    if progress.stopped:
        return Action.HOLD, Gate.STOP, "all updates are stopped"
    if progress.state is CampaignState.RUNNING:
        return None
    if progress.state is CampaignState.ABORTING and active <= 0:
        return Action.END_ABORT, Gate.OPERATOR, "aborted, and nothing is under way any more"
    texts = {
        CampaignState.PAUSED: "the campaign is paused",
        CampaignState.ABORTING: f"aborting: {active} still under way",
        CampaignState.ROLLING_BACK: f"rolling back: {active} still under way",
    }
    return Action.HOLD, Gate.OPERATOR, texts.get(progress.state, "the campaign is not under way")


def _tripped(plan: Plan, tally: Tally) -> _Step | None:
    for reading in gates.readings(plan, tally):
        if reading.trips:
            return _trip(plan, tally, reading)
    return None


def _trip(plan: Plan, tally: Tally, reading: gates.Reading) -> _Step:
    value, limit = gates.told(plan, reading)
    text = f"{reading.label} {value} is over {limit}"
    if reading.denominator < reading.needed and reading.is_certain:
        text += f", whatever becomes of the others of {reading.can_be}"
    takes_back = reading.gate in (Gate.ERROR_RATE, Gate.OFFLINE_RATE)
    if reading.gate is Gate.OFFLINE_RATE and gates.is_outage(plan, tally):
        takes_back = False
        text += f"; but {tally.control_gone} of {tally.control} others dropped off too: an outage, not the release"
    return (Action.ROLL_BACK if takes_back and plan.rolls_back else Action.PAUSE), reading.gate, text


def _out_of_time(plan: Plan, tally: Tally, now: datetime) -> _Step | None:
    """A continuous campaign ends at its time; what is being installed then ends first."""
    if not plan.continuous or plan.ends_at is None or now < plan.ends_at:
        return None
    overdue = now - plan.ends_at >= plan.stage_timeout and tally.installing <= 0
    if tally.active <= 0 or overdue:
        return Action.COMPLETE, Gate.ADVANCE, f"its time is over: {tally.succeeded} of {tally.targets} verified"
    return Action.HOLD, Gate.ADVANCE, f"its time is over: {tally.active} still under way"


def _nobody(plan: Plan, tally: Tally, stage: OpenStage | None) -> _Step | None:
    """Nobody is (left) to be updated, in the campaign or in the open stage."""
    if tally.targets <= 0 and not plan.continuous:
        return Action.COMPLETE, Gate.ADVANCE, "no device to update"
    if stage is None or tally.left > 0:
        return None
    if stage.last and (tally.stage_succeeded <= 0 or not plan.gated):
        text = f"nobody is left: {tally.succeeded} verified, {tally.failed} failed, {tally.rejected} refused"
        return (Action.OFFER if plan.continuous else Action.COMPLETE), Gate.ADVANCE, text
    if not stage.last and tally.executed <= 0 and tally.rejected <= 0 and tally.canceled_by_device <= 0:
        text = f"stage {stage.number} has no device left (skipped, removed or superseded): merged into the next"
        return Action.OPEN, Gate.ADVANCE, text
    return None


def _moved(look: Standing, *, alerted: bool) -> _Step:
    """Evidence, soak, advance."""
    if not look.plan.gated:
        is_over = look.is_late and look.tally.installing <= 0
        return (Action.COMPLETE if is_over else Action.OFFER), Gate.ADVANCE, look.text()
    if look.stage.state is StageState.SOAKING:
        return _soaking(look, alerted=alerted)
    if not look.has_evidence or not look.is_settled:
        return _unmoved(look, alerted=alerted)
    return Action.SOAK, Gate.EVIDENCE, f"{look.text()}: watched for {span(look.stage.soak)}"


def _unmoved(look: Standing, *, alerted: bool) -> _Step:
    """Not enough is known yet: go on; tell somebody at the timeout, and pause at twice the timeout.

    What only waits for maintenance windows is not paused, nor what was offered within the last timeout. With evidence
    the last stage is only long, as long as offers go out.
    """
    if not look.is_late or (look.has_evidence and (look.just_offered or look.plan.continuous)):
        return Action.OFFER, Gate.EVIDENCE, look.text()
    why = "without enough evidence" if not look.has_evidence else "and devices wait for their offer"
    text = f"{look.text()}: {span(look.age)} {why}"
    if not alerted:
        return Action.ALERT, Gate.EVIDENCE, text
    tally = look.tally
    only_windows = tally.stage_active <= 0 and 0 < tally.stage_due <= tally.stage_window
    if look.is_twice_late and not look.has_evidence and not only_windows and not look.just_offered:
        return Action.PAUSE, Gate.EVIDENCE, text
    return Action.OFFER, Gate.EVIDENCE, text


def _soaking(look: Standing, *, alerted: bool) -> _Step:
    """Watched. Failures restart the soak until the stage's timeout: it ends at most one soak after that."""
    stage, tally = look.stage, look.tally
    if stage.soak_from is None or (tally.failed > stage.soak_failures and not look.is_late):
        text = f"{tally.failed} failed, {stage.soak_failures} when the soak of stage {stage.number} began: watched anew"
        return Action.RESTART_SOAK, Gate.SOAK, text
    if not look.is_late and (look.to_come > tally.stage_succeeded or not look.has_evidence):
        return Action.RESUME_ROLLING, Gate.SOAK, f"{look.text()}: too many came back to go on watching"
    if not look.has_evidence:
        return _unmoved(look, alerted=alerted)
    watched = look.now - stage.soak_from
    if watched < stage.soak:
        # A moment, as what is left would be wrong a second later.
        text = f"stage {stage.number} is watched until {stage.soak_from + stage.soak:%Y-%m-%d %H:%M:%S} UTC"
        return Action.OFFER, Gate.SOAK, text
    if not look.is_settled:
        return _unmoved(look, alerted=alerted)
    return _passed(look)


def _passed(look: Standing) -> _Step:
    """Everything is known that will be: go on, if the rate allows it on however few."""
    plan, stage, tally = look.plan, look.stage, look.tally
    errors = gates.error_rate(plan, tally)
    if errors.is_over:
        return _trip(plan, tally, errors)
    if not stage.last:
        return Action.OPEN, Gate.ADVANCE, f"{look.text()}: passed"
    if plan.continuous:
        return Action.OFFER, Gate.ADVANCE, f"{look.text()}: open for devices that come later"
    away = tally.stage_away + tally.stage_absent
    offered = tally.stage_active + tally.stage_away
    if (away > 0 and not look.is_late) or tally.installing > 0 or (offered > 0 and look.just_offered):
        return Action.OFFER, Gate.ADVANCE, f"{look.text()}: waiting for them"
    return Action.COMPLETE, Gate.ADVANCE, f"{look.text()}: complete"


def _figures(plan: Plan, stage: OpenStage | None, tally: Tally, now: datetime) -> dict[str, Any]:
    """Every numerator, denominator and threshold; durations in seconds."""
    found: dict[str, Any] = {each.gate.value: each.figures() for each in gates.readings(plan, tally)}
    found["control"] = {
        "numerator": tally.control_gone,
        "denominator": tally.control,
        "threshold_bp": plan.offline_rate,
    }
    found["burn_rate"] |= {"burn_rate": plan.burn_rate, "success_target_bp": plan.success_target}
    return found | Standing(plan, stage, tally, now).figures() if stage else found
