"""When certificates are renewed: pure decisions, so that a whole fleet's year can be told in a test.

Everything scales with the lifetime of a certificate: a year and ten minutes obey the same rules.
"""

from datetime import datetime, timedelta
from hashlib import sha256

WINDOW = 1 / 3
"""The last part of its lifetime in which a certificate is renewed."""
JITTER = 1 / 4
"""Devices are spread over this part of the window, so that a fleet enrolled in one hour is not asked in one."""
URGENT = 1 / 2
"""Once this part of the window has passed, quiet times no longer hold a renewal back."""
MAX_ATTEMPTS = 8
"""A device is asked this often, then the renewal has failed and people hear of it."""
_SHORTEST, _LONGEST = timedelta(hours=1), timedelta(days=1)
_FAILED_PAUSE = 1 / 10
"""After a failure nothing is asked for this part of the window."""


def renew_at(issued: datetime, not_after: datetime, serial: str) -> datetime:
    """From when on a certificate is due; the jitter hangs on the serial number alone, so that it never moves."""
    lifetime = not_after - issued
    share = int.from_bytes(sha256(serial.encode()).digest()[:4], "big") / 2**32
    return not_after - lifetime * WINDOW * (1 - JITTER * share)


def is_urgent(renew_at: datetime, not_after: datetime, now: datetime) -> bool:
    """Is so much of the window gone that no quiet time may hold the renewal back?"""
    return now >= renew_at + (not_after - renew_at) * URGENT


def next_attempt(attempts: int, renew_at: datetime, not_after: datetime, now: datetime) -> datetime:
    """When a device that was asked `attempts` times (from 1) is asked again: doubling, capped, within the window."""
    window = not_after - renew_at
    first = min(_SHORTEST, window / 20)
    longest = min(_LONGEST, window / 4)
    return now + min(first * 2.0 ** (attempts - 1), longest)


def after_failure(renew_at: datetime, not_after: datetime, now: datetime) -> datetime:
    """When a device whose renewal failed may be asked anew."""
    return now + (not_after - renew_at) * _FAILED_PAUSE


def paced(
    candidates: list[tuple[int, frozenset[int]]],
    room: int,
    group_room: dict[int, int],
) -> list[int]:
    """Which of the candidates (key, its groups) may be asked now, in their order.

    `room` is how many may be asked in all, `group_room` how many of each group that has a limit of its own.
    """
    left = dict(group_room)
    chosen: list[int] = []
    for key, groups in candidates:
        if len(chosen) >= room:
            break
        limited = [group for group in groups if group in left]
        if any(left[group] <= 0 for group in limited):
            continue
        for group in limited:
            left[group] -= 1
        chosen.append(key)
    return chosen
