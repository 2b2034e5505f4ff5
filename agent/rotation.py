"""When a device renews its certificate and what it does next: `step(state, message, now)`. Pure; `renewal.py` acts.

A request is repeated unchanged until it is answered, or until it is clear that it never will be: then another key takes
its place. The portal usually asks first; a device that nobody asked begins by itself, late in the life of its
certificate.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import inf
from random import Random

from agent.backoff import Backoff
from agent.rotation_messages import (
    Accepted,
    Asked,
    Due,
    Effect,
    Failed,
    InUse,
    Issued,
    KeepCertificate,
    Kept,
    Log,
    MakeRequest,
    Message,
    Promote,
    Refused,
    Requested,
    SendRequest,
    SwapCredentials,
)
from agent.term import UNKNOWN, Term
from devices.contract import IssuedCertificate

FIRST_SECONDS = 15.0
"""The first wait before a request is repeated; a certificate that lives briefly has a shorter one."""
REPETITIONS = 6
"""So often a request is repeated over MQTT, where nobody says no; without an answer its key is given up after that."""
NEVER = (400, 409)
"""What the portal answers over HTTPS where it will not certify this key, whoever asks and whenever."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a device knows of its renewal."""

    term: Term = UNKNOWN
    csr: str = ""
    """The open request (PEM), durable with its key; empty if there is none."""
    busy: bool = False
    """The link makes a request or keeps a certificate, and will say how it went."""
    sent: int = 0
    """How often the open request was sent when it was due; what is said again on a new connection does not count."""
    hold: float = -inf
    """No key is given up before (epoch seconds)."""
    tries: int = 0
    """Requests since the certificate in use was proven."""
    due: float = inf
    """When to begin or to repeat; nothing happens before (epoch seconds)."""


IDLE = Rotation()
"""Nothing known, nothing to do."""


Step = tuple[Rotation, tuple[Effect, ...]]


def step(state: Rotation, message: Message, now: float) -> Step:  # noqa: PLR0911 - one line a message
    """The rotation after `message` at `now` (epoch seconds), and what it wants done, in order. Raises nothing."""
    match message:
        case InUse(term):
            return _in_use(state, term, now)
        case Due():
            return _due(state, now)
        case Asked(serial):
            return _asked(state, serial, now)
        case Requested(csr, online):
            state = _requested(replace(state, busy=False, due=now), csr, now)
            return _send(state, now) if online else (state, ())
        case Refused(csr, status):
            return _refused(state, csr, status)
        case Issued(issued):
            return _issued(state, issued)
        case Kept():
            return replace(state, csr="", busy=False, sent=0, due=inf), (SwapCredentials(),)
        case Accepted():
            return _accepted(state)
        case Failed(text, level):
            return _failed(replace(state, busy=False), now), (Log(level, f"certificate rotation: {text}"),)


def wait(state: Rotation) -> float:
    """Seconds until the next try: capped backoff with jitter, the same for the same certificate and try."""
    longest = state.term.longest_wait
    rng = Random(f"{state.term.serial}/{state.tries}")  # noqa: S311 - spreads load
    return Backoff(min(FIRST_SECONDS, longest), longest).half_jitter(state.tries, rng)


def _in_use(state: Rotation, term: Term, now: float) -> Step:
    state = replace(state, term=term)
    if state.csr and not _is_planned(state, now) and _is_hopeless(state, now):
        # the broker may have kept an answer for us, which comes after this: it gets a moment
        return replace(state, due=now + min(FIRST_SECONDS, term.longest_wait)), ()
    if state.csr:  # the connection on which the answer would have come is gone
        return _send(state, now)
    if state.tries and not term.unproven:  # a certificate came and was refused: ask for another, but not at once
        return replace(state, due=max(term.renew_at, now + wait(state))), ()
    return replace(state, due=term.renew_at), ()


def _due(state: Rotation, now: float) -> Step:
    if state.csr and not state.busy and _is_hopeless(state, now):
        return _give_up(state, f"no answer to {state.sent} requests")
    return _begin_or_repeat(replace(state, due=now), now)


def _asked(state: Rotation, serial: str, now: float) -> Step:
    if serial != state.term.serial:
        return state, (Log(logging.DEBUG, f"asked to renew certificate {serial}, which is not in use"),)
    return _begin_or_repeat(state, now)


def _requested(state: Rotation, csr: str, now: float) -> Rotation:
    if csr == state.csr:
        return state
    hold = now + state.term.key_wait if state.csr else state.hold
    return replace(state, csr=csr, sent=0, hold=hold)


def _refused(state: Rotation, csr: str, status: int) -> Step:
    if status not in NEVER or state.busy or csr != state.csr:
        return state, ()
    return _give_up(state, f"the portal answers {status}")


def _issued(state: Rotation, issued: IssuedCertificate) -> Step:
    if state.busy or not state.csr:
        return state, (Log(logging.DEBUG, "a certificate came that nothing waits for"),)
    return replace(state, busy=True), (KeepCertificate(issued),)


def _accepted(state: Rotation) -> Step:
    if not state.term.unproven:
        return state, ()
    proven = replace(state.term, unproven=False)
    return replace(state, term=proven, tries=0, due=proven.renew_at), (Promote(),)


def _failed(state: Rotation, now: float) -> Rotation:
    """A certificate that could not be kept, another key's for one, leaves the repetition where it was planned."""
    return state if state.csr and _is_planned(state, now) else _again_later(state, now)


def _begin_or_repeat(state: Rotation, now: float) -> Step:
    if state.busy:
        return state, ()
    if state.csr:
        return _send(state, now)
    return replace(state, busy=True), (MakeRequest(),)


def _give_up(state: Rotation, why: str) -> Step:
    """The request stays the open one until another has taken its place: that may fail."""
    log = Log(logging.WARNING, f"certificate rotation: {why}: gives up this key and makes another")
    return replace(state, busy=True), (log, MakeRequest(state.csr))


def _send(state: Rotation, now: float) -> Step:
    if not _is_planned(state, now):
        state = _again_later(replace(state, sent=state.sent + 1), now)
    return state, (SendRequest(state.csr),)


def _again_later(state: Rotation, now: float) -> Rotation:
    return replace(state, tries=state.tries + 1, due=now + wait(state))


def _is_planned(state: Rotation, now: float) -> bool:
    """Is there still time until the next repetition? A clock that was set back makes no longer waits."""
    return 0 < state.due - now <= state.term.longest_wait


def _is_hopeless(state: Rotation, now: float) -> bool:
    """Was the open request repeated often enough, and may its key be given up so soon after another?"""
    return state.sent > REPETITIONS and not 0 < state.hold - now <= state.term.key_wait
