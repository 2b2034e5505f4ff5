import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.gates import WHOLE, percent
from firmware.rollout import PAUSE_REASONS, Action, Gate, Plan, Tally, gauges
from firmware.states import CampaignState, PauseReason
from tests.firmware.engine import DAY, HOUR, MINUTE, judged, step, tally

BAD = {"succeeded": 5, "failed": 5, "size": 10}
"""Ten executed, half of them failed: whatever asks first, answers."""


# --- the order of the gates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(CampaignState))
def test_the_global_stop_holds_every_campaign_whatever_it_reads(state):
    assert step(state, stopped=True, **BAD) == ("hold", "stop")


@pytest.mark.parametrize(
    ("state", "active", "action"),
    [
        (CampaignState.PAUSED, 0, "hold"),
        (CampaignState.PAUSED, 3, "hold"),
        (CampaignState.ABORTING, 3, "hold"),
        (CampaignState.ABORTING, 0, "end_abort"),
        (CampaignState.ROLLING_BACK, 0, "hold"),
        (CampaignState.DRAFT, 0, "hold"),
        (CampaignState.SCHEDULED, 0, "hold"),
        (CampaignState.COMPLETED, 0, "hold"),
        (CampaignState.ROLLED_BACK, 0, "hold"),
    ],
)
def test_what_people_decided_comes_before_every_rate(state, active, action):
    assert step(state, active=active, **BAD) == (action, "operator")


def test_the_gates_are_asked_in_the_order_of_their_names():
    readings = {
        "error_rate": {"failed": 5, "succeeded": 5},
        "offline_rate": {"rebooted": 10, "silent": 5},
        "burn_rate": {"recent_failed": 5, "recent_succeeded": 5},
        "reject_rate": {"fresh_ended": 10, "fresh_rejected": 5},
    }
    while readings:
        counted = {name: count for reading in readings.values() for name, count in reading.items()}
        assert judged(**counted).gate == next(iter(readings))
        readings.pop(next(iter(readings)))
    assert [gate.value for gate in Gate] == [
        "stop", "operator", "error_rate", "offline_rate", "burn_rate", "reject_rate", "evidence", "soak", "advance",
    ]  # fmt: skip


def test_every_gate_that_pauses_has_its_pause_reason():
    assert set(PAUSE_REASONS.values()) == set(PauseReason) - {PauseReason.OPERATOR}


# --- error rate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failed", "succeeded", "left", "trips"),
    [
        pytest.param(0, 10, 0, False, id="none failed"),
        pytest.param(2, 98, 0, False, id="equal to the threshold passes"),
        pytest.param(3, 97, 0, True, id="strictly over"),
        pytest.param(4, 196, 0, False, id="equal on more"),
        pytest.param(5, 195, 0, True, id="over on more"),
        pytest.param(20_001, 979_999, 0, True, id="over by one in a million"),
        pytest.param(20_000, 980_000, 0, False, id="equal in a million"),
        pytest.param(1, 8, 100, False, id="nine of many are too few to judge"),
        pytest.param(1, 9, 100, True, id="ten are enough"),
        pytest.param(1, 0, 0, True, id="a stage of one"),
        pytest.param(1, 3, 0, True, id="a stage smaller than min_executed is judged when it has ended"),
        pytest.param(1, 0, 4, True, id="at once, when the others cannot make up for it"),
        pytest.param(1, 0, 48, True, id="at once: 1 of 49 is over two percent"),
        pytest.param(1, 0, 49, False, id="1 of 50 is two percent: not yet"),
        pytest.param(2, 0, 98, False, id="2 of 100 could still do"),
        pytest.param(3, 0, 97, True, id="3 of 100 no longer could"),
    ],
)
@pytest.mark.parametrize("where", ["stage_active", "stage_due", "stage_absent", "stage_away"])
def test_error_rate(failed, succeeded, left, trips, where):
    """Failures / terminal, once `min_executed` are terminal, or at once when they can no longer stay under."""
    decision = judged(failed=failed, succeeded=succeeded, **{where: left})
    assert (decision.gate is Gate.ERROR_RATE) is trips
    assert (decision.action is Action.ROLL_BACK) is trips


def test_the_error_rate_is_cumulative_over_all_stages():
    """The first stages' successes count: 3 failed of a second stage of 9, of 160 in all."""
    assert step(failed=3, succeeded=157, own_succeeded=6)[1] != "error_rate"


def test_devices_that_refused_count_neither_as_failed_nor_as_executed():
    assert step(failed=2, succeeded=98, rejected=0)[1] != "error_rate"
    assert step(failed=3, succeeded=98, rejected=900)[1] == "error_rate"
    assert step(failed=0, succeeded=1, rejected=3)[1] not in ("error_rate", "reject_rate")


