from hypothesis import given
from hypothesis import strategies as st

from telemetry.charting import gaps

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000


def test_one_lost_message_is_no_gap():
    assert gaps.silences([0, 60 * SECOND, 180 * SECOND, 240 * SECOND], [1] * 4, SECOND) == []


def test_a_silence_of_three_usual_intervals_is_one():
    times = [0, 60 * SECOND, 120 * SECOND, 301 * SECOND, 361 * SECOND]
    assert gaps.silences(times, [1] * 5, SECOND) == [(121 * SECOND, 301 * SECOND)]


def test_where_a_bucket_holds_several_values_one_empty_bucket_is_a_gap():
    times = [each * HOUR for each in (0, 1, 2, 4, 5)]
    assert gaps.silences(times, [60] * 5, HOUR) == [(3 * HOUR, 4 * HOUR)]


def test_a_bucket_missed_by_a_slow_device_is_no_gap():
    """One value every 70 s, drawn by the minute: now and then a minute has none."""
    times = [at // MINUTE * MINUTE for at in range(0, 40 * MINUTE, 70 * SECOND)]
    assert gaps.silences(times, [1] * len(times), MINUTE) == []


def test_buckets_without_a_value_of_this_series_do_not_count_as_values():
    times = [each * MINUTE for each in range(10)]
    assert gaps.silences(times, [9, 9, 9, 0, 0, 0, 9, 9, 9, 9], MINUTE) == [(3 * MINUTE, 6 * MINUTE)]


def test_too_little_to_know_an_interval_has_no_gaps():
    assert gaps.silences([], [], SECOND) == gaps.silences([0], [1], SECOND) == []
    assert gaps.silences([0, 10 * HOUR], [1, 1], SECOND) == []


def test_a_gap_is_told_by_a_time_of_its_own_only_where_there_is_none():
    assert gaps.filled([0, 1000, 9000], [(2000, 9000)]) == [0, 1000, 2000, 9000]
    assert gaps.filled([0, 1000, 5000, 9000], [(2000, 9000)]) == [0, 1000, 5000, 9000]


@given(st.lists(st.integers(0, 500), unique=True), st.integers(1, 5))
def test_gaps_lie_between_values_in_order_and_are_at_least_a_step_long(places, count):
    times = sorted(place * MINUTE for place in places)
    found = gaps.silences(times, [count] * len(times), MINUTE)
    assert found == sorted(found)
    for start, end in found:
        assert end - start >= MINUTE
        assert not [time for time in times if start <= time < end]
        assert start - MINUTE in times and end in times
