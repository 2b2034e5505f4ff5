from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.contract import ReportState, UpdateReport
from firmware.reporting import Facts, born, is_verified, receive
from firmware.states import ACTIVE, BEFORE_INSTALL, ENDED, RANK, UpdateState

U = UpdateState
UPDATE = UUID("0193a1b2-c3d4-8e5f-8a6b-7c8d9e0f1a2b")
OLD, NEW = "1.0.0", "2.0.0"
OFFERED = Facts(U.QUEUED, attempt=1, target=NEW, origin=OLD, offered_boot="b1")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
VERIFY = timedelta(minutes=5)


def report(state, seq=1, boot="b1", version=OLD, attempt=1, **words):
    return UpdateReport(UPDATE, attempt, seq, str(state), version, boot, **words)


def said(facts, *reports):
    for each in reports:
        facts = receive(facts, each)
    return facts


def story(*lines):
    """Reports in order: (word, boot)."""
    return [report(word, seq, boot, NEW if boot == "new" else OLD) for seq, (word, boot) in enumerate(lines)]


GOOD = story(
    ("notified", "b1"), ("downloading", "b1"), ("downloaded", "b1"), ("installing", "b1"), ("rebooting", "b1"),
    ("verifying", "new"), ("succeeded", "new"),
)  # fmt: skip


# --- single reports -------------------------------------------------------------------------------------------------


def test_a_good_update_goes_through_every_state_and_is_not_believed_yet():
    facts, states = OFFERED, []
    for each in GOOD:
        facts = receive(facts, each)
        states.append(facts.state.value)
    assert states == [
        "notified", "downloading", "downloaded", "installing", "rebooting", "verifying", "verifying",
    ]  # fmt: skip
    assert (facts.checked, facts.installing, facts.rebooting, facts.seq) == (True, True, True, 6)
    assert (facts.installing_boot, facts.boot, facts.reason_code) == ("b1", "new", "")


@pytest.mark.parametrize("state", list(U))
@pytest.mark.parametrize("word", list(ReportState))
def test_a_rank_never_goes_back_and_an_end_absorbs(state, word):
    before = replace(OFFERED, state=state)
    after = receive(before, report(word))
    assert RANK[after.state] >= RANK[before.state]
    if state in ENDED:
        reverted = state is U.SUCCEEDED and word is ReportState.ROLLED_BACK
        assert after.state is (U.ROLLED_BACK if reverted else state)


def test_a_success_may_turn_out_to_be_none_only_while_under_watch():
    done = replace(OFFERED, state=U.SUCCEEDED)
    reverted = receive(done, report("rolled_back"))
    assert (reverted.state, reverted.reason_code) == (U.ROLLED_BACK, "boot_failed")
    assert receive(replace(done, watched=False), report("rolled_back")).state is U.SUCCEEDED


@pytest.mark.parametrize(
    "changes",
    [{"attempt": 0}, {"attempt": 2}, {"state": "exploding"}, {"state": ""}, {"state": "queued"}, {"state": "skipped"}],
    ids=str,
)
def test_another_attempt_or_an_unknown_word_changes_nothing(changes):
    facts = said(OFFERED, *GOOD[:3])
    words = {"state": "installing", "seq": 99, "attempt": 1} | changes
    assert receive(facts, report(**words)) is facts


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_a_repeated_report_changes_nothing(number):
    facts = said(OFFERED, *GOOD)
    assert receive(facts, GOOD[number]) is facts


def test_progress_is_that_of_the_newest_download_report():
    facts = said(OFFERED, report("downloading", 1, progress=10), report("downloading", 3, progress=60))
    assert facts.progress == 60
    assert receive(facts, report("downloading", 2, progress=30)) is facts
    assert said(facts, report("downloaded", 4)).progress == 60


@pytest.mark.parametrize("word", ["notified", "downloading", "downloaded"])
@pytest.mark.parametrize(("reason", "waiting"), [("power", "power"), ("space", "space"), ("offline", ""), ("", "")])
def test_before_it_installs_a_device_says_why_it_waits(word, reason, waiting):
    facts = receive(OFFERED, report(word, reason_code=reason))
    assert (facts.waiting, facts.reason_code) == (waiting, "")
    assert said(facts, report("installing", 2, reason_code="power")).waiting == ""


