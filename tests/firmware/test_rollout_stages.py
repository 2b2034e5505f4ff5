"""Evidence, soak and advance: when a stage passes, when it does not, and that every campaign reaches an end."""

from dataclasses import replace

import pytest

from firmware.rollout import Action
from tests.firmware.engine import DAY, HOUR, MINUTE, NOW, judged, step

SOAKED = {"watched": 31 * MINUTE}
GOOD = {"succeeded": 10, "own_succeeded": 9}


# --- the first stage, and nobody to update --------------------------------------------------------------------------


def test_the_first_stage_opens_at_once():
    assert step(opened=False, targets=3) == ("open", "advance")


@pytest.mark.parametrize("opened", [False, True])
def test_zero_targets_complete_at_once(opened):
    decision = judged(opened=opened, targets=0)
    assert (decision.action, decision.text) == (Action.COMPLETE, "no device to update")


def test_a_continuous_campaign_without_targets_opens_and_waits_for_some():
    assert step(opened=False, targets=0, continuous=True, ends_at=NOW + DAY) == ("open", "advance")
    assert step(targets=0, continuous=True, ends_at=NOW + DAY, last=True) == ("offer", "advance")


# --- evidence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param({"succeeded": 10}, ("soak", "evidence"), id="all verified"),
        pytest.param({"succeeded": 1}, ("soak", "evidence"), id="a stage of one"),
        pytest.param({"succeeded": 9, "stage_active": 1}, ("offer", "evidence"), id="one is under way"),
        pytest.param({"succeeded": 9, "stage_due": 1}, ("offer", "evidence"), id="one is still to be offered"),
        pytest.param({"succeeded": 2, "stage_absent": 8}, ("soak", "evidence"), id="absent ones leave"),
        pytest.param({"succeeded": 2, "stage_away": 8}, ("soak", "evidence"), id="those that went offline leave"),
        pytest.param({"succeeded": 2, "targets": 2}, ("soak", "evidence"), id="skipped and removed ones leave"),
        pytest.param({"succeeded": 0, "stage_absent": 8}, ("offer", "evidence"), id="all are absent: hold"),
        pytest.param({"succeeded": 0, "rejected": 5}, ("offer", "evidence"), id="all have refused: hold"),
        pytest.param({"succeeded": 98, "failed": 2}, ("soak", "evidence"), id="a failure below the threshold"),
    ],
)
def test_a_stage_is_watched_when_all_who_can_be_reached_have_ended_and_one_is_verified(words, expected):
    assert step(**words) == expected


@pytest.mark.parametrize("where", ["stage_absent", "stage_away", "stage_active", "stage_due"])
@pytest.mark.parametrize("age", [HOUR, 30 * HOUR, 100 * HOUR], ids=["early", "late", "long ago"])
@pytest.mark.parametrize("watched", [None, HOUR], ids=["rolling", "soaking"])
@pytest.mark.parametrize("last", [False, True], ids=["middle", "last"])
@pytest.mark.parametrize("alerted", [False, True])
def test_a_stage_never_passes_with_zero_verified_devices(where, age, watched, last, alerted):
    action = judged(succeeded=0, age=age, watched=watched, last=last, alerted=alerted, **{where: 5}).action
    assert action not in (Action.OPEN, Action.COMPLETE, Action.SOAK)


@pytest.mark.parametrize(
    ("own_succeeded", "own_left", "expected"),
    [
        pytest.param(0, 5, "offer", id="a stage that is switched off waits"),
        pytest.param(1, 4, "soak", id="one of its own is verified"),
        pytest.param(0, 0, "soak", id="all of its own are gone for good: the evidence so far stands"),
        pytest.param(None, 5, "soak", id="not counted"),
    ],
)
def test_a_middle_stage_needs_a_verified_device_of_its_own_while_it_has_any(own_succeeded, own_left, expected):
    words = {"own_succeeded": own_succeeded, "own_left": own_left, "stage_absent": own_left}
    assert step(succeeded=20, **words) == (expected, "evidence")


