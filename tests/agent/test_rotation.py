"""When a device renews its certificate, as tables: no clock, no network."""

import logging
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rotation import IDLE, Rotation
from agent.rotation_messages import (
    Accepted,
    Asked,
    Due,
    Failed,
    InUse,
    Issued,
    KeepCertificate,
    Kept,
    Log,
    MakeRequest,
    Promote,
    Requested,
    SendRequest,
    SwapCredentials,
)
from agent.term import Term
from tests.agent.stories import DAY, FRESH, HOUR, ISSUED, NOW, OPEN, TERM, YEAR, story


@pytest.mark.parametrize("lifetime", [90, 600, DAY, YEAR])
def test_the_self_start_counts_from_the_receiving_and_is_spread_over_a_tenth(lifetime: float) -> None:
    shares = set()
    for number in range(50):
        term = Term.of(f"{number:x}", NOW - HOUR, NOW + lifetime, NOW)
        shares.add((term.renew_at - NOW) / lifetime)
    assert len(shares) == 50
    assert 0.8 <= min(shares) < 0.82
    assert 0.88 < max(shares) <= 0.9


@pytest.mark.parametrize(("lifetime", "longest"), [(90, 4.5), (YEAR, DAY)])
def test_waits_suit_the_lifetime(lifetime: float, longest: float) -> None:
    assert Term.of("aa", NOW - HOUR, NOW + lifetime, NOW).longest_wait == pytest.approx(longest)


@given(st.floats(-2 * DAY, 2 * DAY), st.floats(60, YEAR))
def test_a_wrong_clock_neither_hurries_nor_breaks(skew: float, lifetime: float) -> None:
    received = NOW + skew
    term = Term.of("aa", NOW - HOUR, NOW + lifetime, received)
    assert term.renew_at >= received + 0.8 * min(lifetime, NOW + lifetime - received if skew < lifetime else lifetime)
    assert term.longest_wait > 0


def test_asked_it_makes_a_request_once_sends_it_and_swaps_when_the_answer_is_kept() -> None:
    state, said = story(InUse(TERM), Asked("aa"), Asked("aa"))
    assert said == [MakeRequest()]
    state, said = story(Requested("csr", online=True), state=state)
    assert said == [SendRequest("csr")]
    state, said = story(Issued(ISSUED), Issued(ISSUED), state=state)
    assert said[0] == KeepCertificate(ISSUED)
    assert isinstance(said[1], Log)
    state, said = story(Kept(), InUse(FRESH), Accepted(), state=state)
    assert said == [SwapCredentials(), Promote()]
    assert (state.tries, state.csr, state.busy, state.due) == (0, "", False, FRESH.renew_at)
    assert story(InUse(replace(FRESH, unproven=False)), Accepted(), state=state)[1] == []


def test_another_serial_is_not_its_business() -> None:
    state, (log,) = story(InUse(TERM), Asked("bb"))
    assert state == replace(IDLE, term=TERM, due=TERM.renew_at)
    assert isinstance(log, Log)
    assert log.level == logging.DEBUG


def test_asked_again_it_repeats_the_open_request() -> None:
    assert story(Asked("aa"), Asked("aa"), state=OPEN)[1] == [SendRequest("csr")] * 2


def test_nobody_asked_and_it_begins_when_due_and_repeats_ever_more_rarely() -> None:
    state, said = story(InUse(TERM), Due(), Due(), now=TERM.renew_at)
    assert said == [MakeRequest()]
    state, _ = story(Requested("csr", online=True), state=state)
    now, waits = NOW, []
    for _ in range(6):
        waits.append(state.due - now)
        now = state.due
        state, said = story(Due(), state=state, now=now)
        assert said == [SendRequest("csr")]
    assert all(5 <= wait <= 10 for wait in waits)
    assert len(set(waits)) == 6


def test_a_long_lived_certificate_is_asked_for_after_15_seconds_and_then_ever_more_rarely() -> None:
    state, waits = story(InUse(Term("aa", NOW)), Due(), Requested("csr", online=True))[0], []
    for _ in range(16):
        waits.append(state.due - NOW)
        state, said = story(Due(), state=state)
        if isinstance(said[-1], MakeRequest):  # another key starts no shorter waits
            state, _ = story(Requested(f"csr {len(waits)}", online=True), state=state)
    ceilings = [min(15.0 * 2**number, DAY) for number in range(16)]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))


def test_a_request_made_offline_is_sent_on_the_next_connection_and_again_on_each() -> None:
    state, said = story(InUse(TERM), Asked("aa"), Requested("csr", online=False))
    assert said == [MakeRequest()]
    assert story(InUse(TERM), InUse(TERM), state=state)[1] == [SendRequest("csr")] * 2


def test_a_certificate_nobody_waits_for_changes_nothing() -> None:
    state, (log,) = story(Issued(ISSUED))
    assert state == IDLE
    assert isinstance(log, Log)


@pytest.mark.parametrize("state", [OPEN, story(InUse(TERM), Asked("aa"))[0]], ids=["keeping", "making"])
def test_a_step_that_failed_is_told_and_tried_again_later(state: Rotation) -> None:
    state, said = story(Issued(ISSUED), Failed("disk full"), state=state)
    log = said[-1]
    assert isinstance(log, Log)
    assert "disk full" in log.text
    assert 5 <= state.due - NOW <= 10
    assert story(Due(), state=state, now=state.due)[1] == [SendRequest("csr") if state.csr else MakeRequest()]


def test_a_refused_certificate_is_not_replaced_at_once() -> None:
    late = replace(TERM, renew_at=NOW - 1)
    state, _ = story(InUse(late), Due(), Requested("csr", online=True), Issued(ISSUED), Kept())
    assert state.due == inf
    state, _ = story(InUse(late), Accepted(), state=state)  # the broker did not want the new one
    assert 5 <= state.due - NOW <= 10
    assert story(Asked("aa"), state=state)[1] == [MakeRequest()]  # unless the portal says so


def test_without_trouble_a_new_connection_changes_nothing() -> None:
    state, said = story(InUse(TERM), Accepted(), InUse(TERM), Accepted())
    assert said == []
    assert state.due == TERM.renew_at
