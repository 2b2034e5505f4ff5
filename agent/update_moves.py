"""The moves an update is made of: begin, do a piece of work, say something, try again later, end. Pure."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random
from typing import cast

from agent.judgement import refusal
from agent.update_messages import (
    Abort,
    AskWanted,
    CheckImage,
    CommitSlot,
    Discard,
    Download,
    Effect,
    Look,
    Reboot,
    Report,
    RevertSlot,
    SetTrySlot,
    WriteSlot,
)
from agent.update_state import Job, Phase, Update, remembering
from devices.contract import Image, Offer, ReportState, UpdateReport

LONGEST_SECONDS = 3600.0
"""No wait is longer, whatever the portal asks for or the clock does."""

Step = tuple[Update, tuple[Effect, ...]]


def begin(state: Update, offer: Offer, now: float) -> Step:
    """Take an offer up, or refuse it at once."""
    state = remembering(
        state,
        phase=Phase.OFFERED,
        offer=offer,
        origin=state.version,
        slot="a" if state.slot == "b" else "b",
        said=state.memory.said[-1:],
        tries=0,
        resumed=False,
        waiting="",
        since=0.0,
        progress=-1,
        verdict="",
    )
    if reason := refusal(offer, state.version, state.build):
        return end(state, ReportState.REJECTED, reason, now)
    state, report = say(state, ReportState.NOTIFIED)
    return do(state, Job.LOOK, report)


def do(state: Update, job: Job, *before: Effect) -> Step:
    """Begin a job, after other effects."""
    failures = state.failures if job is state.job else 0
    return replace(state, job=job, busy=True, due=inf, failures=failures), (*before, _work(state, job))


def later(state: Update, attempt: int, wait: float, now: float) -> Update:
    """Plan the job again after `attempt` failures in a row, or after the seconds that somebody asks for (`wait`)."""
    dice = _dice(state, f"{state.job}/{attempt}")
    seconds = wait * dice.uniform(1, 1.2) if wait else state.build.timing.retry.half_jitter(attempt, dice)
    return replace(state, busy=False, due=now + min(seconds, LONGEST_SECONDS))


def say(state: Update, word: ReportState, reason: str = "", progress: int | None = None) -> tuple[Update, Report]:
    """A report with a number of its own; it takes the place of earlier ones of the update."""
    offer, seq = offer_of(state), state.memory.seq + 1
    report = UpdateReport(
        offer.update_id, offer.attempt, seq, word, state.version, state.boot_id, progress=progress, reason_code=reason
    )
    before = [one for one in state.memory.said if (one.update_id, one.attempt) != (offer.update_id, offer.attempt)]
    return remembering(state, seq=seq, said=(*before[-1:], report)), Report(report)


def end(state: Update, word: ReportState, reason: str, now: float) -> Step:
    """Say how it ended, and begin what came meanwhile."""
    busy: tuple[Effect, ...] = (Abort(),) if state.busy else ()
    state, report = say(state, word, reason)
    following = state.memory.next
    state = remembering(state, phase=Phase.DONE, waiting="", since=0.0, next=following[1:])
    state, effects = replace(state, job=Job.NONE, busy=False, due=inf, failures=0), (*busy, report, Discard())
    if not following:
        return state, effects
    state, more = begin(state, following[0], now)
    return state, (*effects, *more)


def offer_of(state: Update) -> Offer:
    """The update in hand. Not to be asked for before there was any."""
    return cast("Offer", state.memory.offer)


def image_of(state: Update) -> Image:
    """Its image: an offer without one is refused at once."""
    return cast("Image", offer_of(state).image)


def _work(state: Update, job: Job) -> Effect:  # noqa: PLR0911 - one line a job
    offer, image, slot = offer_of(state), image_of(state), state.memory.slot
    match job:
        case Job.ASK:
            return AskWanted(offer.update_id)
        case Job.FETCH:
            return Download(image)
        case Job.CHECK:
            return CheckImage(offer)
        case Job.WRITE:
            return WriteSlot(slot, image.sha256)
        case Job.TRY:
            return SetTrySlot(slot, state.ticket)
        case Job.REBOOT:
            jitter = 0.0 if state.memory.verdict else offer.reboot_jitter_seconds * state.build.timing.jitter_share
            return Reboot(_dice(state, "reboot").uniform(0, jitter))
        case Job.COMMIT:
            return CommitSlot(slot)
        case Job.REVERT:
            return RevertSlot(state.ticket)
        case _:
            return Look()


def _dice(state: Update, what: str) -> Random:
    return Random(f"{state.build.device_id}/{state.ticket}/{what}")  # noqa: S311 - spreads load
