from firmware.states import (
    ACTIVE,
    BEFORE_INSTALL,
    EDITABLE,
    ENDED,
    FAILURES,
    FOLLOWS,
    RANK,
    UNDER_WAY,
    CampaignState,
    UpdateState,
)

C, U = CampaignState, UpdateState


def test_every_state_of_a_campaign_says_what_may_follow():
    assert set(FOLLOWS) == set(C)
    assert all(state not in after for state, after in FOLLOWS.items())


def test_a_campaign_comes_from_a_draft_to_every_state_and_from_every_state_to_an_end():
    reached, ahead = set(), {C.DRAFT}
    while ahead:
        state = ahead.pop()
        reached.add(state)
        ahead |= FOLLOWS[state] - reached
    assert reached == set(C)
    ends = {C.ABORTED, C.COMPLETED, C.ROLLED_BACK, C.ROLLBACK_INCOMPLETE}
    for start in C:
        seen, ahead = set(), {start}
        while ahead:
            state = ahead.pop()
            seen.add(state)
            ahead |= FOLLOWS[state] - seen
        assert seen & ends


def test_nothing_runs_that_was_not_approved():
    before_running = {state for state, after in FOLLOWS.items() if C.RUNNING in after}
    assert before_running == {C.SCHEDULED, C.PAUSED, C.COMPLETED}
    assert {state for state, after in FOLLOWS.items() if C.SCHEDULED in after} == {C.PENDING_APPROVAL}


def test_a_campaign_is_edited_or_under_way_or_over():
    assert not EDITABLE & UNDER_WAY
    assert set(C) - EDITABLE - UNDER_WAY == {C.ABORTED, C.COMPLETED, C.ROLLED_BACK, C.ROLLBACK_INCOMPLETE}
    assert all(C.DRAFT in FOLLOWS[state] for state in EDITABLE - {C.DRAFT})


def test_an_update_is_active_or_has_ended():
    assert set(ACTIVE) | set(ENDED) == set(U) == set(RANK)
    assert not set(ACTIVE) & set(ENDED)
    assert max(RANK[state] for state in ACTIVE) < min(RANK[state] for state in ENDED)
    assert [RANK[state] for state in ACTIVE] == sorted({RANK[state] for state in ACTIVE})


def test_only_a_success_can_still_turn_into_something_else():
    assert RANK[U.ROLLED_BACK] > RANK[U.SUCCEEDED]
    assert {RANK[state] for state in ENDED} == {RANK[U.SUCCEEDED], RANK[U.ROLLED_BACK]}


def test_an_update_can_be_taken_back_until_it_installs():
    assert tuple(state for state in ACTIVE if RANK[state] < RANK[U.INSTALLING]) == BEFORE_INSTALL


def test_canceled_removed_rejected_and_skipped_never_count_as_failures():
    assert not set(FAILURES) & {U.CANCELED, U.REMOVED, U.REJECTED, U.SKIPPED, U.SUCCEEDED}
    assert set(FAILURES) <= set(ENDED)
