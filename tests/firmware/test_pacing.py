import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.pacing import FIRST, GROWTH, Pace, room


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        pytest.param(Pace(100, 600, 0, 0, 0), FIRST, id="a new campaign begins with a few"),
        pytest.param(Pace(100, 600, 4, 4, 0), FIRST - 4, id="less those under way"),
        pytest.param(Pace(100, 600, FIRST, FIRST, 0), 0, id="nothing has succeeded: no more"),
        pytest.param(Pace(100, 600, 0, 0, 3), FIRST + 3 * GROWTH, id="each success makes room"),
        pytest.param(Pace(100, 600, 0, 0, 1000), 100, id="at most so many at once"),
        pytest.param(Pace(100, 600, 90, 0, 1000), 10, id="less those that load"),
        pytest.param(Pace(100, 20, 0, 15, 1000), 5, id="at most so many a minute"),
        pytest.param(Pace(100, 20, 0, 25, 1000), 0, id="the rate was lowered"),
        pytest.param(Pace(5, 600, 9, 9, 1000), 0, id="the limit was lowered"),
        pytest.param(Pace(100, 600, 0, 0, 0, under_way=FIRST), 0, id="those that install have proved nothing yet"),
        pytest.param(Pace(100, 600, 0, 0, 5, under_way=12), FIRST + 5 * GROWTH - 12, id="nor those that verify"),
        pytest.param(Pace(0, 600, 0, 0, 9), 0, id="nothing at once"),
    ],
)
def test_room_for_more_offers(pace, expected):
    assert room(pace) == expected


counts = st.integers(0, 10**6)


@given(pace=st.builds(Pace, counts, counts, counts, counts, counts, counts))
def test_no_limit_is_ever_passed(pace):
    more = room(pace)
    assert more >= 0
    if more:
        assert pace.in_flight + more <= pace.max_concurrent
        assert pace.offered_last_minute + more <= pace.offers_per_minute
        assert pace.under_way + more <= FIRST + GROWTH * pace.succeeded


def test_a_release_that_never_succeeds_reaches_no_more_than_the_first_few():
    offered = 0
    for _ in range(100):
        offered += room(Pace(1000, 1000, 0, 0, 0, under_way=offered))
    assert offered == FIRST
