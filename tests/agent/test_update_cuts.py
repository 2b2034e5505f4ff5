"""The power goes before any effect, and everything comes twice, late or never: one version runs in the end."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.image import Health
from agent.update_messages import Reboot
from devices.contract import ReportState, UpdateReport
from firmware.reporting import Facts, born, receive
from firmware.states import UpdateState
from tests.agent.plant import Plant, offer, withdrawn

ENDS = {ReportState.SUCCEEDED, ReportState.FAILED, ReportState.REJECTED, ReportState.CANCELED, ReportState.ROLLED_BACK}
HEALTHS = [Health.GOOD, Health.BOOT_LOOP, Health.SELF_CHECK]


def cut_after(steps: Iterable[int], health: Health) -> Plant:
    """An update during which the power goes after so many effects, each time."""
    plant = Plant(health={"1.1.0": health}, open=[offer()])
    plant.connect()
    for number in steps:
        plant.connect()
        plant.run(number)
        plant.switch_on()
    plant.settle()
    return plant


def whole(health: Health) -> list[object]:
    """All effects of an update without trouble."""
    plant = cut_after([], health)
    return list(plant.done)


def is_consistent(plant: Plant) -> None:
    """It runs what it says, and says it with numbers that are used once."""
    running = plant.slots[plant.boot.active]
    assert plant.boot.trying == ""
    assert plant.state.version == running.version
    said: dict[int, UpdateReport] = {}
    for report in plant.published:
        assert said.setdefault(report.seq, report) == report
    for one in plant.state.memory.said:
        assert one.state in ENDS
        assert one in plant.published
    last, known = plant.state.memory.said[-1], plant.state.memory.offer
    assert known is not None
    assert (last.update_id, last.attempt, last.firmware_version) == (known.update_id, known.attempt, running.version)
    if last.state in (ReportState.SUCCEEDED, ReportState.ROLLED_BACK):
        assert (last.state == ReportState.SUCCEEDED) is (running.version == known.version)


@pytest.mark.parametrize("health", HEALTHS)
def test_a_cut_before_any_effect_leaves_one_version_that_runs_and_the_right_report(health: Health) -> None:
    effects = whole(health)
    assert len(effects) > 20
    reboot = next(number for number, effect in enumerate(effects) if isinstance(effect, Reboot))
    for number in range(len(effects)):
        plant = cut_after([number], health)
        is_consistent(plant)
        if health is not Health.GOOD:
            assert (plant.last[0], plant.state.version) == ("rolled_back", "1.0.0")
        elif number <= reboot:
            assert (plant.last, plant.state.version) == (("succeeded", ""), "1.1.0")
        else:
            assert (*plant.last, plant.state.version) in {
                ("succeeded", "", "1.1.0"),
                ("rolled_back", "boot_failed", "1.0.0"),
            }


@pytest.mark.parametrize("health", HEALTHS)
def test_cuts_one_after_the_other_do_no_more_harm(health: Health) -> None:
    for first in range(0, len(whole(health)), 2):
        for second in range(12):
            is_consistent(cut_after([first, second], health))


OPS = st.one_of(
    st.tuples(st.just("offer"), st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.just("withdraw"), st.integers(1, 3), st.integers(1, 2)),
    st.tuples(st.just("over"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("do"), st.integers(1, 12), st.just(0)),
    st.tuples(st.sampled_from(["cut", "commit", "connect", "disconnect"]), st.just(0), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 700, 4000]), st.just(0)),
)
VERSIONS = {1: "1.1.0", 2: "1.2.0", 3: "0.9.0"}


@settings(max_examples=300, deadline=None)
@given(st.lists(OPS, max_size=60), st.sampled_from(HEALTHS), st.sampled_from(HEALTHS))
@example([("offer", 3, 1), ("offer", 1, 1), ("connect", 0, 0), ("cut", 0, 0)], Health.GOOD, Health.GOOD)
def test_whatever_happens_in_whatever_order_it_ends_consistently(
    ops: list[tuple[str, int, int]], first: Health, second: Health
) -> None:
    plant = Plant(health={"1.1.0": first, "1.2.0": second})
    for verb, number, attempt in [*ops, ("offer", 1, 3)]:
        match verb:
            case "offer":
                plant.offer(offer(number, VERSIONS[number], attempt=attempt))
            case "withdraw":
                plant.offer(withdrawn(number, attempt))
            case "over":
                plant.over.add(UUID(int=number))
            case "do":
                plant.run(number)
            case "cut":
                plant.switch_on()
            case "commit":
                plant.commit()
            case "connect":
                plant.connect()
            case "disconnect":
                plant.disconnect()
            case "wait":
                plant.wait(number)
        assert plant.state.version in {"1.0.0", "1.1.0", "1.2.0"}
    plant.settle()
    plant.disconnect()
    plant.settle()
    is_consistent(plant)


FACTS = Facts(UpdateState.NOTIFIED, attempt=1, target="1.1.0", origin="1.0.0", offered_boot="boot 1")


def judged(told: Iterable[UpdateReport | tuple[str, str]]) -> Facts:
    """What the portal makes of it."""
    facts = FACTS
    for word in told:
        facts = receive(facts, word) if isinstance(word, UpdateReport) else born(facts, *word)
    return facts


def mixed(plant: Plant, seed: int) -> list[UpdateReport | tuple[str, str]]:
    """Reports lost, doubled, late and out of order; at last report and birth once more, as after a reconnect."""
    dice, timed = Random(seed), list[tuple[float, UpdateReport | tuple[str, str]]]()
    for number, word in enumerate(plant.told):
        if isinstance(word, UpdateReport):
            timed += [(number + dice.uniform(0, 8), word) for _ in range(dice.choice([0, 1, 1, 2]))]
        else:
            timed.append((number, word))
    timed.sort(key=lambda item: item[0])
    return [*(word for _, word in timed), *plant.state.memory.said, (plant.state.version, plant.state.boot_id)]


@pytest.mark.parametrize("health", HEALTHS)
def test_the_portal_comes_to_the_same_end_whatever_is_lost_doubled_or_late(health: Health) -> None:
    for number in range(0, len(whole(health)), 3):
        plant = cut_after([number], health)
        ending = UpdateState.VERIFYING if plant.last[0] == "succeeded" else UpdateState.ROLLED_BACK
        for told in (plant.told, *(mixed(plant, seed) for seed in range(20))):
            facts = judged(told)
            assert facts.state is ending
            assert facts.checked is (ending is UpdateState.VERIFYING)
            assert facts.installing


def test_the_portal_hears_of_failures_and_refusals() -> None:
    plant = Plant(content="another file")
    plant.connect()
    plant.offer(offer())
    plant.settle()
    facts = judged(plant.told)
    assert (facts.state, facts.reason_code) == (UpdateState.REJECTED, "hash")
    plant = Plant()
    plant.connect()
    plant.offer(offer(version="1.0.0"))
    plant.settle()
    assert judged(plant.told).state is UpdateState.SKIPPED


def test_the_reason_a_device_gives_comes_before_the_birth_that_shows_the_old_version() -> None:
    for health, reason in ((Health.BOOT_LOOP, "boot_failed"), (Health.SELF_CHECK, "self_check")):
        facts = judged(cut_after([], health).told)
        assert (facts.state, facts.reason_code) == (UpdateState.ROLLED_BACK, reason)
