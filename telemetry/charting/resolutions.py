"""Which figures a chart is drawn from, and how wide its buckets are, by its range. Pure.

Times are datetimes with a zone. Buckets begin at multiples of the step since 1970-01-01 UTC, so that a chart that is
drawn again shows the same buckets, and those of two devices or two ranges lie upon each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_POINTS = 2000
POINTS = 1000
"""About as many as a wide screen has pixels for; a range gets between a seventh and all of them."""
_WIDTHS = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 86400, 7 * 86400, 28 * 86400]
STEPS = [timedelta(seconds=width) for width in _WIDTHS]
"""Each is a multiple of the one before: a coarser chart's borders are borders of the finer one, too."""
_FEWEST = 4
"""A source is too coarse when it has less than a fourth of the points asked for."""
MOST_READINGS = timedelta(days=1)
"""The longest range drawn from single readings unless these are asked for."""
LONGEST_READINGS = timedelta(days=7)
"""The longest range drawn from single readings at all: a device may send one each second."""
LONGEST = timedelta(days=3660)


class RangeError(ValueError):
    """A range that cannot be drawn. `field` names the part of the question that is wrong."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field, self.detail = field, detail


class Source(StrEnum):
    """What is stored, the finest first."""

    READING = "reading"
    MINUTE = "minute"
    HOUR = "hour"

    @property
    def grain(self) -> timedelta:
        """The width of what is stored; that of readings is the narrowest step."""
        return {"reading": STEPS[0], "minute": timedelta(minutes=1), "hour": timedelta(hours=1)}[self.value]


@dataclass(frozen=True, slots=True)
class Kept:
    """Since when there is what, by settings."""

    readings: datetime
    minutes: datetime
    hours: datetime

    def covers(self, source: Source, since: datetime) -> bool:
        """Is this source still kept at `since`?"""
        return since >= {"reading": self.readings, "minute": self.minutes, "hour": self.hours}[source.value]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a range is drawn: buckets of `step` from `since` to before `until`, both at borders of buckets."""

    since: datetime
    until: datetime
    source: Source
    step: timedelta

    @property
    def points(self) -> int:
        """How many buckets there are."""
        return (self.until - self.since) // self.step


def kept(now: datetime, hot_days: int, minute_days: int, hour_days: int) -> Kept:
    """The horizons of today: whole days (UTC)."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Kept(*(today - timedelta(days=days) for days in (hot_days, minute_days, hour_days)))


def plan(since: datetime, until: datetime, has: Kept, points: int = POINTS, wanted: Source | None = None) -> Plan:
    """How to draw from `since` to before `until` with at most so many points (10…2000), of `wanted` or what fits best.

    Raises RangeError for an empty range, one longer than ten years, and for one of single readings that is too long.
    """
    if since >= until:
        raise RangeError("until", "It must be later than `since`.")
    if until - since > LONGEST:
        raise RangeError("since", f"A chart covers at most {LONGEST.days} days.")
    if wanted is Source.READING and until - since > LONGEST_READINGS:
        raise RangeError("resolution", f"Single readings are drawn for at most {LONGEST_READINGS.days} days.")
    source = wanted or _source(since, until - since, has, points)
    step = next(step for step in _steps(source.grain) if _buckets(since, until, step) <= points)
    first = floor(since, step)
    return Plan(first, first + step * _buckets(since, until, step), source, step)


def _source(since: datetime, span: timedelta, has: Kept, points: int) -> Source:
    """The coarsest that is fine enough; where none is, the finest that is still kept and not too much to read."""
    usable = [source for source in Source if has.covers(source, since)]
    usable = [each for each in usable if each is not Source.READING or span <= MOST_READINGS] or [Source.HOUR]
    fine = [source for source in usable if span / source.grain >= points / _FEWEST]
    return fine[-1] if fine else usable[0]


def _steps(grain: timedelta) -> Iterable[timedelta]:
    yield from (step for step in STEPS if step >= grain)
    while True:
        grain = max(grain, STEPS[-1]) * 2
        yield grain


def floor(moment: datetime, step: timedelta) -> datetime:
    """The border of a bucket at or before this moment."""
    return EPOCH + (moment - EPOCH) // step * step


def milliseconds(moment: datetime) -> int:
    """Epoch ms."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def moment(milliseconds: int) -> datetime:
    """The moment (UTC) of epoch ms."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def _buckets(since: datetime, until: datetime, step: timedelta) -> int:
    return -((floor(since, step) - until) // step)
