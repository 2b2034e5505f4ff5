from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.skew import AHEAD, BEHIND, Clock, clock, judge, tells, words

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("late", "verdict"),
    [
        (-AHEAD - SECOND, Clock.AHEAD), (-AHEAD, Clock.RIGHT), (timedelta(), Clock.RIGHT), (BEHIND, Clock.RIGHT),
        (BEHIND + SECOND, Clock.BEHIND),
    ],
)  # fmt: skip
def test_a_minute_ahead_and_five_behind_are_the_limits(late, verdict):
    assert judge(late) is verdict
    assert clock(late // timedelta(milliseconds=1)) is verdict


def test_nothing_is_concluded_from_nothing():
    assert clock(None) is Clock.RIGHT


@pytest.mark.parametrize(
    ("late", "known", "told"),
    [
        (timedelta(hours=-1), Clock.RIGHT, True),
        (timedelta(hours=-1), Clock.BEHIND, True),
        (timedelta(hours=1), Clock.RIGHT, False),  # late, or behind: nobody knows
        (timedelta(hours=1), Clock.AHEAD, False),
        (SECOND, Clock.RIGHT, False),  # no news
        (SECOND, Clock.AHEAD, True),
        (-SECOND, Clock.BEHIND, True),
        (AHEAD + SECOND, Clock.BEHIND, False),
    ],
)
def test_a_reading_tells_what_only_a_clock_can_do(late, known, told):
    assert tells(late, known) is told


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "right"), (-0.9, "right"), (1.44, "1.4 s behind"), (-59.9, "59.9 s ahead"), (60, "1 min behind"),
        (3661, "1 h 1 min behind"), (-3605, "1 h ahead"), (3 * 86400 + 7200, "3 d 2 h behind"),
        (20_000 * 86400, "20000 d behind"), (59.99, "60.0 s behind"),
    ],
)  # fmt: skip
def test_it_is_said_in_words(seconds, said):
    assert words(timedelta(seconds=seconds)) == said


@given(st.timedeltas())
def test_any_skew_can_be_said_and_judged(late):
    assert words(late) == "right" or words(late).endswith((" ahead", " behind"))
    assert judge(late) in Clock
