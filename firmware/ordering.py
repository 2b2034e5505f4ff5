"""The order of a campaign's devices: random, but always the same, and where its stages end in it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PLACES = 2**62
"""Places are whole numbers below this."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a stage ends."""

    percent: int
    size: int
    """Devices up to and with this stage."""
    upto: int
    """The place of its last device; the last stage's is the last place there is."""


def place(campaign: int, device: int) -> int:
    """A device's place in a campaign: the same whenever it is asked for, and unlike its place in any other."""
    digest = hashlib.blake2b(f"{campaign}/{device}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % PLACES


def spread(members: Iterable[tuple[int, int, object]]) -> dict[int, int]:
    """Places that take a device of each site before the second of any. `members`: (device, its place, its site).

    Devices without a site (None) count as one site.
    """
    met: dict[object, int] = {}
    ranked = []
    for device, where, site in sorted(members, key=lambda each: (each[1], each[0])):
        met[site] = met.get(site, -1) + 1
        ranked.append((met[site], where, device))
    ranked.sort()
    step = PLACES // max(len(ranked), 1)
    return {device: number * step for number, (_, _, device) in enumerate(ranked)}


def stage_sizes(percents: Sequence[int], devices: int) -> list[int]:
    """Cumulative sizes: `max(1, ceil(percent · n / 100))`, at most n; of no devices 0."""
    return [min(devices, max(1, -(-percent * devices // 100))) for percent in percents]


def bounds(percents: Sequence[int], places: Sequence[int]) -> list[Bound]:
    """The stages of a campaign over devices at these places. The last takes all that are left, whatever its percent.

    A stage that is no smaller than the next is merged into that.
    """
    ordered = sorted(places)
    sizes = [*stage_sizes(percents, len(ordered))[:-1], len(ordered)]
    found = []
    for number, (percent, size) in enumerate(zip(percents, sizes, strict=False)):
        if number == len(percents) - 1:
            found.append(Bound(percent, size, PLACES - 1))
        elif size < min(sizes[number + 1 :]):
            found.append(Bound(percent, size, ordered[size - 1]))
    return found


def stage_of(where: int, uptos: Sequence[int]) -> int:
    """Number (from 1) of the stage a place lies in."""
    return next((number for number, upto in enumerate(uptos, 1) if where <= upto), len(uptos))