@pytest.mark.parametrize(
    ("word", "reason", "expected"),
    [
        ("failed", "hash", (U.FAILED, "hash")),
        ("failed", "", (U.FAILED, "unknown")),
        ("rejected", "battery", (U.REJECTED, "battery")),
        ("canceled", "", (U.CANCELED, "withdrawn")),
        ("rolled_back", "self_check", (U.ROLLED_BACK, "self_check")),
        ("rolled_back", "", (U.ROLLED_BACK, "boot_failed")),
        ("rejected", "already_installed", (U.SKIPPED, "already_installed")),
    ],
)
def test_an_end_says_why(word, reason, expected):
    facts = said(OFFERED, *GOOD[:2], report(word, 5, reason_code=reason))
    assert (facts.state, facts.reason_code) == expected


@pytest.mark.parametrize("state", ACTIVE)
def test_what_is_refused_after_the_installation_began_has_failed(state):
    facts = receive(replace(OFFERED, state=state), report("rejected", reason_code="battery"))
    assert facts.state is (U.REJECTED if state in BEFORE_INSTALL else U.FAILED)


def test_already_installed_is_no_way_round_the_proof_for_a_device_that_installed():
    installing = said(OFFERED, *GOOD[:4])
    facts = receive(installing, report("rejected", 9, "new", NEW, reason_code="already_installed"))
    assert (facts.state, facts.checked) == (U.VERIFYING, False)
    by_cable = born(said(OFFERED, *GOOD[:1]), NEW, "new")
    assert receive(by_cable, report("rejected", 9, "new", NEW, reason_code="already_installed")).state is U.SKIPPED
    assert receive(OFFERED, report("rejected", 9, reason_code="already_installed")).state is U.SKIPPED


@pytest.mark.parametrize(
    ("boot", "version", "checked"),
    [("new", NEW, True), ("b1", NEW, False), ("new", OLD, False), ("", NEW, False)],
    ids=["later boot, new version", "same boot", "old version", "no boot"],
)
def test_a_self_check_counts_in_the_new_version_after_a_later_boot_only(boot, version, checked):
    assert said(OFFERED, *GOOD[:5], report("succeeded", 7, boot, version)).checked is checked


def test_a_self_check_that_comes_late_counts():
    facts = said(OFFERED, report("verifying", 9, "new", NEW))
    assert not facts.checked
    late = receive(facts, report("succeeded", 6, "new", NEW))
    assert (late.checked, late.state, late.seq) == (True, U.VERIFYING, 9)


@pytest.mark.parametrize("end", [U.TIMED_OUT, U.CANCELED, U.REMOVED])
def test_what_comes_after_the_end_still_says_that_it_had_installed(end):
    late = said(replace(OFFERED, state=end), *GOOD)
    assert (late.state, late.installing, late.rebooting, late.checked) == (end, True, True, False)


def test_a_late_report_of_a_higher_rank_moves_it_and_keeps_what_is_newer():
    facts = said(OFFERED, report("downloading", 4, "b2", progress=5))
    late = receive(facts, report("downloaded", 3, "b1"))
    assert (late.state, late.seq, late.boot, late.progress) == (U.DOWNLOADED, 4, "b2", 5)


def test_the_boot_of_the_newest_installation_counts():
    """The power went while it wrote, and it went on after the next boot."""
    twice = story(("installing", "b1"), ("installing", "b2"), ("rebooting", "b2"))
    assert said(OFFERED, *twice).installing_boot == "b2"
    assert said(OFFERED, *reversed(twice)).installing_boot == "b2"


# --- births ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [each for each in ACTIVE if each is not U.VERIFYING])
def test_a_birth_in_the_new_version_is_proof_of_the_reboot(state):
    facts = born(replace(OFFERED, state=state, waiting="power"), NEW, "new")
    assert (facts.state, facts.installing, facts.rebooting, facts.waiting) == (U.VERIFYING, True, True, "")
    assert not facts.checked
    assert born(facts, NEW, "new") is facts


