"""Whole campaigns, played in memory: each reaches an end, and none passes a stage it should not have passed."""

from dataclasses import dataclass, fields, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.gates import WHOLE
from firmware.ordering import bounds
from firmware.rollout import Action, Decision, OpenStage, Plan, Progress, Tally, decide
from firmware.states import CampaignState, StageState
from tests.firmware.engine import HOUR, MINUTE, NOW

TICK = 10 * MINUTE
ENDS = {Action.COMPLETE, Action.ROLL_BACK, Action.PAUSE}


@dataclass
class Target:
    """A device, and what will become of it."""

    fate: str
    """succeeded, failed, rejected, stuck, skipped"""
    online_from: int
    """The tick from which on it is reachable."""
    offered: int = -1
    ended: int = -1


def play(plan, targets, pace):
    """Ticks until the end; yields each decision with its tally and the tick."""
    uptos = [bound.size for bound in bounds((1, 5, 10, 25, 100), range(len(targets)))]
    stage, opened, alerted = None, -1, False
    for tick in range(24 * 6 * 30):
        now = NOW + tick * TICK
        upto = uptos[opened] if stage else 0
        counted = count(targets, upto, uptos[opened - 1] if opened > 0 else 0, tick)
        decision = decide(plan, Progress(CampaignState.RUNNING, False, stage, counted, alerted), now)
        yield decision, counted, tick
        if decision.action in ENDS:
            return
        stage, opened, alerted = applied(decision.action, stage, opened, uptos, counted, now, alerted)
        offer(targets[: uptos[opened]], tick, pace)
        for target in targets:
            if target.offered >= 0 and target.ended < 0 and target.fate != "stuck" and tick - target.offered >= 1:
                target.ended = tick
    raise AssertionError("it does not end")


def applied(action, stage, opened, uptos, counted, now, alerted):
    """What advancing.py does with a decision."""
    if action is Action.OPEN:
        opened, last = opened + 1, opened + 2 == len(uptos)
        stage = OpenStage(opened + 1, uptos[opened], StageState.ROLLING, 30 * MINUTE, now, last=last)
        alerted = False
    elif action in (Action.SOAK, Action.RESTART_SOAK):
        stage = replace(stage, state=StageState.SOAKING, soak_from=now, soak_failures=counted.failed)
    elif action is Action.RESUME_ROLLING:
        stage = replace(stage, state=StageState.ROLLING, soak_from=None)
    return stage, opened, alerted or action is Action.ALERT


def offer(targets, tick, pace):
    """As many as the pace allows; one that is not to have it is skipped at its turn."""
    for target in [each for each in targets if each.offered < 0 and each.ended < 0 and each.online_from <= tick][:pace]:
        if target.fate == "skipped":
            target.ended = tick
        else:
            target.offered = tick


def count(targets, upto, before, tick):
    """The tally."""
    here, own = targets[:upto], targets[before:upto]

    def ended(among, *fates):
        return sum(1 for each in among if each.ended >= 0 and each.fate in fates)

    planned = [each for each in here if each.offered < 0 and each.ended < 0]
    active = [each for each in here if each.offered >= 0 and each.ended < 0]
    due = sum(1 for each in planned if each.online_from <= tick)
    counts = ended(targets, "succeeded", "failed", "rejected")
    return Tally(
        targets=len(targets) - ended(targets, "skipped"),
        offered=sum(1 for each in targets if each.offered >= 0),
        succeeded=ended(targets, "succeeded"),
        failed=ended(targets, "failed"),
        rejected=ended(targets, "rejected"),
        fresh_ended=counts,
        fresh_rejected=ended(targets, "rejected"),
        rebooted=ended(targets, "succeeded", "failed"),
        stage_active=len(active),
        stage_due=due,
        stage_absent=len(planned) - due,
        stage_succeeded=ended(here, "succeeded"),
        active=len(active),
        own_succeeded=ended(own, "succeeded"),
        own_left=sum(1 for each in own if each.ended < 0),
    )


