from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import rotation

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LIFETIMES = [timedelta(seconds=90), timedelta(minutes=10), timedelta(days=365)]


def at(lifetime, serial="1"):
    return rotation.renew_at(NOW, NOW + lifetime, serial)


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_devices_are_spread_over_the_first_quarter_of_the_last_third(lifetime):
    shares = sorted((at(lifetime, f"{n:x}") - NOW) / lifetime for n in range(1000))
    assert shares[0] >= 2 / 3 - 1e-6 and shares[-1] <= 2 / 3 + 1 / 12 + 1e-6
    tenths = [sum(2 / 3 + n / 120 <= share < 2 / 3 + (n + 1) / 120 for share in shares) for n in range(10)]
    assert min(tenths) > 60, "spread evenly: no tenth of the spread holds a heap"


def test_the_moment_hangs_on_the_serial_number_alone():
    assert at(LIFETIMES[0], "ab") == at(LIFETIMES[0], "ab") != at(LIFETIMES[0], "ac")


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_every_attempt_falls_into_the_window(lifetime):
    renew, end = at(lifetime), NOW + lifetime
    moment, told = renew, []
    for attempt in range(1, rotation.MAX_ATTEMPTS + 1):
        following = rotation.next_attempt(attempt, renew, end, moment)
        told.append(following - moment)
        moment = following
    assert told == sorted(told), "later attempts never come faster"
    assert told[2] < end - renew, "a device is asked three times before its certificate ends"


def test_a_years_certificate_is_asked_for_within_the_hour_and_then_daily():
    renew, end = at(timedelta(days=365)), NOW + timedelta(days=365)
    waits = [rotation.next_attempt(n, renew, end, NOW) - NOW for n in range(1, 9)]
    assert waits[0] == timedelta(hours=1) and waits[-1] == timedelta(days=1)


def test_urgent_is_the_second_half_of_the_window():
    renew, end = NOW, NOW + timedelta(days=10)
    assert not rotation.is_urgent(renew, end, NOW + timedelta(days=4, hours=23))
    assert rotation.is_urgent(renew, end, NOW + timedelta(days=5))


def test_the_pace_is_for_all_and_for_each_group():
    of_one, of_none = frozenset({1}), frozenset()
    waiting = [(1, of_one), (2, of_one), (3, of_none), (4, frozenset({1, 2})), (5, frozenset({2})), (6, of_none)]
    assert rotation.paced(waiting, 10, {}) == [1, 2, 3, 4, 5, 6]
    assert rotation.paced(waiting, 2, {}) == [1, 2]
    assert rotation.paced(waiting, 10, {1: 1}) == [1, 3, 5, 6]
    assert rotation.paced(waiting, 10, {1: 0, 2: 1}) == [3, 5, 6]
    assert rotation.paced(waiting, 0, {}) == rotation.paced(waiting, -3, {}) == []


@given(
    st.lists(st.frozensets(st.integers(1, 4), max_size=3), max_size=40),
    st.integers(-2, 50),
    st.dictionaries(st.integers(1, 4), st.integers(-1, 5)),
)
def test_no_limit_is_ever_passed(groups, room, limits):
    waiting = list(enumerate(groups))
    chosen = rotation.paced(waiting, room, limits)
    assert len(chosen) <= max(room, 0) and chosen == sorted(set(chosen))
    for group, limit in limits.items():
        assert sum(group in groups[key] for key in chosen) <= max(limit, 0)