def test_a_threshold_of_all_never_trips_and_one_of_nothing_at_the_first_failure():
    assert step(failed=10, succeeded=0, error_rate=WHOLE)[1] != "error_rate"
    assert step(failed=1, succeeded=9999, error_rate=0) == ("roll_back", "error_rate")


def test_a_campaign_that_does_not_roll_back_pauses_instead():
    assert step(rolls_back=False, **BAD) == ("pause", "error_rate")
    assert step(rolls_back=False, rebooted=10, silent=5) == ("pause", "offline_rate")


def test_the_text_says_the_rate_with_its_numbers():
    assert judged(failed=4, succeeded=125).text == "error rate 3.1 % (4 of 129) is over 2 %"
    certain = judged(failed=3, succeeded=0, stage_due=97).text
    assert certain == "error rate 100 % (3 of 3) is over 2 %, whatever becomes of the others of 100"


# --- offline rate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silent", "rebooted", "left", "trips"),
    [
        pytest.param(0, 10, 0, False, id="none silent"),
        pytest.param(1, 20, 0, False, id="equal to the threshold passes"),
        pytest.param(2, 39, 0, True, id="strictly over"),
        pytest.param(1, 1, 0, True, id="the only one"),
        pytest.param(1, 1, 50, False, id="one slow boot of many to come"),
        pytest.param(1, 10, 50, True, id="one of the first ten"),
        pytest.param(3, 3, 30, True, id="at once, when the others cannot make up for it"),
    ],
)
def test_offline_rate(silent, rebooted, left, trips):
    """Devices silent for longer than the grace after their reboot, of those that rebooted."""
    expected = ("roll_back", "offline_rate") if trips else ("offer", "evidence")
    assert step(silent=silent, rebooted=rebooted, stage_active=max(left, 1 if rebooted > 1 else 0)) == expected


@pytest.mark.parametrize(
    ("gone", "control", "action"),
    [
        pytest.param(0, 0, "roll_back", id="nobody to compare with"),
        pytest.param(0, 100, "roll_back", id="the others are fine"),
        pytest.param(5, 100, "roll_back", id="the others are at the threshold"),
        pytest.param(6, 100, "pause", id="the others drop off too"),
        pytest.param(100, 100, "pause", id="everybody is gone"),
    ],
)
def test_an_outage_pauses_instead_of_rolling_back(gone, control, action):
    decision = judged(silent=5, rebooted=10, control=control, control_gone=gone)
    assert (decision.action.value, decision.gate) == (action, Gate.OFFLINE_RATE)
    assert ("an outage, not the release" in decision.text) is (action == "pause")


def test_an_outage_does_not_excuse_failures():
    assert step(control=100, control_gone=100, **BAD) == ("roll_back", "error_rate")


# --- burn rate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failed", "succeeded", "trips"),
    [
        pytest.param(3, 97, False, id="three times the budget passes"),
        pytest.param(4, 96, True, id="more than that pauses"),
        pytest.param(1, 8, False, id="nine recent ends are too few"),
        pytest.param(1, 9, True, id="ten are enough"),
        pytest.param(0, 500, False, id="none failed"),
    ],
)
def test_burn_rate(failed, succeeded, trips):
    """A late spike that the cumulative rate still dilutes pauses: 10,000 succeeded before."""
    words = {"recent_failed": failed, "recent_succeeded": succeeded}
    counted = {"failed": failed, "succeeded": 10_000 + succeeded}
    expected = ("pause", "burn_rate") if trips else ("soak", "evidence")
    assert step(**words, **counted) == expected


@pytest.mark.parametrize(
    ("target", "burn", "failed", "trips"),
    [(9990, 3, 4, True), (9990, 3, 3, False), (9900, 10, 100, False), (9900, 10, 101, True), (0, 1, 1000, False)],
)
def test_the_burn_rate_is_measured_in_what_the_success_target_allows(target, burn, failed, trips):
    counted = {"recent_failed": failed, "recent_succeeded": 1000 - failed, "succeeded": 10**6}
    decision = judged(success_target=target, burn_rate=burn, **counted)
    assert (decision.gate is Gate.BURN_RATE) is trips


def test_the_text_of_the_burn_rate_says_how_often_the_budget():
    text = judged(recent_failed=5, recent_succeeded=95, succeeded=10_000).text
    assert text == "burn rate 5.0 × (5 of 100 in 30 min) is over 3 ×"