fates = st.sampled_from(["succeeded"] * 8 + ["failed", "rejected", "stuck", "skipped"])
moments = st.sampled_from([0] * 8 + [10, 100, 200, 10**6])
fleets = st.lists(st.builds(Target, fates, moments), min_size=0, max_size=60)
plans = st.builds(
    Plan,
    error_rate=st.sampled_from([0, 200, 1000, 5000, WHOLE]),
    reject_rate=st.sampled_from([2000, WHOLE]),
    min_executed=st.integers(1, 20),
    stage_timeout=st.sampled_from([HOUR, 24 * HOUR]),
)


@settings(max_examples=60, deadline=None)
@given(plan=plans, targets=fleets, pace=st.integers(1, 30))
def test_every_campaign_reaches_an_end_and_passes_no_stage_without_evidence(plan, targets, pace):
    merged_or_first = ("merged into the next", "the first of")
    for decision, counted, _ in play(plan, targets, pace):
        if decision.action is Action.OPEN and not any(words in decision.text for words in merged_or_first):
            assert counted.stage_succeeded > 0
            assert counted.own_succeeded > 0 or counted.own_left == 0
            assert counted.failed * WHOLE <= plan.error_rate * counted.executed
        if decision.action is Action.COMPLETE:
            assert counted.installing == 0
            assert counted.stage_due == 0
    assert decision.action in ENDS


@settings(max_examples=30, deadline=None)
@given(plan=plans, broken=st.integers(0, 199), pace=st.integers(1, 50))
def test_a_healthy_fleet_completes_and_one_broken_device_of_two_hundred_stops_nothing(plan, broken, pace):
    targets = [Target("succeeded", 0) for _ in range(200)]
    *_, (decision, counted, _) = play(plan, targets, pace)
    assert (decision.action, counted.succeeded) == (Action.COMPLETE, 200)
    targets = [Target("failed" if number == broken else "succeeded", 0) for number in range(200)]
    *_, (decision, counted, _) = play(replace(plan, error_rate=WHOLE // 2, min_executed=4), targets, pace)
    assert (decision.action, counted.succeeded) == (Action.COMPLETE, 199)


@settings(max_examples=20, deadline=None)
@given(pace=st.integers(1, 200))
def test_a_release_that_boots_nowhere_is_stopped_by_its_first_device(pace):
    *_, (decision, counted, _) = play(Plan(), [Target("failed", 0) for _ in range(1000)], pace)
    assert (decision.action, decision.gate.value) == (Action.ROLL_BACK, "error_rate")
    assert counted.offered <= 10


numbers = st.integers(-(2**70), 2**70)
spans = st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000))
moment = spans.map(lambda span: NOW + span / 10)
field_values = {"own_succeeded": numbers | st.none(), "last_offered_at": moment | st.none()}
tallies = st.builds(Tally, **{each.name: field_values.get(each.name, numbers) for each in fields(Tally)})
any_plan = st.builds(
    Plan,
    *[numbers] * 3,
    st.booleans(),
    *[numbers] * 3,
    stage_timeout=spans,
    continuous=st.booleans(),
    ends_at=moment | st.none(),
    gated=st.booleans(),
)
stages = st.builds(
    OpenStage,
    numbers,
    numbers,
    st.sampled_from(StageState),
    spans,
    moment,
    moment | st.none(),
    numbers,
    st.booleans(),
    moment | st.none(),
)
progresses = st.builds(
    Progress, st.sampled_from(CampaignState), st.booleans(), stages | st.none(), tallies, st.booleans()
)


@settings(max_examples=300, deadline=None)
@given(plan=any_plan, progress=progresses)
def test_any_plan_and_any_numbers_lead_to_a_decision(plan, progress):
    decision = decide(plan, progress, NOW)
    assert isinstance(decision, Decision)
    assert decision.text
    assert len(decision.figures) >= 5
