"""How long a certificate is good for, and what follows from it for its renewal."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random
from typing import Self

SELF_START, SELF_START_SPREAD = 0.8, 0.1
"""How much of the lifetime may pass before a device begins unasked, and the share over which a fleet is spread."""
LONGEST_SECONDS = 86400.0
"""The longest wait between repetitions of a request."""
WAIT_SHARE = 1 / 20
"""The same as a share of the lifetime: several fit into what is left after the self-start."""
KEY_SHARE = 1 / 8
"""Keys are given up no faster than this share of the lifetime: the portal hands a device five certificates that it does
not use in about a third of it, then none."""


@dataclass(frozen=True, slots=True)
class Term:
    """The certificate in use, as far as its renewal is concerned."""

    serial: str = ""
    renew_at: float = inf
    """Epoch seconds of the self-start."""
    longest_wait: float = LONGEST_SECONDS
    key_wait: float = LONGEST_SECONDS
    """Between one key that is given up and the next, at least."""
    unproven: bool = False
    """The broker has not accepted it yet."""

    @classmethod
    def of(cls, serial: str, not_before: float, not_after: float, received: float, *, unproven: bool = False) -> Self:
        """The term of a certificate that this device received at `received` by its own clock.

        Counted from there, because not_before lies in the past to allow for wrong clocks: by far, where a certificate
        lives briefly. A device whose clock says that it was handed an expired certificate knows only how long such
        certificates are valid, and waits for so long rather than asking for one after the other.
        """
        start = max(received, not_before)
        lifetime = not_after - start if start < not_after else not_after - not_before
        share = SELF_START + SELF_START_SPREAD * Random(serial).random()  # noqa: S311 - spreads load
        longest = min(LONGEST_SECONDS, WAIT_SHARE * lifetime)
        return cls(serial, start + share * lifetime, longest, KEY_SHARE * lifetime, unproven)


UNKNOWN = Term()
"""Before the first connection."""
