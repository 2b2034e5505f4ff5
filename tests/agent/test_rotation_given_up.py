"""When a device gives up a key that the portal will not certify, as tables: no clock, no network."""

import logging

import pytest

from agent.rotation import REPETITIONS, Rotation
from agent.rotation_messages import (
    Asked,
    Due,
    Failed,
    InUse,
    Issued,
    KeepCertificate,
    Log,
    MakeRequest,
    Refused,
    Requested,
    SendRequest,
)
from agent.term import Term
from tests.agent.stories import DAY, HOUR, ISSUED, NOW, OPEN, TERM, YEAR, story


def repeated(times: int, state: Rotation = OPEN) -> tuple[Rotation, list[object]]:
    """The open request repeated whenever it is due."""
    said: list[object] = []
    for _ in range(times):
        state, more = story(Due(), state=state, now=state.due)
        said += more
    return state, said


def test_after_six_repetitions_without_an_answer_another_key_takes_the_place() -> None:
    state, said = repeated(REPETITIONS)
    assert said == [SendRequest("csr")] * 6
    state, (log, make) = repeated(1, state)
    assert isinstance(log, Log)
    assert (log.level, make) == (logging.WARNING, MakeRequest("csr"))
    assert story(Due(), Asked("aa"), state=state, now=state.due)[1] == []
    state, said = story(Requested("another", online=True), state=state, now=state.due)
    assert (said, state.sent) == ([SendRequest("another")], 1)
    assert repeated(REPETITIONS, state)[1] == [SendRequest("another")] * 6


def test_a_key_that_could_not_be_made_leaves_the_open_request_and_is_tried_again() -> None:
    state, _ = repeated(REPETITIONS + 1)
    state, (log,) = story(Failed("disk full"), state=state, now=state.due)
    assert isinstance(log, Log)
    assert story(Issued(ISSUED), state=state)[1] == [KeepCertificate(ISSUED)]
    assert repeated(1, state)[1][-1] == MakeRequest("csr")


def test_what_is_said_again_beside_the_plan_neither_counts_nor_puts_off_the_plan() -> None:
    state, said = story(*[InUse(TERM), Asked("aa")] * 20, state=OPEN)
    assert said == [SendRequest("csr")] * 40
    assert (state.sent, state.due) == (1, OPEN.due)
    assert repeated(REPETITIONS, state)[1] == [SendRequest("csr")] * 6


def test_a_device_that_is_online_for_moments_gives_up_too_but_not_before_a_kept_answer_had_time_to_come() -> None:
    state, _ = repeated(REPETITIONS)
    state, said = story(InUse(TERM), state=state, now=state.due + DAY)
    assert said == []
    assert story(Issued(ISSUED), state=state, now=state.due)[1] == [KeepCertificate(ISSUED)]
    assert repeated(1, state)[1][-1] == MakeRequest("csr")


@pytest.mark.parametrize("lifetime", [90, 600, DAY, YEAR, 10 * YEAR])
def test_keys_are_given_up_no_faster_than_the_portal_hands_out_certificates(lifetime: float) -> None:
    term = Term.of("aa", NOW - HOUR, NOW + lifetime, NOW)
    state, _ = story(InUse(term), Asked("aa"), Requested("csr", online=True))
    made = [NOW]
    for _ in range(8000):
        now = state.due
        state, said = story(Due(), state=state, now=now)
        if isinstance(said[-1], MakeRequest):
            made.append(now)
            state, _ = story(Requested(f"csr {now}", online=True), state=state, now=now)
    assert len(made) > 7
    assert made[1] - made[0] < max(HOUR, lifetime)
    assert all(later - earlier > lifetime / 3 for earlier, later in zip(made, made[5:], strict=False))


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    state, _ = repeated(REPETITIONS + 1)
    state, _ = story(Requested("another", online=True), state=state, now=state.due)
    for number in range(REPETITIONS):
        state, said = story(InUse(TERM), state=state, now=NOW - (1 + number) * YEAR)
        assert said == [SendRequest("another")]
        assert state.due - NOW + (1 + number) * YEAR <= TERM.longest_wait
    assert repeated(1, state)[1][-1] == MakeRequest("another")


@pytest.mark.parametrize("status", [200, 202, 400, 401, 403, 404, 408, 409, 413, 429, 500, 503])
def test_over_https_the_portal_says_that_it_will_not_certify_a_key(status: int) -> None:
    state, _ = story(Requested("csr", online=False))
    after, said = story(Refused("csr", status), state=state)
    if status in (400, 409):
        assert isinstance(said[0], Log)
        assert said[1:] == [MakeRequest("csr")]
        assert story(Refused("csr", status), state=after)[1] == []
    else:
        assert (after, said) == (state, [])


def test_a_refusal_of_another_request_says_nothing_of_this_one() -> None:
    assert story(Refused("another", 409), state=OPEN) == (OPEN, [])


def test_certificates_of_other_keys_do_not_put_off_the_repetition() -> None:
    state, said = story(*[Issued(ISSUED), Failed("for another key", logging.WARNING)] * 9, state=OPEN)
    assert said.count(KeepCertificate(ISSUED)) == 9
    assert state == OPEN
