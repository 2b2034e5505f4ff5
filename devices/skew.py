"""How wrong a device's clock is, and what may be concluded from it. Pure.

Skew is received − ts: above zero, the device's clock is behind, or its message came late. Nothing arrives before it
was sent, so a clock that is ahead shows in any message. That it is behind shows only in a message that cannot be late.
"""

from datetime import timedelta
from enum import StrEnum

AHEAD = timedelta(minutes=1)
"""A clock further ahead than this is wrong."""
BEHIND = timedelta(minutes=5)
"""A birth older than this, that came on the spot, is of a clock that is behind."""
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Clock(StrEnum):
    """What is known of a device's clock."""

    RIGHT = "right"
    """Or nothing else is known."""
    AHEAD = "ahead"
    BEHIND = "behind"


def judge(skew: timedelta) -> Clock:
    """What the skew of a message says that came on the spot."""
    if skew < -AHEAD:
        return Clock.AHEAD
    return Clock.BEHIND if skew > BEHIND else Clock.RIGHT


def clock(skew_ms: int | None) -> Clock:
    """The same of a skew that was kept (ms), or of none."""
    return Clock.RIGHT if skew_ms is None else judge(timedelta(milliseconds=skew_ms))


def tells(skew: timedelta, known: Clock) -> bool:
    """Does a reading with this skew say more of its device's clock than is known?

    One from the future always does. One of this very minute clears a clock that was known to be wrong. An old one
    says nothing: it may come from a buffer.
    """
    return skew < -AHEAD or (known is not Clock.RIGHT and skew <= AHEAD)


def words(skew: timedelta) -> str:
    """`2 d 3 h behind`, `1.4 s ahead`, `right`: the two largest units."""
    seconds = abs(skew.total_seconds())
    way = "ahead" if skew < timedelta() else "behind"
    if seconds < 1:
        return "right"
    if seconds < 60:
        return f"{seconds:.1f} s {way}"
    parts: list[str] = []
    rest = round(seconds)
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return f"{' '.join(part for part in parts[:2] if not part.startswith('0 '))} {way}"
