"""What a device does with an offer, as tables: no clock, no network, no disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from agent.image import Health
from agent.update import step
from agent.update_messages import (
    Abort,
    AskWanted,
    Discard,
    Download,
    DownloadFailed,
    DownloadProgress,
    NotDone,
    Reboot,
    Report,
    Seen,
    Verified,
    Wanted,
    WriteSlot,
)
from agent.update_state import Job, Phase, Update, decode, encode
from devices.contract import Offer, Preconditions
from firmware.reporting import ALREADY_INSTALLED
from tests.agent.plant import BUILD, NOW, SIGNER, Plant, impatient, offer, withdrawn
from tests.agent.releases import Signer

STEPS = ["notified", "downloading", "downloaded", "installing", "rebooting", "verifying"]


def ended(plant: Plant, one: Offer | None = None) -> tuple[str, str]:
    """How an offer ends."""
    plant.connect()
    plant.offer(one or offer())
    plant.settle()
    assert plant.state.phase is Phase.DONE
    return plant.last


def upto(job: Job, plant: Plant | None = None, one: Offer | None = None) -> Plant:
    """A device just before it does a piece of work."""
    plant = plant or Plant()
    plant.connect()
    plant.offer(one or offer())
    while plant.state.job is not job:
        plant.do()
    while len(plant.pending) > 1:
        plant.do()
    return plant


def test_a_good_version_is_installed_in_the_other_slot_and_stays() -> None:
    plant = Plant()
    assert ended(plant) == ("succeeded", "")
    assert (plant.state.version, plant.boot.active, plant.boot.trying) == ("1.1.0", "b", "")
    assert plant.words == [*STEPS, "succeeded"]
    assert [type(one) for one in plant.done].count(AskWanted) == 3
    assert ended(plant, offer(2, "1.2.0")) == ("succeeded", "")
    assert (plant.state.version, plant.boot.active) == ("1.2.0", "a")


@pytest.mark.parametrize(
    ("health", "reason", "words"),
    [
        (Health.BOOT_LOOP, "boot_failed", STEPS[:-1]),
        (Health.SELF_CHECK, "self_check", STEPS),
    ],
)
def test_a_bad_version_is_followed_by_the_old_one(health: Health, reason: str, words: list[str]) -> None:
    plant = Plant(health={"1.1.0": health})
    assert ended(plant) == ("rolled_back", reason)
    assert (plant.state.version, plant.boot.active, plant.boot.trying) == ("1.0.0", "a", "")
    assert plant.words == [*words, "rolled_back"]
    plant.health.clear()
    assert ended(plant, offer(attempt=2)) == ("succeeded", "")


def test_a_version_that_stays_silent_is_given_up_by_the_watchdog() -> None:
    plant = upto(Job.REBOOT)
    plant.do()
    assert plant.state.phase is Phase.VERIFYING
    plant.wait(plant.build.timing.watchdog - 1)
    assert plant.state.job is Job.SELF_CHECK
    plant.wait(1)
    plant.settle()
    assert plant.last == ("rolled_back", "self_check")
    assert plant.state.version == "1.0.0"


def test_a_self_check_begins_anew_with_each_connection() -> None:
    plant = upto(Job.REBOOT)
    plant.do()
    plant.connect()
    assert plant.state.busy
    plant.disconnect()
    assert isinstance(plant.pending[-1], Abort)
    assert not plant.state.busy
    plant.settle()
    assert plant.last == ("succeeded", "")


OTHER = Signer()


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (offer(device_types=["cold-logger"]), "incompatible"),
        (offer(version="nonsense"), "incompatible"),
        (offer(image=None), "incompatible"),
        (offer(min_version="1.0.1"), "incompatible"),
        (offer(version="1.0.0"), ALREADY_INSTALLED),
        (offer(version="0.9.0"), "anti_rollback"),
        (offer(signatures=[]), "signature"),
        (offer(signatures=[OTHER.signature(offer().image.sha256, "pump.img")]), "signature"),  # type: ignore[union-attr]
        (offer(signatures=[SIGNER.signature(offer().image.sha256, "other.img")]), "signature"),  # type: ignore[union-attr]
        (offer(signatures=[SIGNER.signature("0" * 64, "pump.img")]), "signature"),
        (offer(size=10_001), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_suit_is_refused_before_the_download(one: Offer, reason: str) -> None:
    plant = Plant()
    assert ended(plant, one) == ("rejected", reason)
    assert plant.words == ["rejected"]
    assert not any(isinstance(effect, Download) for effect in plant.done)


def test_a_signature_of_any_trusted_key_will_do_and_without_keys_none() -> None:
    sha256 = "ab" * 32
    both = [OTHER.signature(sha256, "pump.img"), SIGNER.signature(sha256, "pump.img")]
    assert ended(Plant(), offer(sha256=sha256, signatures=both)) == ("succeeded", "")
    assert ended(Plant(replace(BUILD, firmware_keys={})), offer()) == ("rejected", "signature")


OLD = offer(version="0.9.0")


@pytest.mark.parametrize(
    ("permit", "ends"),
    [
        (SIGNER.permit(OLD, "1.0.0"), ("succeeded", "")),
        (SIGNER.permit(OLD, "1.0.1"), ("rejected", "anti_rollback")),
        (SIGNER.permit(OLD, "1.0.0", "d-2"), ("rejected", "anti_rollback")),
        (SIGNER.permit(offer(2, "0.9.0"), "1.0.0"), ("rejected", "anti_rollback")),
        (SIGNER.permit(offer(version="0.8.0"), "1.0.0"), ("rejected", "anti_rollback")),
        (SIGNER.permit(offer(version="0.9.0", sha256="0" * 64, signatures=[]), "1.0.0"), ("rejected", "anti_rollback")),
        (OTHER.permit(OLD, "1.0.0"), ("rejected", "anti_rollback")),
        (None, ("rejected", "anti_rollback")),
    ],
    ids=["good", "from", "device", "update", "to", "digest", "key", "none"],
)
def test_only_a_permit_for_exactly_this_leads_back(permit: Any, ends: tuple[str, str]) -> None:
    plant = Plant()
    assert ended(plant, offer(version="0.9.0", rollback=permit)) == ends
    assert plant.state.version == ("0.9.0" if ends[0] == "succeeded" else "1.0.0")


def test_a_device_without_a_permit_key_never_goes_back() -> None:
    plant = Plant(replace(BUILD, permit_key=None))
    assert ended(plant, offer(version="0.9.0", rollback=SIGNER.permit(OLD, "1.0.0"))) == ("rejected", "anti_rollback")


@pytest.mark.parametrize(
    ("wanted", "seen", "why", "reason"),
    [
        (Preconditions(battery_percent=50), Seen(battery_percent=49), "power", "battery"),
        (Preconditions(mains=True), Seen(mains=False), "power", "battery"),
        (Preconditions(free_bytes=5000), Seen(free_bytes=4999), "space", "no_space"),
        (Preconditions(), Seen(free_bytes=999), "space", "no_space"),
    ],
    ids=["battery", "mains", "free", "image"],
)
def test_it_waits_for_power_and_space_and_says_so_once(
    wanted: Preconditions, seen: Seen, why: str, reason: str
) -> None:
    plant = Plant(seen=seen)
    plant.connect()
    plant.offer(offer(preconditions=wanted))
    for _ in range(3):
        plant.run()
        plant.wait(60)
    assert [(report.state, report.reason_code) for report in plant.published] == [("notified", ""), ("notified", why)]
    plant.switch_on()
    plant.connect()
    plant.run()
    plant.wait(plant.build.timing.patience)
    plant.run()
    assert plant.last == ("rejected", reason)
    plant = Plant(seen=seen)
    plant.offer(offer(preconditions=wanted))
    plant.run()
    plant.seen = Seen()
    plant.settle()
    assert plant.last == ("succeeded", "")


def test_power_is_looked_at_again_before_it_is_installed() -> None:
    plant = upto(Job.CHECK, one=offer(preconditions=Preconditions(battery_percent=50)))
    plant.seen = Seen(battery_percent=10)
    plant.run()
    assert plant.state.phase is Phase.FETCHED
    assert plant.last == ("downloaded", "power")
    plant.seen = Seen()
    plant.settle()
    assert plant.last == ("succeeded", "")


@pytest.mark.parametrize("job", [Job.LOOK, Job.ASK, Job.FETCH, Job.CHECK])
def test_it_can_be_withdrawn_until_it_is_installed(job: Job) -> None:
    plant = upto(job)
    plant.offer(withdrawn())
    assert isinstance(plant.pending[-1], Discard)
    plant.run()
    assert plant.last == ("canceled", "withdrawn")
    plant.settle()
    assert plant.state.version == "1.0.0"


@pytest.mark.parametrize("job", [Job.WRITE, Job.TRY, Job.REBOOT])
def test_from_then_on_a_withdrawal_comes_too_late(job: Job) -> None:
    plant = upto(job)
    plant.offer(withdrawn())
    plant.settle()
    assert plant.last == ("succeeded", "")


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_it_asks_before_download_installation_and_reboot_and_obeys(asked: int) -> None:
    plant = upto(Job.ASK)
    for _ in range(asked):
        plant.do()
        while not isinstance(plant.pending[0], AskWanted):
            plant.do()
    plant.over.add(UUID(int=1))
    plant.settle()
    assert plant.last == ("canceled", "withdrawn")
    assert (plant.state.version, plant.boot.trying) == ("1.0.0", "")


def test_another_attempt_ends_this_one() -> None:
    plant = upto(Job.ASK)
    plant.pending.clear()
    plant.hear(Wanted(2, ""))
    assert plant.last == ("canceled", "withdrawn")
    plant.offer(offer(attempt=2))
    plant.settle()
    assert (plant.last, plant.state.memory.said[-1].attempt) == (("succeeded", ""), 2)


def test_an_offer_said_again_changes_nothing_and_after_the_end_brings_the_report_again() -> None:
    plant = upto(Job.FETCH)
    before = plant.state
    plant.offer(offer())
    assert plant.state == before
    plant.settle()
    count = len(plant.published)
    plant.offer(offer())
    plant.run()
    assert plant.published[count:] == [plant.published[-1]]


def test_of_two_offers_the_one_that_the_portal_wants_wins() -> None:
    plant = upto(Job.FETCH)
    plant.over.add(UUID(int=1))
    plant.offer(offer(2, "1.2.0"))
    assert isinstance(plant.pending[-1], AskWanted)
    plant.settle()
    assert plant.state.version == "1.2.0"
    assert {report.update_id.int: report.state for report in plant.published} == {1: "canceled", 2: "succeeded"}


def test_a_stale_offer_does_not_stop_an_update() -> None:
    plant = upto(Job.FETCH)
    plant.over.add(UUID(int=2))
    plant.offer(offer(2, "1.2.0"))
    plant.settle()
    assert plant.state.version == "1.1.0"
    assert {report.update_id.int: report.state for report in plant.published} == {1: "succeeded", 2: "canceled"}


def test_what_is_offered_during_an_installation_comes_after_it() -> None:
    plant = upto(Job.WRITE)
    plant.offer(offer(2, "1.2.0"))
    plant.offer(offer(3, "1.3.0"))
    plant.offer(withdrawn(2))
    plant.settle()
    assert plant.state.version == "1.3.0"
    assert [report.update_id.int for report in plant.state.memory.said] == [1, 3]


def test_a_download_resumes_and_asks_for_a_new_link_when_the_old_one_expired() -> None:
    plant = upto(Job.FETCH)
    plant.pending.clear()
    plant.hear(DownloadFailed("expired"))
    assert plant.pending[-1] == AskWanted(UUID(int=1))
    plant.pending.clear()
    plant.hear(Wanted(1, "/fresh"))
    download = plant.pending[-1]
    assert isinstance(download, Download)
    assert download.image.url == "/fresh"


def test_downloads_that_bring_nothing_are_counted_and_progress_begins_anew() -> None:
    plant = upto(Job.FETCH, one=offer(download_attempts=3))
    for gained in (False, False, True, False, False):
        assert plant.state.phase is Phase.FETCHING
        plant.pending.clear()
        plant.hear(DownloadFailed("network", gained=gained))
        plant.wait()
        while plant.state.in_flight and not isinstance(plant.pending[-1], Download):
            plant.do()
    plant.run()
    assert plant.last == ("failed", "download")


def test_a_busy_portal_is_waited_for_as_long_as_it_says_and_not_counted() -> None:
    plant = upto(Job.FETCH, one=offer(download_attempts=1))
    plant.pending.clear()
    plant.hear(DownloadFailed("busy", wait=77))
    assert NOW + 77 <= plant.state.due <= NOW + 1.2 * 77
    plant.settle()
    assert plant.last == ("succeeded", "")


def test_a_full_disk_is_waited_for_and_then_refused() -> None:
    plant = upto(Job.FETCH)
    plant.pending.clear()
    plant.hear(DownloadFailed("no_space"))
    assert plant.last == ("downloading", "space")
    plant.now += plant.build.timing.patience + 1
    plant.hear(DownloadFailed("no_space"))
    assert plant.state.phase is Phase.FETCHING  # nobody waits for that answer
    plant = upto(Job.FETCH, Plant(impatient(patience=-1)))
    plant.hear(DownloadFailed("no_space"))
    assert plant.last == ("rejected", "no_space")


def test_progress_is_said_in_tens() -> None:
    plant = upto(Job.FETCH)
    for done in range(0, 1001, 30):
        plant.hear(DownloadProgress(done))
    plant.run()
    percents = [report.progress for report in plant.published if report.progress is not None]
    assert percents == [9, 21, 33, 45, 57, 69, 81, 93]


def test_another_file_than_was_offered_is_refused_after_one_more_try_if_it_came_in_parts() -> None:
    assert ended(Plant(content="other")) == ("rejected", "hash")
    plant = upto(Job.FETCH, Plant(content="other"))
    plant.pending.clear()
    plant.hear(DownloadFailed("network", gained=True))
    plant.settle()
    assert plant.last == ("rejected", "hash")
    kinds = [type(effect) for effect in plant.done]
    assert kinds.count(Download) == 2
    assert kinds.index(Discard) < len(kinds) - 1 - kinds[::-1].index(Download)


def test_what_does_not_work_out_is_tried_again_ever_more_rarely() -> None:
    plant, waits = upto(Job.WRITE), []
    for _ in range(8):
        plant.pending.clear()
        plant.hear(NotDone("disk"))
        waits.append(plant.state.due - plant.now)
        plant.wait(waits[-1])
        assert isinstance(plant.pending[-1], WriteSlot)
    assert all(min(300, 5 * 2**number) / 2 <= wait <= 300 for number, wait in enumerate(waits))
    plant.settle()
    assert plant.last == ("succeeded", "")


def test_a_clock_that_was_set_back_makes_no_longer_waits() -> None:
    plant = upto(Job.ASK)
    plant.pending.clear()
    plant.hear(NotDone("away", wait=3000))
    plant.wait(-10 * 86400.0)
    assert isinstance(plant.pending[-1], AskWanted)


def test_the_jitter_is_the_devices_own_and_within_bounds() -> None:
    waits = set()
    for number in range(20):
        plant = upto(Job.REBOOT, Plant(replace(BUILD, device_id=f"d-{number}")), offer(reboot_jitter_seconds=100))
        (reboot,) = plant.pending
        assert isinstance(reboot, Reboot)
        waits.add(reboot.after)
    assert len(waits) == 20
    assert 0 <= min(waits) < 30
    assert 70 < max(waits) <= 100


def test_reports_are_said_again_on_each_connection_the_end_of_the_update_before_first() -> None:
    plant = Plant()
    ended(plant)
    assert ended(plant, offer(2, "1.2.0")) == ("succeeded", "")
    plant.disconnect()
    plant.published.clear()
    plant.connect()
    plant.run()
    assert [(report.update_id.int, report.state) for report in plant.published] == [(1, "succeeded"), (2, "succeeded")]


def test_an_answer_nobody_waits_for_changes_nothing() -> None:
    for state in (Update(BUILD), upto(Job.LOOK).state):
        assert step(state, Verified(), NOW) == (state, ())


def test_a_memory_is_kept_whole() -> None:
    memory = upto(Job.WRITE).state.memory
    assert decode(encode(memory)) == memory
    assert decode(b"").phase is Phase.IDLE
    assert not any(isinstance(effect, Report) for effect in Plant().pending)


def test_what_the_portal_holds_back_is_asked_for_as_often_as_it_says_and_at_once_when_it_speaks() -> None:
    plant = upto(Job.ASK)
    for _ in range(10):
        plant.pending.clear()
        plant.hear(NotDone("not now", wait=60))
        assert 60 <= plant.state.due - plant.now <= 72
        plant.offer(offer())
        assert isinstance(plant.pending[-1], AskWanted)
    plant.settle()
    assert plant.last == ("succeeded", "")
