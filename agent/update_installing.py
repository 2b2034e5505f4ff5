"""An update from INSTALLING on: written, tried, checked by the new version itself, kept or taken back. Pure."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from agent.update_messages import (
    Abort,
    Booted,
    CheckSelf,
    Effect,
    Heard,
    Offline,
    SelfChecked,
    SlotCommitted,
    SlotReverted,
    TrySlotSet,
    Written,
)
from agent.update_moves import Step, do, end, say
from agent.update_state import Job, Phase, Update, remembering
from devices.contract import ReportState


def written(state: Update, _: Written, __: float) -> Step:
    """It is in the slot: ask a last time, because from the reboot on there is no way back."""
    return do(state, Job.ASK)


def try_slot_set(state: Update, _: TrySlotSet, __: float) -> Step:
    """The bootloader knows."""
    state, report = say(remembering(state, phase=Phase.REBOOTING), ReportState.REBOOTING)
    return do(state, Job.REBOOT, report)


def booted(state: Update, message: Booted, now: float) -> Step:  # noqa: PLR0911 - one line a case
    """How far did it come?"""
    idle = replace(state, job=Job.NONE, busy=False, due=inf, failures=0)
    state = replace(idle, version=message.version, boot_id=message.boot_id, slot=message.slot)
    new = message.slot == state.memory.slot
    match state.phase:
        case Phase.OFFERED | Phase.FETCHED:
            return do(state, Job.LOOK)
        case Phase.FETCHING:
            return do(remembering(state, resumed=True), Job.FETCH)
        case Phase.INSTALLING if not new and message.failed != state.ticket:
            return do(state, Job.WRITE)
        case Phase.VERIFYING if new and not message.trial:  # it had passed; the power went just after that
            return end(state, ReportState.SUCCEEDED, "", now)
        case Phase.INSTALLING | Phase.REBOOTING | Phase.VERIFYING if new:
            state, report = say(remembering(state, phase=Phase.VERIFYING), ReportState.VERIFYING)
            return replace(state, job=Job.SELF_CHECK, due=now + state.build.timing.watchdog), (report,)
        case Phase.INSTALLING | Phase.REBOOTING | Phase.VERIFYING:
            return end(state, ReportState.ROLLED_BACK, state.memory.verdict or "boot_failed", now)
        case _:
            return state, ()


def heard(state: Update, _: Heard, __: float) -> Step:
    """The new version can speak."""
    if state.job is not Job.SELF_CHECK or state.busy:
        return state, ()
    return replace(state, busy=True), (CheckSelf(),)  # and the watchdog goes on


def offline(state: Update, _: Offline, __: float) -> Step:
    """It must stay connected for a while, without a break."""
    if state.job is not Job.SELF_CHECK or not state.busy:
        return state, ()
    return replace(state, busy=False), (Abort(),)


def self_checked(state: Update, message: SelfChecked, __: float) -> Step:
    """The new version has looked at itself."""
    return do(state, Job.COMMIT) if message.passed else give_up(state)


def give_up(state: Update, *before: Effect) -> Step:
    """The old version has to come back."""
    return do(remembering(state, verdict="self_check"), Job.REVERT, *before)


def committed(state: Update, _: SlotCommitted, now: float) -> Step:
    """The new version stays."""
    return end(state, ReportState.SUCCEEDED, "", now)


def reverted(state: Update, _: SlotReverted, __: float) -> Step:
    """The next boot is the old version's."""
    return do(state, Job.REBOOT)
