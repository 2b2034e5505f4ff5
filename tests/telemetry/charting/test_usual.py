import random
from datetime import UTC, datetime, timedelta
from math import isfinite, sin, tau

import pytest

from telemetry.charting.usual import HOUR, middles, percentile, usual

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def weeks(days=28, per_hour=60, seed=1, noise=1.0, skip=lambda _: False):
    """Hours of a wave over the day with noise, as (start, low, high)."""
    chance = random.Random(seed)
    hours = []
    for number in range(days * 24):
        at = START + number * HOUR
        values = [mean(at) + chance.gauss(0, noise) for _ in range(per_hour)]
        if not skip(at):
            hours.append((at, min(values), max(values)))
    return hours


def mean(at):
    return 20 + 5 * sin(at.hour / 24 * tau)


@pytest.mark.parametrize("per_hour", [1, 12, 60])
def test_noise_as_ever_is_hardly_ever_outside(per_hour):
    """Of single readings at most 1 % leaves the band, however many an hour has."""
    habit = usual(weeks(per_hour=per_hour))
    chance, outside = random.Random(2), 0
    for number in range(7 * 24 * 60):
        at = START + 30 * DAY + number * timedelta(minutes=1)
        low, high = habit.at(at)
        outside += not low <= mean(at) + chance.gauss(0, 1) <= high
    assert outside / (7 * 24 * 60) <= 0.01


def test_what_is_usual_at_noon_is_not_usual_at_midnight():
    habit = usual(weeks(noise=0.1))
    low, high = habit.at(START + 30 * DAY + 18.5 * HOUR)
    assert low < mean(START + 18 * HOUR) < high < mean(START + 6 * HOUR)


def test_bad_days_of_the_past_do_not_widen_it():
    quiet = weeks()
    storm = [(at, low, high + 50) if at.day == 9 else (at, low, high) for at, low, high in quiet]
    narrow, wide = (usual(hours).at(START + 30 * DAY)[1] for hours in (quiet, storm))
    assert wide - narrow < 2


def test_six_days_are_no_habit_and_seven_are():
    assert usual(weeks(days=6)) is None
    assert usual(weeks(days=7)).days == 7
    assert usual([]) is None


def test_hours_in_which_a_device_is_off_have_no_band():
    habit = usual(weeks(skip=lambda at: at.hour < 12))
    assert habit.at(START + 6 * HOUR) is None
    assert habit.at(START + 15 * HOUR) is not None


def test_a_value_that_never_changed_has_a_band_without_width():
    habit = usual([(START + number * HOUR, 5.0, 5.0) for number in range(24 * 10)])
    assert habit.at(START) == (5.0, 5.0)


def test_the_largest_numbers_have_a_band_of_numbers():
    habit = usual([(START + number * HOUR, -1.7e308, 1.7e308) for number in range(24 * 10)])
    assert all(isfinite(bound) for each in habit.hours for bound in each)
    low, high = habit.at(START)
    assert low <= -1e298 and high >= 1e298


def test_it_goes_straight_between_the_middles_of_hours():
    habit = usual(weeks())
    one, other = habit.hours[3], habit.hours[4]
    assert habit.at(START + 3.5 * HOUR) == one
    assert habit.at(START + 4 * HOUR) == pytest.approx(((one[0] + other[0]) / 2, (one[1] + other[1]) / 2))


def test_percentiles():
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2
    assert percentile([1.0, 2.0], 0.25) == 1.25
    assert percentile([7.0], 0.95) == 7


def test_middles_enclose_the_range():
    found = middles(START + timedelta(minutes=10), START + timedelta(minutes=95))
    assert found == [START - HOUR / 2, START + HOUR / 2, START + 3 * HOUR / 2, START + 5 * HOUR / 2][: len(found)]
    assert found[0] <= START + timedelta(minutes=10) and found[-1] >= START + timedelta(minutes=95)
