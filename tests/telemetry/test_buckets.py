"""A bucket lets through its budget and a burst, never much more, and never refuses whoever keeps within it."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.buckets import BURST_MINUTES, LARGEST, SHARE_SECONDS, Bucket, Shares

BUDGETS = st.integers(1, 100_000)
STEPS = st.lists(st.tuples(st.floats(0, 400), st.integers(1, LARGEST)), min_size=1, max_size=60)
"""(seconds since the last one, readings in it) of each message."""


def let_in(bucket: Bucket, now: float, readings: int, per_minute: int | None = None) -> int:
    """As telemetry/floods.py does it: how many readings are taken."""
    bucket.fill(per_minute or bucket.per_minute, now)
    if bucket.level < 1:
        return 0
    bucket.take(1)
    bucket.take(readings - 1)
    return readings


@given(BUDGETS, STEPS)
def test_over_any_time_no_more_is_let_in_than_a_burst_and_the_budget_and_one_array(per_minute, steps):
    bucket, now, taken = Bucket(per_minute, 0), 0.0, []
    for pause, readings in steps:
        now += pause
        taken.append((now, let_in(bucket, now, readings)))
    for first, (began, _) in enumerate(taken):
        total = 0
        for ended, readings in taken[first:]:
            total += readings
            assert total <= bucket.capacity + per_minute * (ended - began) / 60 + LARGEST - 1 + 1e-6


@given(BUDGETS, STEPS, st.floats(0, 1e6))
def test_whoever_keeps_within_burst_and_budget_is_never_refused(per_minute, steps, start):
    """A second bucket says what may be sent; the device sends no more than that, in whatever rhythm."""
    bucket, now, spent = Bucket(per_minute, start), start, 0.0
    for pause, wanted in steps:
        now += pause
        spent = max(spent - pause * per_minute / 60, 0)
        readings = min(wanted, int(per_minute * BURST_MINUTES - spent - 1e-6))
        if readings < 1:
            continue
        spent += readings
        assert let_in(bucket, now, readings) == readings


@given(BUDGETS, st.lists(st.floats(-1e6, 1e6), max_size=50))
def test_a_clock_that_jumps_neither_breaks_it_nor_fills_it(per_minute, times):
    bucket, seen, taken = Bucket(per_minute, 0), [0.0], 0
    for now in times:
        seen.append(now)
        taken += let_in(bucket, now, LARGEST)
        assert 1 - LARGEST <= bucket.level <= bucket.capacity
    forward = max(seen) - seen[0]
    assert taken <= bucket.capacity + per_minute * forward / 60 + LARGEST - 1 + 1e-6


def test_the_time_to_wait_is_when_there_is_room_again():
    bucket = Bucket(60, 0)
    assert bucket.wait(0) == 0
    assert let_in(bucket, 0, LARGEST) == LARGEST  # 300 were there
    assert bucket.wait(0) == 201
    assert bucket.wait(100) == 101
    assert let_in(bucket, 200.9, 1) == 0
    assert let_in(bucket, 201, 1) == 1


def test_the_debt_is_bounded():
    bucket = Bucket(1, 0)
    assert [bucket.take(LARGEST) for _ in range(3)] == [LARGEST, BURST_MINUTES - 1, 0]
    assert bucket.level == 1 - LARGEST


def test_what_is_given_back_may_be_sent_once_more_and_never_overflows():
    bucket = Bucket(1, 0)
    assert let_in(bucket, 0, 7) == 7
    bucket.give_back(7)
    assert bucket.level == bucket.capacity == BURST_MINUTES
    bucket.give_back(7)
    assert bucket.level == bucket.capacity


def test_a_higher_budget_counts_at_once_and_a_lower_one_too():
    bucket = Bucket(1, 0)
    let_in(bucket, 0, 5)
    assert let_in(bucket, 0, 1) == 0
    assert let_in(bucket, 0, 1, per_minute=100) == 1
    assert bucket.level == 99 * BURST_MINUTES - 1
    bucket.fill(2, 0)
    assert bucket.level == bucket.capacity == 2 * BURST_MINUTES


@given(BUDGETS, STEPS)
def test_a_full_bucket_is_as_a_new_one(per_minute, steps):
    bucket, now = Bucket(per_minute, 0), 0.0
    for pause, readings in steps:
        now += pause
        let_in(bucket, now, readings)
    later = now + (bucket.capacity - bucket.level) * 60 / per_minute
    assert bucket.is_full(later + 1)
    bucket.fill(per_minute, later + 1)
    assert bucket.level == bucket.capacity


# --- shares of a tenant's budget ------------------------------------------------------------------------------------


def test_a_share_is_what_is_there_for_each_who_was_heard():
    shares = Shares(0)
    for device in range(4):
        shares.take(device, 0)
    assert shares.share(100) == 25
    shares.take(0, 25)
    assert [shares.has_room(device, 100) for device in range(4)] == [False, True, True, True]


def test_a_share_is_never_nothing():
    shares = Shares(0)
    for device in range(7):
        shares.take(device, 0)
    assert shares.share(6) == 1


def test_a_new_minute_begins_with_new_shares_for_as_many_as_before():
    shares = Shares(0)
    for device in range(4):
        shares.take(device, 25)
    shares.turn(SHARE_SECONDS - 1, 100)
    assert not shares.has_room(0, 100)
    shares.turn(SHARE_SECONDS, 100)
    assert shares.share(100) == 25, "four were heard in the last minute"
    assert shares.has_room(0, 100)


def test_what_an_array_took_beyond_its_share_counts_in_the_next_minute():
    shares = Shares(0)
    shares.take(0, 60)
    shares.take(1, 1)
    shares.turn(SHARE_SECONDS, 100)
    assert shares.sent == {0: 10}
    shares.take(0, 10**6)
    shares.turn(2 * SHARE_SECONDS, 100)
    assert shares.sent == {0: LARGEST}, "no more than that"


def test_after_a_pause_nobody_is_remembered_as_sharing():
    shares = Shares(0)
    for device in range(4):
        shares.take(device, 1)
    shares.turn(3 * SHARE_SECONDS, 100)
    assert shares.share(100) == 100
