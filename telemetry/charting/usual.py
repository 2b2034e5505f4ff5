"""What is usual at each hour of the day, from the lows and highs of the hours of some weeks. Pure.

For each hour of the day (UTC) the lows and highs of that hour and its two neighbours on all days are looked at. The
band goes from the 5th percentile of the lows to the 95th of the highs, so that a few bad days do not widen it, and a
third of its width further on both sides, so that noise stays inside; but at least by a hundredth of all that was seen.
Neighbouring hours are then averaged (1 : 2 : 1), and between the middles of two hours it goes straight.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from telemetry.charting.resolutions import floor

HOUR = timedelta(hours=1)
FEWEST_DAYS = 7
"""With fewer days nothing is said: a band of two days is no habit."""
_LOW, _HIGH = 0.05, 0.95
_WIDER, _LEAST = 1 / 3, 1 / 100
_MOST = 1e298
"""Numbers beyond it count as it: a width of larger ones would be infinite."""

Range = tuple[float, float]
"""Low and high."""
Seen = tuple[datetime, float, float]
"""The start of an hour, the lowest and the highest value in it."""


@dataclass(frozen=True, slots=True)
class Usual:
    """A range for each hour of the day; None for those without enough readings."""

    hours: tuple[Range | None, ...]
    days: int
    """Days that it is told from."""

    def at(self, moment: datetime) -> Range | None:
        """The usual range at a moment."""
        middle = floor(moment - HOUR / 2, HOUR) + HOUR / 2
        before, after = self.hours[middle.hour], self.hours[(middle + HOUR).hour]
        if before is None or after is None:
            return before or after
        share = (moment - middle) / HOUR
        return (_between(before[0], after[0], share), _between(before[1], after[1], share))


def usual(seen: Iterable[Seen]) -> Usual | None:
    """What was usual in these hours; None where they are of fewer than seven days."""
    hours = [(start, _bounded(low), _bounded(high)) for start, low, high in seen]
    days = len({start.date() for start, _, _ in hours})
    if days < FEWEST_DAYS:
        return None
    least = (max(high for *_, high in hours) - min(low for _, low, _ in hours)) * _LEAST
    raw = [_of_hour([each for each in hours if _near(each[0].hour, hour)], least) for hour in range(24)]
    return Usual(tuple(_smooth(raw[hour - 1], raw[hour], raw[(hour + 1) % 24]) for hour in range(24)), days)


def _bounded(value: float) -> float:
    return min(max(value, -_MOST), _MOST)


def _near(one: int, other: int) -> bool:
    return (one - other) % 24 in (0, 1, 23)


def _of_hour(seen: list[Seen], least: float) -> Range | None:
    if len(seen) < FEWEST_DAYS:
        return None
    low = percentile(sorted(low for _, low, _ in seen), _LOW)
    high = percentile(sorted(high for *_, high in seen), _HIGH)
    more = max((high - low) * _WIDER, least)
    return low - more, high + more


def _smooth(before: Range | None, this: Range | None, after: Range | None) -> Range | None:
    if this is None:
        return None
    before, after = before or this, after or this
    return (before[0] + 2 * this[0] + after[0]) / 4, (before[1] + 2 * this[1] + after[1]) / 4


def percentile(ordered: list[float], share: float) -> float:
    """The value below which so great a share (0…1) of the values lies; they are in order, at least one."""
    place = (len(ordered) - 1) * share
    return _between(ordered[int(place)], ordered[ceil(place)], place - int(place))


def _between(one: float, other: float, share: float) -> float:
    return one + (other - one) * share


def middles(since: datetime, until: datetime) -> list[datetime]:
    """Middles of hours, from the last at or before `since` to the first at or after `until`."""
    found = [floor(since - HOUR / 2, HOUR) + HOUR / 2]
    while found[-1] < until:
        found.append(found[-1] + HOUR)
    return found
