"""When a device renews its certificate and what it does next: `step(state, message, now)`. Pure; `renewal.py` acts.

A request is repeated unchanged until it is answered. The portal usually asks first; a device that nobody asked begins
by itself, late in the life of its certificate.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import inf
from random import Random

from agent.backoff import Backoff
from devices.contract import IssuedCertificate

SELF_START, SELF_START_SPREAD = 0.8, 0.1
"""How much of the lifetime may pass before a device begins unasked, and the share over which a fleet is spread."""
FIRST_SECONDS, LONGEST_SECONDS = 15.0, 86400.0
"""Waits between repetitions of a request; a certificate that lives briefly has shorter ones."""
WAIT_SHARE = 1 / 20
"""The longest wait as a share of the lifetime: several fit into what is left after the self-start."""


@dataclass(frozen=True, slots=True)
class Term:
    """The certificate in use, as far as its renewal is concerned."""

    serial: str = ""
    renew_at: float = inf
    """Epoch seconds of the self-start."""
    longest_wait: float = LONGEST_SECONDS
    unproven: bool = False
    """The broker has not accepted it yet."""

    @classmethod
    def of(cls, serial: str, not_before: float, not_after: float, received: float, *, unproven: bool = False) -> Term:
        """The term of a certificate that this device received at `received` by its own clock.

        Counted from there, because not_before lies in the past to allow for wrong clocks: by far, where a certificate
        lives briefly. A device whose clock says that it was handed an expired certificate knows only how long such
        certificates are valid, and waits for so long rather than asking for one after the other.
        """
        start = max(received, not_before)
        lifetime = not_after - start if start < not_after else not_after - not_before
        share = SELF_START + SELF_START_SPREAD * Random(serial).random()  # noqa: S311 - spreads load
        return cls(serial, start + share * lifetime, min(LONGEST_SECONDS, WAIT_SHARE * lifetime), unproven)


UNKNOWN = Term()
"""Before the first connection."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a device knows of its renewal."""

    term: Term = UNKNOWN
    csr: str = ""
    """The open request (PEM), durable with its key; empty if there is none."""
    busy: bool = False
    """The link makes a request or keeps a certificate, and will say how it went."""
    tries: int = 0
    """Requests since the certificate in use was proven."""
    due: float = inf
    """When to begin or to repeat; nothing happens before (epoch seconds)."""


IDLE = Rotation()
"""Nothing known, nothing to do."""


# --- what happens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InUse:
    """The device is online with this certificate."""

    term: Term


@dataclass(frozen=True, slots=True)
class Due:
    """The clock reached `due` while online."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The portal asks to replace the certificate with this serial number."""

    serial: str


@dataclass(frozen=True, slots=True)
class Requested:
    """A key and its request are durable."""

    csr: str
    online: bool


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate came."""

    issued: IssuedCertificate


@dataclass(frozen=True, slots=True)
class Kept:
    """The certificate that came is durable, with its key: there is nothing left to ask for."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker took the connection and acknowledged the birth: the certificate in use is good."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step did not work out."""

    text: str
    level: int = logging.INFO


Message = InUse | Due | Asked | Requested | Issued | Kept | Accepted | Failed


# --- what is wanted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MakeRequest:
    """Make a key and a request, durably, or take the open ones; then `Requested` or `Failed`."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Publish the request now."""

    csr: str


@dataclass(frozen=True, slots=True)
class KeepCertificate:
    """Keep it durably if it is for the key of the open request; then `Kept` or `Failed`."""

    issued: IssuedCertificate


@dataclass(frozen=True, slots=True)
class SwapCredentials:
    """Hang up, and connect with the newest certificate at once."""


@dataclass(frozen=True, slots=True)
class Promote:
    """The certificate in use becomes the current one, durably; the one before stays as the previous one."""


@dataclass(frozen=True, slots=True)
class Log:
    """Tell whoever operates the device."""

    level: int
    text: str


Effect = MakeRequest | SendRequest | KeepCertificate | SwapCredentials | Promote | Log
Step = tuple[Rotation, tuple[Effect, ...]]


def step(state: Rotation, message: Message, now: float) -> Step:  # noqa: PLR0911 - one line a message
    """The rotation after `message` at `now` (epoch seconds), and what it wants done, in order. Raises nothing."""
    match message:
        case InUse(term):
            return _in_use(state, term, now)
        case Due():
            return _begin_or_repeat(state, now)
        case Asked(serial):
            return _asked(state, serial, now)
        case Requested(csr, online):
            state = replace(state, csr=csr, busy=False)
            return _send(state, now) if online else (state, ())
        case Issued(issued):
            return _issued(state, issued)
        case Kept():
            return replace(state, csr="", busy=False, due=inf), (SwapCredentials(),)
        case Accepted():
            return _accepted(state)
        case Failed(text, level):
            return _again_later(replace(state, busy=False), now), (Log(level, f"certificate rotation: {text}"),)


def wait(state: Rotation) -> float:
    """Seconds until the next try: capped backoff with jitter, the same for the same certificate and try."""
    longest = state.term.longest_wait
    rng = Random(f"{state.term.serial}/{state.tries}")  # noqa: S311 - spreads load
    return Backoff(min(FIRST_SECONDS, longest), longest).half_jitter(state.tries, rng)


def _in_use(state: Rotation, term: Term, now: float) -> Step:
    state = replace(state, term=term)
    if state.csr:  # the connection on which the answer would have come is gone
        return _send(state, now)
    if state.tries and not term.unproven:  # a certificate came and was refused: ask for another, but not at once
        return replace(state, due=max(term.renew_at, now + wait(state))), ()
    return replace(state, due=term.renew_at), ()


def _asked(state: Rotation, serial: str, now: float) -> Step:
    if serial != state.term.serial:
        return state, (Log(logging.DEBUG, f"asked to renew certificate {serial}, which is not in use"),)
    return _begin_or_repeat(state, now)


def _issued(state: Rotation, issued: IssuedCertificate) -> Step:
    if state.busy or not state.csr:
        return state, (Log(logging.DEBUG, "a certificate came that nothing waits for"),)
    return replace(state, busy=True), (KeepCertificate(issued),)


def _accepted(state: Rotation) -> Step:
    if not state.term.unproven:
        return state, ()
    proven = replace(state.term, unproven=False)
    return replace(state, term=proven, tries=0, due=proven.renew_at), (Promote(),)


def _begin_or_repeat(state: Rotation, now: float) -> Step:
    if state.busy:
        return state, ()
    if state.csr:
        return _send(state, now)
    return replace(state, busy=True), (MakeRequest(),)


def _send(state: Rotation, now: float) -> Step:
    return _again_later(state, now), (SendRequest(state.csr),)


def _again_later(state: Rotation, now: float) -> Rotation:
    return replace(state, tries=state.tries + 1, due=now + wait(state))