def test_a_stage_of_which_nobody_is_left_is_merged_into_the_next_while_nothing_was_executed():
    decision = judged(targets=50, number=1)
    assert (decision.action, decision.gate.value) == (Action.OPEN, "advance")
    assert "merged into the next" in decision.text
    assert step(targets=50, number=1, stage_absent=1) == ("offer", "evidence")
    assert step(targets=50, number=1, rejected=1) == ("offer", "evidence")
    assert step(targets=50, number=1, canceled_by_device=1) == ("offer", "evidence")  # it gave up by itself
    assert step(targets=50, number=1, canceled_by_device=1, age=DAY) == ("alert", "evidence")


def test_a_last_stage_of_which_nobody_is_left_completes():
    assert step(targets=3, last=True) == ("complete", "advance")
    assert step(targets=3, last=True, rejected=3) == ("complete", "advance")
    assert step(targets=3, last=True, failed=3, error_rate=10_000) == ("complete", "advance")


# --- no evidence: hold, alert, pause --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "alerted", "expected"),
    [
        pytest.param(23 * HOUR, False, "offer", id="before the timeout"),
        pytest.param(24 * HOUR, False, "alert", id="at the timeout"),
        pytest.param(25 * HOUR, True, "offer", id="once only"),
        pytest.param(48 * HOUR, True, "pause", id="at twice the timeout"),
        pytest.param(48 * HOUR, False, "alert", id="nobody was told yet: first the alert"),
    ],
)
@pytest.mark.parametrize("where", ["stage_absent", "stage_active", "stage_due", "stage_away"])
def test_no_evidence_holds_then_alerts_once_then_pauses(age, alerted, expected, where):
    assert step(succeeded=0, age=age, alerted=alerted, **{where: 3}) == (expected, "evidence")


def test_too_little_evidence_at_the_timeout_is_no_evidence():
    """Three of the ten it takes, and seven that neither end nor leave."""
    words = {"succeeded": 3, "stage_active": 7, "own_succeeded": 2}
    assert step(age=24 * HOUR, **words) == ("alert", "evidence")
    assert step(age=48 * HOUR, alerted=True, **words) == ("pause", "evidence")


def test_the_clock_of_a_stage_begins_anew_at_a_resume():
    late = {"succeeded": 0, "stage_absent": 3, "age": 60 * HOUR}
    assert step(**late) == ("alert", "evidence")
    assert step(clock_from=NOW - HOUR, **late) == ("offer", "evidence")


def test_a_stage_that_only_waits_for_windows_is_told_of_and_not_paused():
    waiting = {"succeeded": 0, "stage_due": 3, "stage_window": 3}
    assert step(age=24 * HOUR, **waiting) == ("alert", "evidence")
    assert step(age=90 * HOUR, alerted=True, **waiting) == ("offer", "evidence")
    assert step(age=90 * HOUR, alerted=True, **waiting | {"stage_due": 4}) == ("pause", "evidence")
    assert step(age=90 * HOUR, alerted=True, stage_active=1, **waiting) == ("pause", "evidence")


def test_what_was_just_offered_gets_its_time_before_a_pause():
    """The window opened on the third day."""
    words = {"succeeded": 0, "stage_active": 3, "age": 72 * HOUR, "alerted": True}
    assert step(last_offered_at=NOW - HOUR, **words) == ("offer", "evidence")
    assert step(last_offered_at=NOW - DAY, **words) == ("pause", "evidence")


# --- soak -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watched", "expected"),
    [(0 * MINUTE, "offer"), (29 * MINUTE, "offer"), (30 * MINUTE, "open"), (31 * MINUTE, "open")],
    ids=["just begun", "not over", "over", "long over"],
)
def test_a_stage_is_watched_for_its_soak(watched, expected):
    assert step(watched=watched, **GOOD) == (expected, "soak" if expected == "offer" else "advance")


def test_the_text_says_until_when_it_is_watched():
    """A moment is as true a minute later."""
    assert judged(watched=10 * MINUTE, **GOOD).text == "stage 2 is watched until 2026-11-21 12:20:00 UTC"
    assert judged(watched=29.5 * MINUTE, **GOOD).text == "stage 2 is watched until 2026-11-21 12:00:30 UTC"


@pytest.mark.parametrize(
    ("due", "window", "told"),
    [
        (1, 1, "1 waits for its maintenance window"),
        (3, 3, "3 wait for their maintenance window"),
        (3, 2, "1 to be offered, 2 wait for their maintenance window"),
    ],
)
def test_the_text_tells_who_waits_for_a_window(due, window, told):
    text = judged(succeeded=0, stage_due=due, stage_window=window).text
    assert text == f"stage 2: 0 verified, 0 failed, {told}"


