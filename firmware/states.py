"""The state machines of campaigns and updates: which word may follow which. Pure; docs/states/ tells people."""

from __future__ import annotations

from enum import StrEnum


class CampaignState(StrEnum):
    """Where a campaign is."""

    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    ABORTING = "aborting"
    ABORTED = "aborted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_INCOMPLETE = "rollback_incomplete"
    COMPLETED = "completed"


class PauseReason(StrEnum):
    """Why a campaign is paused."""

    OPERATOR = "operator"
    ERROR_RATE = "error_rate"
    OFFLINE_RATE = "offline_rate"
    BURN_RATE = "burn_rate"
    REJECT_RATE = "reject_rate"
    NO_EVIDENCE = "no_evidence"


class StageState(StrEnum):
    """Where a stage is."""

    PENDING = "pending"
    ROLLING = "rolling"
    SOAKING = "soaking"
    PASSED = "passed"
    FAILED = "failed"


class UpdateState(StrEnum):
    """Where one device is in one campaign."""

    QUEUED = "queued"
    NOTIFIED = "notified"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    REMOVED = "removed"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    ROLLED_BACK = "rolled_back"


class Waiting(StrEnum):
    """Why nothing moves."""

    NO = ""
    STAGE = "stage"
    OFFLINE = "offline"
    WINDOW = "window"
    POWER = "power"
    SPACE = "space"
    PACING = "pacing"
    BUSY = "busy"
    CONSENT = "consent"
    APPROVAL = "approval"


C, U = CampaignState, UpdateState

FOLLOWS: dict[CampaignState, frozenset[CampaignState]] = {
    C.DRAFT: frozenset({C.PENDING_APPROVAL, C.ABORTED}),
    C.PENDING_APPROVAL: frozenset({C.DRAFT, C.SCHEDULED, C.ABORTED}),
    C.SCHEDULED: frozenset({C.DRAFT, C.RUNNING, C.ABORTED}),
    C.RUNNING: frozenset({C.PAUSED, C.ABORTING, C.ROLLING_BACK, C.COMPLETED}),
    C.PAUSED: frozenset({C.RUNNING, C.ABORTING, C.ROLLING_BACK}),
    C.ABORTING: frozenset({C.ABORTED, C.ROLLING_BACK}),
    C.ABORTED: frozenset({C.ROLLING_BACK}),
    C.COMPLETED: frozenset({C.ROLLING_BACK, C.RUNNING}),
    C.ROLLING_BACK: frozenset({C.ROLLED_BACK, C.ROLLBACK_INCOMPLETE}),
    C.ROLLBACK_INCOMPLETE: frozenset({C.ROLLING_BACK}),
    C.ROLLED_BACK: frozenset(),
}
"""Which state may follow which.

COMPLETED → RUNNING is `retry failed`; what leads from ABORTED and COMPLETED to ROLLING_BACK is a person.
"""

UNDER_WAY = frozenset({C.RUNNING, C.PAUSED, C.ABORTING, C.ROLLING_BACK})
"""The sweep looks at these."""
EDITABLE = frozenset({C.DRAFT, C.PENDING_APPROVAL, C.SCHEDULED})
"""Nothing was offered yet: an edit leads back to DRAFT and voids the approval."""

RANK: dict[UpdateState, int] = {
    U.QUEUED: 0,
    U.NOTIFIED: 1,
    U.DOWNLOADING: 2,
    U.DOWNLOADED: 3,
    U.INSTALLING: 4,
    U.REBOOTING: 5,
    U.VERIFYING: 6,
    U.SUCCEEDED: 7,
    U.FAILED: 7,
    U.TIMED_OUT: 7,
    U.CANCELED: 7,
    U.REMOVED: 7,
    U.REJECTED: 7,
    U.SKIPPED: 7,
    U.ROLLED_BACK: 8,
}
"""Ranks only move forward; ends absorb, but for SUCCEEDED → ROLLED_BACK while under watch."""
ACTIVE = (U.QUEUED, U.NOTIFIED, U.DOWNLOADING, U.DOWNLOADED, U.INSTALLING, U.REBOOTING, U.VERIFYING)
BEFORE_INSTALL = (U.QUEUED, U.NOTIFIED, U.DOWNLOADING, U.DOWNLOADED)
"""From here an update can still be taken back."""
ENDED = tuple(state for state in U if state not in ACTIVE)
FAILURES = (U.FAILED, U.TIMED_OUT, U.ROLLED_BACK)
"""Count against a campaign (TIMED_OUT only after INSTALLING; before, it never does)."""
