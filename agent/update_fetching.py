"""An update before it is installed: offered, waited for, fetched, checked. Until here it can be taken back. Pure."""

from __future__ import annotations

import logging
from dataclasses import replace

from msgspec.structs import replace as changed

from agent.judgement import SPACE, lack
from agent.rotation_messages import Log
from agent.update_messages import (
    Abort,
    Bad,
    Discard,
    Downloaded,
    DownloadFailed,
    DownloadProgress,
    Effect,
    OfferReceived,
    Report,
    Seen,
    Verified,
    Wanted,
)
from agent.update_moves import Step, begin, do, end, image_of, later, offer_of, say
from agent.update_state import BEFORE_INSTALL, Job, Phase, Update, remembering
from devices.contract import Offer, OfferState, ReportState

PROGRESS_STEP = 10
"""Percent between two reports of a download."""
MOST_OFFERS = 4
"""Kept while one is in hand."""
_WORDS = {Phase.OFFERED: ReportState.NOTIFIED, Phase.FETCHED: ReportState.DOWNLOADED}


def offered(state: Update, message: OfferReceived, now: float) -> Step:
    """The portal offers, or withdraws. Said again and again, late, and in any order."""
    offer, known = message.offer, state.memory.offer
    if offer.state is OfferState.WITHDRAWN:
        return _withdrawn(state, offer, now)
    if known and known.update_id == offer.update_id and offer.attempt <= known.attempt:
        if not state.in_flight:  # the portal has missed how it ended
            return state, tuple(Report(one) for one in state.memory.said[-1:])
        # said again, perhaps because what held it back is over
        return do(state, Job.ASK) if state.job is Job.ASK and not state.busy else (state, ())
    if not state.in_flight:
        return begin(state, offer, now)
    others = [one for one in state.memory.next if one.update_id != offer.update_id]
    state = remembering(state, next=(*others, offer)[-MOST_OFFERS:])
    if state.phase not in BEFORE_INSTALL or (state.job is Job.ASK and state.busy):
        return state, ()
    # which of the two? The offer may be a stale one: the portal knows
    return do(state, Job.ASK, *((Abort(),) if state.busy else ()))


def _withdrawn(state: Update, offer: Offer, now: float) -> Step:
    def means(other: Offer | None) -> bool:
        return other is not None and other.update_id == offer.update_id and other.attempt <= offer.attempt

    state = remembering(state, next=tuple(one for one in state.memory.next if not means(one)))
    if not (state.in_flight and means(state.memory.offer)):
        return state, ()
    if state.phase in BEFORE_INSTALL:
        return end(state, ReportState.CANCELED, "withdrawn", now)
    return state, (Log(logging.INFO, "firmware: withdrawn too late, finishes"),)


def seen(state: Update, message: Seen, now: float) -> Step:
    """Go on if battery, mains and disk suffice."""
    offer = offer_of(state)
    missing = image_of(state).size if state.phase is Phase.OFFERED else 0
    if reason := lack(offer.preconditions, message, missing):
        return _wait(state, reason, now)
    return do(remembering(state, waiting="", since=0.0), Job.ASK)


def _wait(state: Update, reason: str, now: float) -> Step:
    """For power or space; not for ever."""
    since = min(state.memory.since or now, now)
    if now - since > state.build.timing.patience:
        return end(state, ReportState.REJECTED, "no_space" if reason == SPACE else "battery", now)
    effects: tuple[Effect, ...] = ()
    if reason != state.memory.waiting:
        state, report = say(state, _WORDS.get(state.phase, ReportState.DOWNLOADING), reason)
        effects = (report,)
    state = remembering(state, waiting=reason, since=since)
    return replace(state, busy=False, due=now + state.build.timing.look), effects


def wanted(state: Update, message: Wanted, now: float) -> Step:
    """The portal says: go on."""
    offer, image = offer_of(state), image_of(state)
    if message.attempt > offer.attempt:  # another one was begun, and its offer is on its way
        return not_wanted(state, message, now)
    if message.url and message.url != image.url:
        state = remembering(state, offer=changed(offer, image=changed(image, url=message.url)))
    match state.phase:
        case Phase.OFFERED | Phase.FETCHED if state.memory.waiting:
            return do(state, Job.LOOK)
        case Phase.OFFERED:
            state, report = say(remembering(state, phase=Phase.FETCHING), ReportState.DOWNLOADING)
            return do(state, Job.FETCH, report)
        case Phase.FETCHED:
            state, report = say(remembering(state, phase=Phase.INSTALLING), ReportState.INSTALLING)
            return do(state, Job.WRITE, report)
        case Phase.INSTALLING:
            return do(state, Job.TRY)
        case _:
            return do(state, Job.FETCH)


def not_wanted(state: Update, _: object, now: float) -> Step:
    """The portal says: stop. That is possible even after it was written, until the reboot."""
    return end(state, ReportState.CANCELED, "withdrawn", now)


def progress(state: Update, message: DownloadProgress, _: float) -> Step:
    """Some of it came."""
    percent = min(100, 100 * message.done // max(1, image_of(state).size))
    if percent < state.memory.progress + PROGRESS_STEP or percent == 100:
        return state, ()
    state = remembering(state, progress=percent, tries=0, waiting="", since=0.0)
    state, report = say(state, ReportState.DOWNLOADING, progress=percent)
    return state, (report,)


def download_failed(state: Update, message: DownloadFailed, now: float) -> Step:
    """Ask again and resume, unless it failed too often in a row without getting any further."""
    free = message.reason in ("busy", "no_space")
    tries = 1 if message.gained else state.memory.tries if free else state.memory.tries + 1
    state = remembering(state, tries=tries, resumed=state.memory.resumed or message.gained)
    match message.reason:
        case "no_space":
            return _wait(state, SPACE, now)
        case "too_large":
            return end(state, ReportState.REJECTED, "too_large", now)
        case "expired" if tries <= 1:
            return do(state, Job.ASK)
    if tries >= offer_of(state).download_attempts:
        return end(state, ReportState.FAILED, "download", now)
    return later(replace(state, job=Job.ASK), tries, message.wait, now), ()


def downloaded(state: Update, _: Downloaded, __: float) -> Step:
    """All of it came."""
    return do(remembering(state, tries=0, waiting="", since=0.0), Job.CHECK)


def verified(state: Update, _: Verified, __: float) -> Step:
    """It is what was offered."""
    state, report = say(remembering(state, phase=Phase.FETCHED, since=0.0), ReportState.DOWNLOADED)
    return do(state, Job.LOOK, report)


def bad(state: Update, message: Bad, now: float) -> Step:
    """It is not, or could not be written."""
    if state.job is Job.WRITE:
        return end(state, ReportState.FAILED, message.reason, now)
    if message.reason == "hash" and state.memory.resumed:  # a power cut may have damaged the part from before
        return do(remembering(state, resumed=False, progress=-1), Job.FETCH, Discard())
    return end(state, ReportState.REJECTED, message.reason, now)