def test_the_clock_stops_while_paused():
    """A resume moves `soak_from` on by the pause: what was watched before it counts."""
    paused_for = 5 * HOUR
    assert step(watched=0 * MINUTE, soak_from=NOW - paused_for - 10 * MINUTE + paused_for, **GOOD) == ("offer", "soak")
    assert step(watched=0 * MINUTE, soak_from=NOW - paused_for - 31 * MINUTE + paused_for, **GOOD)[0] == "open"


@pytest.mark.parametrize(
    ("failed", "before", "age", "expected"),
    [
        pytest.param(2, 2, HOUR, "open", id="failures from before the soak"),
        pytest.param(3, 2, HOUR, "restart_soak", id="a new failure"),
        pytest.param(1, 2, HOUR, "open", id="fewer: some were tried again"),
        pytest.param(3, 2, 24 * HOUR, "open", id="not after the stage's timeout"),
    ],
)
def test_the_soak_restarts_on_new_failures_but_not_after_the_timeout(failed, before, age, expected):
    assert step(succeeded=500, failed=failed, soak_failures=before, age=age, **SOAKED)[0] == expected


def test_the_soak_is_bounded_by_the_timeout():
    """With a new failure every ten minutes a stage ends at most one soak after its timeout."""
    soak_from, failures, age = 0 * MINUTE, 0, 0 * MINUTE
    while age < 26 * HOUR:
        age += 10 * MINUTE
        decided = judged(
            succeeded=10**6, failed=failures + 1, soak_failures=failures, age=age, watched=age - soak_from
        ).action
        if decided is Action.OPEN:
            break
        if decided is Action.RESTART_SOAK:
            soak_from, failures = age, failures + 1
    assert 24 * HOUR <= age <= 24 * HOUR + 30 * MINUTE


def test_a_soak_without_a_beginning_begins():
    assert judged(watched=0 * MINUTE, soak_from=None, **GOOD).action is Action.RESTART_SOAK


@pytest.mark.parametrize(
    ("back", "watched", "expected"),
    [
        pytest.param(3, 10 * MINUTE, "offer", id="a few come back: they are offered theirs"),
        pytest.param(3, HOUR, "offer", id="and the stage waits for their end"),
        pytest.param(10, 10 * MINUTE, "offer", id="as many as were verified"),
        pytest.param(11, 10 * MINUTE, "resume_rolling", id="more than that: it rolls again"),
    ],
)
@pytest.mark.parametrize("where", ["stage_due", "stage_active"])
def test_devices_that_come_back_while_a_stage_is_watched(back, watched, expected, where):
    assert step(watched=watched, **GOOD, **{where: back})[0] == expected


def test_devices_that_come_back_hold_a_stage_no_longer_than_its_timeout():
    assert step(age=24 * HOUR, watched=HOUR, stage_active=3, stage_due=500, **GOOD) == ("open", "advance")


def test_evidence_that_is_lost_while_watching_rolls_again():
    """The only success turned out to be none, and the threshold is wide."""
    words = {"succeeded": 0, "failed": 1, "soak_failures": 1, "error_rate": 10_000, "stage_absent": 3}
    assert step(**SOAKED, **words) == ("resume_rolling", "soak")
    assert step(age=24 * HOUR, **SOAKED, **words) == ("alert", "evidence")


# --- advance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["stage_active", "stage_due", "stage_away", "stage_absent"])
def test_stragglers_do_not_hold_a_stage_with_evidence_longer_than_its_timeout(where):
    words = {"succeeded": 10, "own_succeeded": 1, "own_left": 4, where: 4}
    assert step(age=24 * HOUR, **words) == ("soak", "evidence")
    assert step(age=25 * HOUR, **SOAKED, **words) == ("open", "advance")


