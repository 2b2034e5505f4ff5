"""How many devices may be offered an update now. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 10
"""Devices under way before anything has succeeded."""
GROWTH = 2
"""Each success makes room for so many more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A campaign's limits and what is used of them."""

    max_concurrent: int
    offers_per_minute: int
    in_flight: int
    """Devices between offer and installation."""
    offered_last_minute: int
    succeeded: int
    under_way: int = 0
    """Offered and not ended, those that install and reboot, too: none of them has proved anything yet."""


def room(pace: Pace) -> int:
    """How many more may be offered now; grows with *succeeded* devices, so that a bad release stays small."""
    unproven = FIRST + GROWTH * pace.succeeded - max(pace.under_way, pace.in_flight)
    loading = pace.max_concurrent - pace.in_flight
    return max(0, min(unproven, loading, pace.offers_per_minute - pace.offered_last_minute))
