"""What a session says of itself: since when messages wait in it, how fast it stores, how long the database is away."""

import pytest
from django.db import DataError, OperationalError

from devices.registry import Incoming
from fleetportal.progress import Progress

BATCH = [Incoming("/t/y/d/telemetry", b"x", 1)] * 100
MOST = 4000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def take(self, _messages):
        if self.failures:
            raise self.failures.pop(0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def progress(clock, room):
    return Progress(room.take, clock)


def test_at_rest_nothing_waits(progress, clock):
    clock.now += 100
    line = progress.line(0, 0, MOST)
    assert (line.unacked, line.oldest, line.stored_at, line.full, line.away) == (0, 1100, 1100, False, 0)


def test_the_oldest_is_as_old_as_its_receipt(progress, clock):
    for received in (100, 200, 300):
        line = progress.line(received, received, MOST)
        clock.now += 1
    assert (line.unacked, line.oldest) == (300, 1000)
    assert progress.line(300, 200, MOST).oldest == 1001
    assert progress.line(300, 0, MOST).oldest == clock.now


def test_the_database_is_away_from_the_first_failure_to_the_next_success(progress, room, clock):
    room.failures = [OperationalError("gone")] * 3
    for _ in range(3):
        with pytest.raises(OperationalError):
            progress.take(BATCH)
        clock.now += 10
    line = progress.line(100, 100, MOST)
    assert (line.away, line.stored_at) == (30, 1000)
    progress.take(BATCH)
    assert progress.line(100, 0, MOST).away == 0


def test_messages_no_database_could_take_are_not_its_absence(progress, room):
    room.failures = [DataError("no such number")]
    with pytest.raises(DataError):
        progress.take(BATCH)
    assert progress.line(100, 0, MOST).away == 0


def test_the_speed_is_that_of_the_last_seconds(progress, clock):
    for received in range(100, 6100, 100):
        progress.take(BATCH)
        clock.now += 1
        line = progress.line(received, 0, MOST)
    assert line.per_second == pytest.approx(100)
    for _ in range(15):
        clock.now += 1
        line = progress.line(6000, 0, MOST)
    assert line.per_second == 0


def test_it_is_full_when_no_more_may_be_in_flight(progress):
    assert not progress.line(MOST - 1, MOST - 1, MOST).full
    assert progress.line(MOST, MOST, MOST).full


def test_a_database_away_for_long_costs_no_memory(progress, clock):
    for received in range(1, 100_000):
        clock.now += 1
        progress.line(min(received, MOST), min(received, MOST), MOST)
    assert len(progress._received) <= MOST
    assert len(progress._speeds) < 20


def test_messages_that_come_again_after_a_reconnection_wait_from_then_on(progress, clock):
    progress.line(50, 50, MOST)
    clock.now += 5
    progress.line(50, 0, MOST)  # the connection is gone, and what was not acknowledged with it
    clock.now += 5
    assert progress.line(100, 50, MOST).oldest == clock.now