@pytest.mark.parametrize("state", ["rolling", "soaking"])
def test_a_rate_on_few_devices_is_judged_before_the_stage_passes(state):
    """One of two failed while 200 are absent: too few to stop on, but nothing passes on them."""
    words = {"succeeded": 1, "failed": 1, "soak_failures": 1, "stage_absent": 200}
    if state == "rolling":
        assert step(**words) == ("soak", "evidence")
    else:
        decision = judged(**SOAKED, **words)
        assert (decision.action, decision.text) == (Action.ROLL_BACK, "error rate 50 % (1 of 2) is over 2 %")


# --- the end --------------------------------------------------------------------------------------------------------

LAST = {"last": True, **GOOD}


def test_the_last_stage_passed_completes_the_campaign():
    assert step(**LAST) == ("soak", "evidence")
    assert step(**SOAKED, **LAST) == ("complete", "advance")


@pytest.mark.parametrize("where", ["stage_absent", "stage_away"])
def test_absent_devices_have_until_the_timeout_of_the_last_stage(where):
    words = LAST | {where: 3, "own_left": 3, "own_succeeded": 0 if where == "stage_absent" else 1}
    if words["own_succeeded"]:
        assert step(age=23 * HOUR, **SOAKED, **words) == ("offer", "advance")
    assert step(age=24 * HOUR, **SOAKED, **words) == ("complete", "advance")


def test_the_last_stage_waits_for_what_is_being_installed():
    words = LAST | {"stage_active": 2, "age": 30 * HOUR}
    assert step(**SOAKED, **words, installing=1) == ("offer", "advance")
    assert step(**SOAKED, **words, last_offered_at=NOW - HOUR) == ("offer", "advance")
    assert step(**SOAKED, **words, last_offered_at=NOW - DAY) == ("complete", "advance")


def test_the_last_stage_waits_for_windows_and_pacing_and_says_so_once_when_nothing_goes_out():
    words = LAST | {"stage_due": 2, "age": 30 * HOUR}
    for watching in ({}, SOAKED):
        assert step(**words, **watching) == ("alert", "evidence")
        assert step(**words, **watching, alerted=True) == ("offer", "evidence")
        assert step(**words, **watching, last_offered_at=NOW - HOUR) == ("offer", "evidence")


def test_a_continuous_campaign_goes_on_offering_until_its_end():
    words = LAST | {"continuous": True, "ends_at": NOW + DAY, **SOAKED}
    assert step(**words) == ("offer", "advance")
    assert step(**words, stage_due=1, age=90 * HOUR) == ("offer", "evidence")
    assert step(**words | {"ends_at": None}) == ("offer", "advance")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("opened", [False, True])
def test_a_continuous_campaign_completes_at_its_end(last, opened):
    words = {"continuous": True, "ends_at": NOW, "last": last, "opened": opened, "stage_absent": 4}
    assert step(**words) == ("complete", "advance")
    assert step(active=2, **words) == ("hold", "advance")
    assert step(active=2, **words | {"ends_at": NOW - DAY}) == ("complete", "advance")
    assert step(active=2, installing=1, **words | {"ends_at": NOW - DAY}) == ("hold", "advance")


def test_a_campaign_that_is_not_continuous_has_no_end_of_its_own():
    assert step(ends_at=NOW - DAY, stage_active=1, succeeded=1) == ("offer", "evidence")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param({"opened": False}, "open", id="it opens"),
        pytest.param({"failed": 5, "succeeded": 1, "stage_active": 2}, "offer", id="failures do not hold it"),
        pytest.param({"silent": 5, "rebooted": 5, "stage_active": 2}, "offer", id="nor do silent ones"),
        pytest.param({"stage_absent": 2}, "offer", id="absent ones are waited for"),
        pytest.param({"failed": 5, "succeeded": 5}, "complete", id="nobody is left"),
        pytest.param({"failed": 5}, "complete", id="nobody is left, and all failed"),
        pytest.param({"stage_absent": 2, "age": 24 * HOUR}, "complete", id="the timeout ends it"),
        pytest.param({"stage_active": 2, "installing": 1, "age": 90 * HOUR}, "offer", id="but no installation"),
        pytest.param({"targets": 0}, "complete", id="nobody to lead back"),
    ],
)
def test_a_rollback_has_no_gates_and_ends(words, expected):
    assert step(gated=False, last=True, **words) == (expected, "advance")


def test_two_looks_at_the_same_numbers_decide_the_same():
    assert judged(**GOOD) == judged(**GOOD) == replace(judged(**GOOD))
