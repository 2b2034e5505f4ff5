"""From what sessions and broker say to how far behind ingest is."""

from dataclasses import replace

import pytest

from telemetry import pressure
from telemetry.pressure import Broker, Line

NOW = 1_000_000.0
IDLE = Line(at=NOW, unacked=0, oldest=NOW, stored_at=NOW, full=False, per_second=0)
BUSY = replace(IDLE, unacked=50, oldest=NOW - 0.2, per_second=1000)
FULL = replace(BUSY, unacked=4000, oldest=NOW - 4, full=True)
DEEP = Broker(NOW, queued=30_000)


def test_nobody_waits_where_nothing_was_told_or_nothing_comes():
    assert (pressure.waited([], None, NOW), pressure.waiting([], None), pressure.stuck([], NOW)) == (0, 0, 0)
    assert (pressure.waited([IDLE], DEEP, NOW), pressure.waiting([IDLE], DEEP)) == (0, 0)


def test_with_room_in_every_session_what_the_broker_keeps_is_for_others():
    assert pressure.waited([IDLE, BUSY], DEEP, NOW) == pytest.approx(0.2)
    assert pressure.waiting([IDLE, BUSY], DEEP) == 50


def test_behind_a_full_session_the_queue_lasts_as_long_as_it_takes_to_store():
    assert pressure.waited([FULL], DEEP, NOW) == 30
    assert pressure.waited([FULL, FULL], DEEP, NOW) == 15
    assert pressure.waiting([FULL, BUSY], DEEP) == 30_000


def test_nothing_stored_the_oldest_message_says_how_long():
    away = replace(FULL, oldest=NOW - 75, stored_at=NOW - 75, per_second=0, away=75)
    assert pressure.waited([away, IDLE], DEEP, NOW) == 75
    assert pressure.stuck([away, IDLE], NOW) == 75
    assert pressure.waited([away], DEEP, NOW + 10) == 85, "it grows when nobody tells any more"


def test_a_session_that_nobody_serves_has_messages_waiting_since_then():
    assert pressure.waited([IDLE, replace(IDLE, at=NOW - 10)], None, NOW) == 0
    assert pressure.waited([IDLE, replace(IDLE, at=NOW - 20)], None, NOW) == 20


@pytest.mark.parametrize(("seconds", "severity"), [(0, None), (60, None), (61, "warning"), (901, "critical")])
def test_how_bad_it_is(seconds, severity):
    assert pressure.severity(seconds) == severity


def test_a_drop_is_seen_when_the_count_grows():
    first = pressure.counted(None, Broker(NOW, dropped=0))
    assert not pressure.is_dropping(first, NOW)
    second = pressure.counted(first, Broker(NOW + 1, dropped=3))
    assert second.dropped_at == NOW + 1
    third = pressure.counted(second, Broker(NOW + 2, dropped=3))
    assert (third.dropped, third.dropped_at) == (3, NOW + 1)
    assert pressure.is_dropping(third, NOW + 2)
    assert not pressure.is_dropping(third, NOW + 1 + pressure.DROPPED_SECONDS)


def test_a_drop_while_nobody_listened_is_seen_afterwards():
    before = Broker(NOW, dropped=10)
    assert pressure.counted(before, Broker(NOW + 999, dropped=11)).dropped_at == NOW + 999


def test_a_broker_that_started_anew_counts_from_zero():
    before = Broker(NOW, dropped=10)
    assert pressure.counted(before, Broker(NOW + 1, dropped=0)).dropped_at == 0
    assert pressure.counted(before, Broker(NOW + 1, dropped=2)).dropped_at == NOW + 1


def test_who_never_heard_the_broker_knows_of_no_drops():
    assert not pressure.is_dropping(None, NOW)