@pytest.mark.parametrize(("version", "boot"), [(NEW, "b1"), (NEW, ""), (OLD, "b2"), (OLD, "b1")])
@pytest.mark.parametrize("state", BEFORE_INSTALL)
def test_any_other_birth_before_the_installation_changes_nothing(state, version, boot):
    facts = replace(OFFERED, state=state)
    assert born(facts, version, boot) is facts


@pytest.mark.parametrize("facts", [said(OFFERED, *GOOD[:5]), said(OFFERED, *GOOD[:6])], ids=["rebooting", "verifying"])
def test_a_birth_in_the_old_version_after_the_reboot_means_that_it_went_back(facts):
    back = born(facts, OLD, "b3")
    assert (back.state, back.reason_code, back.boot) == (U.ROLLED_BACK, "boot_failed", "b3")
    assert born(facts, "1.5.0", "b3") is facts


def test_a_device_that_connects_again_while_it_waits_for_its_reboot_has_not_gone_back():
    assert born(said(OFFERED, *GOOD[:5]), OLD, "b1").state is U.REBOOTING
    after_a_power_cut = said(OFFERED, *story(("installing", "b1"), ("rebooting", "b2")))
    assert born(after_a_power_cut, OLD, "b2").state is U.REBOOTING
    lost_report = said(OFFERED, *story(("rebooting", "b2"), ("notified", "b1")))
    assert born(lost_report, OLD, "b2").state is U.REBOOTING


def test_a_power_cut_while_it_installs_is_not_yet_an_end():
    facts = said(OFFERED, *GOOD[:4])
    assert born(facts, OLD, "b2") is facts


def test_a_verified_device_that_comes_back_in_the_old_version_has_reverted_while_under_watch():
    done = replace(said(OFFERED, *GOOD), state=U.SUCCEEDED)
    assert (born(done, OLD, "b9").state, born(done, OLD, "b9").reason_code) == (U.ROLLED_BACK, "reverted")
    unwatched = replace(done, watched=False)
    assert born(unwatched, OLD, "b9") is unwatched
    assert born(done, NEW, "b9") is done
    assert born(done, "3.0.0", "b9") is done


@pytest.mark.parametrize("state", [each for each in ENDED if each is not U.SUCCEEDED])
def test_births_change_no_end(state):
    facts = replace(OFFERED, state=state)
    assert born(facts, NEW, "new") is facts
    assert born(facts, OLD, "b9") is facts


def test_an_update_to_the_version_it_runs_is_never_taken_for_a_way_back():
    same = replace(OFFERED, origin=NEW, state=U.REBOOTING)
    assert born(same, NEW, "b9").state is U.VERIFYING


# --- when a success is believed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "version", "boot", "healthy_for", "verified"),
    [
        pytest.param({}, NEW, "new", VERIFY, True, id="checked, new, later boot, long enough"),
        pytest.param({}, NEW, "another", 2 * VERIFY, True, id="booted once more since"),
        pytest.param({"checked": False}, NEW, "new", VERIFY, False, id="not checked"),
        pytest.param({"state": U.REBOOTING}, NEW, "new", VERIFY, False, id="another state"),
        pytest.param({}, OLD, "new", VERIFY, False, id="old version"),
        pytest.param({}, NEW, "b1", VERIFY, False, id="boot of the installation"),
        pytest.param({}, NEW, "", VERIFY, False, id="unknown boot"),
        pytest.param({}, NEW, "new", VERIFY - timedelta(seconds=1), False, id="not long enough"),
        pytest.param({"installing_boot": ""}, NEW, "b1", VERIFY, False, id="boot of the offer"),
    ],
)
def test_succeeded_only_when_the_device_has_proved_itself(changes, version, boot, healthy_for, verified):
    facts = replace(said(OFFERED, *GOOD), **changes)
    assert is_verified(facts, version, boot, NOW - healthy_for, VERIFY, NOW) is verified


# --- any order, repetition and loss ---------------------------------------------------------------------------------