# --- reject rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rejected", "ended", "left", "trips"),
    [
        pytest.param(2, 10, 0, False, id="equal to the threshold passes"),
        pytest.param(3, 10, 0, True, id="strictly over"),
        pytest.param(1, 1, 50, False, id="the first of many to end refuses"),
        pytest.param(1, 1, 0, True, id="the only one refuses"),
        pytest.param(3, 3, 10, True, id="at once, when the others cannot make up for it"),
        pytest.param(0, 0, 10, False, id="nothing since the resume"),
    ],
)
def test_rejected_devices_have_a_threshold_of_their_own_which_pauses(rejected, ended, left, trips):
    words = {"fresh_rejected": rejected, "fresh_ended": ended, "rejected": rejected, "succeeded": ended - rejected}
    assert (step(stage_active=left, **words) == ("pause", "reject_rate")) is trips


# --- figures and gauges ---------------------------------------------------------------------------------------------


def test_a_decision_carries_every_numerator_denominator_and_threshold():
    figures = judged(
        failed=1, succeeded=99, silent=2, rebooted=80, recent_failed=1, recent_succeeded=49, fresh_rejected=3,
        fresh_ended=103, control=40, control_gone=1, stage_absent=7,
    ).figures  # fmt: skip
    assert figures["error_rate"] == {
        "numerator": 1, "denominator": 100, "threshold_bp": 200, "needed": 10, "can_be": 107,
    }  # fmt: skip
    assert (figures["offline_rate"]["numerator"], figures["offline_rate"]["denominator"]) == (2, 80)
    assert (figures["burn_rate"]["numerator"], figures["burn_rate"]["denominator"]) == (1, 50)
    assert (figures["burn_rate"]["burn_rate"], figures["burn_rate"]["success_target_bp"]) == (3, 9900)
    assert (figures["reject_rate"]["numerator"], figures["reject_rate"]["denominator"]) == (3, 103)
    assert figures["control"] == {"numerator": 1, "denominator": 40, "threshold_bp": 500}
    assert figures["evidence"]["verified"] == 99
    assert figures["evidence"]["timeout_s"] == DAY.total_seconds()
    assert figures["soak"] == {"watched_s": None, "soak_s": 1800, "failures": 1, "failures_before": 0}
    assert json.loads(json.dumps(figures)) == figures


def test_a_soaking_stage_says_how_long_it_was_watched():
    assert judged(succeeded=10, watched=7 * MINUTE, age=HOUR).figures["soak"]["watched_s"] == 420


def test_gauges_show_every_rate_with_its_limit():
    counted = tally(failed=4, succeeded=125, silent=1, rebooted=40, recent_failed=1, recent_succeeded=99)
    shown = {each.gate.value: each for each in gauges(Plan(), counted)}
    assert list(shown) == ["error_rate", "offline_rate", "burn_rate", "reject_rate"]
    errors = shown["error_rate"]
    assert (errors.label, errors.value, errors.limit, errors.over) == ("Error rate", "3.1 % (4 of 129)", "2 %", True)
    assert errors.share == pytest.approx(4 / 129 / 0.02)
    assert (shown["offline_rate"].value, shown["offline_rate"].share) == ("2.5 % (1 of 40)", 0.5)
    assert (shown["burn_rate"].value, shown["burn_rate"].limit) == ("1.0 × (1 of 100 in 30 min)", "3 ×")
    assert (shown["reject_rate"].value, shown["reject_rate"].share) == ("0 % (0 of 0)", 0.0)
    assert not shown["reject_rate"].over


def test_a_gauge_without_a_limit_shows_twice_of_it_as_soon_as_there_is_anything():
    shown = gauges(Plan(error_rate=0), Tally(failed=1, succeeded=9))[0]
    assert (shown.share, shown.over, shown.limit) == (2.0, True, "0 %")


def test_a_gauge_that_is_judged_on_too_few_is_not_over_yet():
    shown = gauges(Plan(), Tally(failed=1, succeeded=1, stage_due=500))[0]
    assert shown.share > 1
    assert not shown.over


@given(numerator=st.integers(0, 10**6), denominator=st.integers(0, 10**6), threshold=st.integers(0, WHOLE))
def test_a_rate_trips_exactly_when_the_fraction_is_over(numerator, denominator, threshold):
    decision = judged(failed=numerator, succeeded=denominator, error_rate=threshold, min_executed=1)
    executed = numerator + denominator
    assert (decision.gate is Gate.ERROR_RATE) is (executed > 0 and numerator * WHOLE > threshold * executed)


@pytest.mark.parametrize(
    ("share", "text"),
    [((0, 0), "0 %"), ((1, 2), "50 %"), ((4, 129), "3.1 %"), ((1, 2000), "0.05 %"), ((1, 3), "33.33 %"),
     ((7, 7), "100 %")],
)  # fmt: skip
def test_shares_are_told_in_percent(share, text):
    assert percent(*share) == text
