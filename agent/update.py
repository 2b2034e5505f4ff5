"""How a device updates its firmware: `step(state, message, now)` answers with a new state and effects. Pure.

`updating.py` acts. What a phase needs is durable before anything is done, and everything that is done may be repeated:
after a power cut `Booted` finds out how far it came, and goes on from there. The image goes to the slot that does not
run; the next boot tries it once, and comes back to the old one unless the new version has committed itself by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

from agent import update_fetching as fetching
from agent import update_installing as installing
from agent.rotation_messages import Log
from agent.update_messages import (
    Abort,
    Bad,
    Booted,
    Downloaded,
    DownloadFailed,
    DownloadProgress,
    Due,
    Heard,
    Keep,
    Message,
    NotDone,
    NotWanted,
    OfferReceived,
    Offline,
    Online,
    Report,
    Seen,
    SelfChecked,
    SlotCommitted,
    SlotReverted,
    TrySlotSet,
    Verified,
    Wanted,
    Written,
)
from agent.update_moves import LONGEST_SECONDS, Step, do, later
from agent.update_state import Job, Update, encode


def step(state: Update, message: Message, now: float) -> Step:
    """The update after `message` at `now` (epoch seconds), and what it wants done, in order. Raises nothing.

    An answer that nobody waits for (any more) changes nothing.
    """
    jobs, handler = _HANDLERS[type(message)]
    if jobs and not (state.busy and state.job in jobs):
        return state, ()
    answered = jobs and not isinstance(message, DownloadProgress)
    after, effects = handler(replace(state, busy=False) if answered else state, message, now)
    if after.memory != state.memory:
        effects = (Keep(encode(after.memory)), *effects)
    return after, effects


def is_due(state: Update, now: float) -> bool:
    """Has the time come? A clock that was set back makes no longer waits."""
    return state.due <= now or (state.due < inf and state.due - now > LONGEST_SECONDS)


def _online(state: Update, _: Online, __: float) -> Step:
    return state, tuple(Report(report) for report in state.memory.said)


def _due(state: Update, _: Due, now: float) -> Step:
    if not is_due(state, now):
        return state, ()
    if state.job is Job.SELF_CHECK:
        return installing.give_up(state, Abort(), Log(logging.WARNING, "firmware: the watchdog barks"))
    return do(state, state.job)


def _not_done(state: Update, message: NotDone, now: float) -> Step:
    if not message.wait:  # else nothing is wrong: it is asked for patience
        state = replace(state, failures=state.failures + 1)
    waiting = later(state, max(0, state.failures - 1), message.wait, now)
    return waiting, (Log(logging.INFO, f"firmware: {state.job}: {message.text}"),)


_HANDLERS: dict[type, tuple[tuple[Job, ...], Callable[[Update, Any, float], Step]]] = {
    Booted: ((), installing.booted),
    OfferReceived: ((), fetching.offered),
    Online: ((), _online),
    Heard: ((), installing.heard),
    Offline: ((), installing.offline),
    Due: ((), _due),
    Seen: ((Job.LOOK,), fetching.seen),
    Wanted: ((Job.ASK,), fetching.wanted),
    NotWanted: ((Job.ASK,), fetching.not_wanted),
    DownloadProgress: ((Job.FETCH,), fetching.progress),
    Downloaded: ((Job.FETCH,), fetching.downloaded),
    DownloadFailed: ((Job.FETCH,), fetching.download_failed),
    Verified: ((Job.CHECK,), fetching.verified),
    Bad: ((Job.CHECK, Job.WRITE), fetching.bad),
    Written: ((Job.WRITE,), installing.written),
    TrySlotSet: ((Job.TRY,), installing.try_slot_set),
    SelfChecked: ((Job.SELF_CHECK,), installing.self_checked),
    SlotCommitted: ((Job.COMMIT,), installing.committed),
    SlotReverted: ((Job.REVERT,), installing.reverted),
    NotDone: (tuple(set(Job) - {Job.NONE, Job.SELF_CHECK}), _not_done),
}
"""Who hears what, with the jobs it is an answer to, where it is an answer."""
