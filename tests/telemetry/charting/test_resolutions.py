from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.charting import resolutions
from telemetry.charting.resolutions import LONGEST, MOST_POINTS, STEPS, RangeError, Source, plan

NOW = datetime(2026, 11, 21, 17, 30, 12, 345678, tzinfo=UTC)
HAS = resolutions.kept(NOW, 400, 90, 1830)
DAY = timedelta(days=1)
RANGES = st.tuples(st.floats(0, 3650 * 86400), st.floats(0.001, LONGEST.total_seconds()))


def of(span, back=timedelta(0), **asked):
    return plan(NOW - back - span, NOW - back, HAS, **asked)


@pytest.mark.parametrize(
    ("span", "source", "step"),
    [
        (timedelta(minutes=15), "reading", 1),
        (timedelta(hours=1), "reading", 5),
        (timedelta(hours=3), "reading", 30),
        (DAY, "minute", 300),
        (7 * DAY, "minute", 1800),
        (30 * DAY, "hour", 3600),
        (365 * DAY, "hour", 86400),
        (1830 * DAY, "hour", 7 * 86400),
    ],
)
def test_the_ranges_of_the_page(span, source, step):
    found = of(span)
    assert (found.source, found.step) == (source, timedelta(seconds=step))


def test_where_minutes_are_gone_hours_are_drawn_or_a_days_readings():
    assert of(7 * DAY, back=100 * DAY).source == "hour"
    assert of(DAY, back=100 * DAY).source == "reading"
    assert of(DAY, back=500 * DAY).source == "hour"
    assert of(timedelta(hours=1), back=3000 * DAY).source == "hour"


def test_what_is_kept_begins_with_a_whole_day():
    assert HAS.minutes == datetime(2026, 8, 23, tzinfo=UTC)
    assert HAS.covers(Source.MINUTE, HAS.minutes)
    assert not HAS.covers(Source.MINUTE, HAS.minutes - timedelta(microseconds=1))


def test_readings_that_go_before_minutes_leave_minutes():
    has = resolutions.kept(NOW, 1, 90, 1830)
    assert plan(NOW - 9 * DAY, NOW - 9 * DAY + timedelta(hours=1), has).source == "minute"


@given(RANGES, st.integers(10, MOST_POINTS), st.sampled_from([None, Source.MINUTE, Source.HOUR]))
def test_any_range_is_covered_with_no_more_points_than_asked_for(asked, points, wanted):
    back, span = (timedelta(seconds=each) for each in asked)
    if span < timedelta(microseconds=1):
        return
    since = NOW - back - span
    found = plan(since, since + span, HAS, points, wanted)
    assert found.since <= since and found.until >= since + span
    assert 1 <= found.points <= points
    assert since - found.since < found.step and found.until - (since + span) < found.step
    assert found.step >= found.source.grain and found.step % found.source.grain == timedelta(0)
    assert (found.since - resolutions.EPOCH) % found.step == timedelta(0)  # the same buckets on each refresh


@given(st.floats(60, LONGEST.total_seconds() / 8), st.integers(10, MOST_POINTS))
def test_as_many_points_as_possible(seconds, points):
    """The next finer step would be too many, unless nothing finer is stored."""
    found = of(timedelta(seconds=seconds), points=points)
    finer = [step for step in STEPS if found.source.grain <= step < found.step]
    if finer:
        assert (found.until - found.since) / finer[-1] > points - 2 * found.step / finer[-1]


def test_steps_are_nested():
    for finer, coarser in pairwise(STEPS):
        assert coarser % finer == timedelta(0)


def test_the_source_may_be_chosen():
    assert of(DAY, wanted=Source.HOUR).source == "hour"
    assert of(DAY, wanted=Source.READING).step == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("span", "wanted", "field"),
    [
        (timedelta(0), None, "until"),
        (-DAY, None, "until"),
        (LONGEST + DAY, None, "since"),
        (8 * DAY, Source.READING, "resolution"),
    ],
)
def test_what_cannot_be_drawn_is_refused(span, wanted, field):
    with pytest.raises(RangeError) as caught:
        of(span, wanted=wanted)
    assert caught.value.field == field