@st.composite
def histories(draw):
    """What an honest device reports in one attempt: downloads that begin anew, power cuts, an end."""
    lines, boot = [("notified", "b1")], 1
    for _ in range(draw(st.integers(0, 3))):  # downloads that broke off, or a file that was no good
        lines += [("downloading", f"b{boot}")] * draw(st.integers(1, 3))
        if draw(st.booleans()):
            lines.append(("downloaded", f"b{boot}"))
        boot += draw(st.integers(0, 1))
    end = draw(st.sampled_from(["rejected", "failed", "canceled", "installed", "installed", "installed"]))
    if end != "installed":
        return story(*lines, (end, f"b{boot}"))
    lines += [("downloading", f"b{boot}"), ("downloaded", f"b{boot}")]
    for _ in range(draw(st.integers(1, 3))):  # power cuts while it writes
        lines.append(("installing", f"b{boot}"))
        boot += draw(st.integers(0, 1))
    lines.append(("rebooting", f"b{boot}"))
    if draw(st.booleans()):
        lines += [("verifying", "new")] * draw(st.integers(0, 2))
        end = draw(st.sampled_from(["succeeded", "rolled_back"]))
        return story(*lines, ("succeeded", "new") if end == "succeeded" else ("rolled_back", f"b{boot + 1}"))
    return story(*lines, (draw(st.sampled_from(["rolled_back", "failed"])), f"b{boot + 1}"))


@settings(max_examples=300)
@given(history=histories(), data=st.data())
def test_any_order_repetition_and_loss_of_an_honest_devices_reports_lead_to_the_same_end(history, data):
    in_order = said(OFFERED, *history)
    kept = [each for each in history[:-1] if data.draw(st.booleans())] + [history[-1]]
    repeated = kept + data.draw(st.lists(st.sampled_from(kept), max_size=5))
    shuffled = said(OFFERED, *data.draw(st.permutations(repeated)))
    assert (shuffled.state, shuffled.reason_code) == (in_order.state, in_order.reason_code)
    assert shuffled.checked == in_order.checked
    alone = receive(OFFERED, history[-1])
    assert (alone.state, alone.reason_code) == (in_order.state, in_order.reason_code)


@settings(max_examples=200)
@given(history=histories(), data=st.data())
def test_in_any_order_all_of_its_reports_prove_the_same(history, data):
    in_order = said(OFFERED, *history)
    shuffled = said(OFFERED, *data.draw(st.permutations(history)))
    assert (shuffled.installing, shuffled.rebooting, shuffled.checked) == (
        in_order.installing, in_order.rebooting, in_order.checked,
    )  # fmt: skip


@settings(max_examples=200)
@given(history=histories(), data=st.data())
def test_an_unfinished_history_is_as_far_as_its_highest_rank(history, data):
    """Whatever has arrived so far, in whatever order: the portal shows the furthest the device has come."""
    begun = history[: data.draw(st.integers(1, len(history)))]
    shuffled = said(OFFERED, *data.draw(st.permutations(begun)))
    assert RANK[shuffled.state] == max(RANK[receive(OFFERED, each).state] for each in begun)


words = st.sampled_from(list(ReportState)) | st.text(max_size=100)
short = st.sampled_from(["", "b1", "new", OLD, NEW, "power", "already_installed"]) | st.text(max_size=100)
counts = st.integers(0, 3) | st.integers(0, 2**53)
garbage = st.builds(UpdateReport, st.just(UPDATE), counts, counts, words, short, short, st.none(), short)
any_facts = st.builds(
    Facts, st.sampled_from(U), st.integers(1, 3), short, short, st.integers(-1, 5), short, short, st.none(),
    short, short, short, st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


@settings(max_examples=500)
@given(facts=any_facts, events=st.lists(garbage | st.tuples(short, short), max_size=12))
def test_garbage_raises_nothing_ranks_never_go_back_and_ends_absorb(facts, events):
    for event in events:
        after = receive(facts, event) if isinstance(event, UpdateReport) else born(facts, *event)
        assert RANK[after.state] >= RANK[facts.state]
        if facts.state in ENDED:
            assert after.state is facts.state or (facts.state, after.state) == (U.SUCCEEDED, U.ROLLED_BACK)
        assert after.installing >= facts.installing
        assert after.checked >= facts.checked
        assert after is facts or after != facts
        facts = after
