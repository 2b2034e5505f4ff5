"""What a report or a birth changes about an update. Pure: `facts` in, facts out; the same object means nothing changed.

Any order, repetition or loss of an honest device's reports leads to the same end. Within an attempt the highest rank
wins, and among reports of one rank the newest; what a report proves beyond its rank counts however late it comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from devices.contract import ReportState, UpdateReport
from firmware.states import ACTIVE, BEFORE_INSTALL, RANK, UpdateState, Waiting

U = UpdateState

ALREADY_INSTALLED = "already_installed"
TAKEN_BACK = "taken_back"
"""Reason of a success that the portal undid: no failure of the device or of the release on it."""
_WAITS = {Waiting.POWER, Waiting.SPACE, Waiting.CONSENT}
_STATES = {
    ReportState.SUCCEEDED: UpdateState.VERIFYING,  # believed after the verify time (is_verified)
    **{ReportState(word): UpdateState(word) for word in ReportState if word != ReportState.SUCCEEDED},
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the portal knows of an update."""

    state: UpdateState
    attempt: int
    target: str
    """Version to install."""
    origin: str = ""
    """Version it ran when it was offered."""
    seq: int = -1
    """The newest that moved it."""
    waiting: str = ""
    reason_code: str = ""
    progress: int | None = None
    offered_boot: str = ""
    installing_boot: str = ""
    boot: str = ""
    installing: bool = False
    """It was in INSTALLING or beyond, whatever became of it."""
    rebooting: bool = False
    checked: bool = False
    """Its self-check passed in the new version."""
    watched: bool = True
    """Its campaign has not ended: a success may still turn out to be none."""
    led_back: bool = False
    """The portal offered the device the way back."""


def receive(facts: Facts, report: UpdateReport) -> Facts:
    """The update after a report. Unknown words, other attempts, repetitions and steps back change nothing."""
    try:
        said = ReportState(report.state)
    except ValueError:
        return facts
    if report.attempt != facts.attempt:
        return facts
    facts = _evidence(facts, said, report)
    state, newer = _end(facts, said, report), report.seq > facts.seq
    if not _may_follow(facts.state, state, watched=facts.watched) or (RANK[state] == RANK[facts.state] and not newer):
        return facts
    before_install = state in BEFORE_INSTALL
    return replace(
        facts,
        state=state,
        seq=max(report.seq, facts.seq),
        waiting=report.reason_code if before_install and report.reason_code in _WAITS else "",
        reason_code="" if state in ACTIVE else report.reason_code or _why(said),
        progress=report.progress if said is ReportState.DOWNLOADING else facts.progress,
        boot=report.boot_id if newer else facts.boot,
        installing=facts.installing or RANK[U.INSTALLING] <= RANK[state] <= RANK[U.VERIFYING] or state is U.ROLLED_BACK,
        rebooting=facts.rebooting or state in (U.REBOOTING, U.VERIFYING, U.ROLLED_BACK),
    )


def born(facts: Facts, version: str, boot: str) -> Facts:
    """The update, once offered, after its device came online, running this version since this boot."""
    fresh = boot not in (facts.installing_boot or facts.offered_boot, "")
    if facts.state in ACTIVE and version == facts.target and fresh and facts.state is not U.VERIFYING:
        return replace(facts, state=U.VERIFYING, boot=boot, installing=True, rebooting=True, waiting="")
    # While it waits for its reboot a device may connect again; only a boot it has not told of is one.
    in_doubt = facts.state in (U.REBOOTING, U.VERIFYING) and fresh and boot != facts.boot
    under_watch = facts.state is U.SUCCEEDED and facts.watched
    if (in_doubt or under_watch) and version == facts.origin != facts.target:
        reason = "boot_failed" if in_doubt else TAKEN_BACK if facts.led_back else "reverted"
        return replace(facts, state=U.ROLLED_BACK, boot=boot, reason_code=reason, waiting="")
    return facts


def is_verified(
    facts: Facts, version: str, boot: str, healthy_since: datetime, verify: timedelta, now: datetime
) -> bool:
    """Has it proved itself? It checked itself, runs the target since a later boot, and stayed online long enough.

    `healthy_since`: the later of the moment it checked itself and the one it came online.
    """
    return (
        facts.state is UpdateState.VERIFYING
        and facts.checked
        and version == facts.target
        and boot not in (facts.installing_boot or facts.offered_boot, "")
        and now - healthy_since >= verify
    )


def _end(facts: Facts, said: ReportState, report: UpdateReport) -> UpdateState:
    if said is not ReportState.REJECTED:
        return _STATES[said]
    if report.reason_code != ALREADY_INSTALLED:
        return U.REJECTED if facts.state in BEFORE_INSTALL else U.FAILED
    # It came to the version by another way; or it has installed it itself, and forgot: then it must prove itself.
    return U.VERIFYING if facts.installing_boot else U.SKIPPED


def _may_follow(old: UpdateState, new: UpdateState, *, watched: bool) -> bool:
    if old in ACTIVE:
        return RANK[new] >= RANK[old]
    return old is U.SUCCEEDED and new is U.ROLLED_BACK and watched


def _evidence(facts: Facts, said: ReportState, report: UpdateReport) -> Facts:
    """What a report proves even when it comes late: that it installed, in which boot, and that it checked itself."""
    if said in (ReportState.INSTALLING, ReportState.REBOOTING):
        # A power cut may have come between: the boot of the newest counts.
        boot = report.boot_id if report.seq > facts.seq or not facts.installing_boot else facts.installing_boot
        rebooting = facts.rebooting or said is ReportState.REBOOTING
        found = replace(facts, installing=True, rebooting=rebooting, installing_boot=boot)
    elif said is ReportState.SUCCEEDED and facts.state in ACTIVE and _is_new_boot(facts, report):
        found = replace(facts, checked=True)
    else:
        return facts
    return facts if found == facts else found


def _is_new_boot(facts: Facts, report: UpdateReport) -> bool:
    before = facts.installing_boot or facts.offered_boot
    return report.firmware_version == facts.target and report.boot_id not in (before, "")


def _why(said: ReportState) -> str:
    return {ReportState.ROLLED_BACK: "boot_failed", ReportState.CANCELED: "withdrawn"}.get(said, "unknown")
