from math import inf
from random import Random

from agent.backoff import Backoff
from agent.resend import FIRST, Resend

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def resend() -> Resend:
    return Resend(Random(1), Backoff(first=10, cap=40))


def test_nothing_sent_nothing_due() -> None:
    assert resend().due == inf


def test_what_was_sent_is_due_again_later_and_ever_more_rarely() -> None:
    timer = resend()
    timer.sent(A, now=100)
    waits = []
    now = 100.0
    for _ in range(5):
        assert timer.mark == A
        waits.append(timer.due - now)
        now = timer.due
        timer.repeated(now, unsettled=True)
    ceilings = (10, 20, 40, 40, 40)
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_messages_sent_meanwhile_do_not_push_the_timer_back() -> None:
    timer = resend()
    timer.sent(A, now=100)
    due = timer.due
    timer.sent(B, now=104)
    assert (timer.due, timer.mark, timer.cursor) == (due, A, B)


def test_after_a_settled_range_the_next_one_is_watched_with_a_fresh_wait() -> None:
    timer = resend()
    timer.sent(A, now=100)
    timer.sent(C, now=104)
    timer.repeated(110, unsettled=False)
    assert timer.mark == C
    assert 115 <= timer.due <= 120


def test_the_timer_stops_when_all_is_settled() -> None:
    timer = resend()
    timer.sent(A, now=100)
    timer.repeated(110, unsettled=False)
    assert timer.due == inf


def test_a_new_connection_begins_at_the_beginning() -> None:
    timer = resend()
    timer.sent(A, now=100)
    timer.reset()
    assert (timer.cursor, timer.due) == (FIRST, inf)
