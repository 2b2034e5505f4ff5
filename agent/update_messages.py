"""What happens to a firmware update, and what it wants done: the words between `update.step` and `updating.py`.

Every effect that is work (`Work`) is answered by one message, or by `NotDone`; never more than one is under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from agent.rotation_messages import Log
from devices.contract import Image, Offer, UpdateReport

# --- what happens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Booted:
    """The device was switched on, or came back from a reboot."""

    slot: str
    version: str
    boot_id: str
    trial: bool = False
    """The slot is tried: without `CommitSlot` the next boot takes the other one."""
    failed: str = ""
    """The ticket of the last slot that was tried and did not prove itself; it stays until another is tried."""


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """The portal offers an update, or withdraws it."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Online:
    """The broker accepted the session."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The broker acknowledged the birth."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The connection is over."""


@dataclass(frozen=True, slots=True)
class Due:
    """The clock reached `due`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The device looked at itself."""

    battery_percent: int = 100
    mains: bool = True
    free_bytes: int = 1 << 40


@dataclass(frozen=True, slots=True)
class Wanted:
    """The portal still wants the update."""

    attempt: int
    url: str
    """Where the image is now."""


@dataclass(frozen=True, slots=True)
class NotWanted:
    """The portal does not, for good."""


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """So much of the image is here."""

    done: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """All of it is on the disk, durably; not checked yet."""


@dataclass(frozen=True, slots=True)
class DownloadFailed:
    """The download broke off; what came is kept."""

    reason: str
    """`network`, `expired` (the link), `busy` (the portal), `no_space`, `too_large` (more came than was said)."""
    gained: bool = False
    """Something came."""
    wait: float = 0.0
    """Seconds the portal asks for."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The image is what was offered."""


@dataclass(frozen=True, slots=True)
class Bad:
    """It is not; `reason` as in reports."""

    reason: str


@dataclass(frozen=True, slots=True)
class Written:
    """The image is in the slot, durably."""


@dataclass(frozen=True, slots=True)
class TrySlotSet:
    """The next boot tries the slot."""


@dataclass(frozen=True, slots=True)
class SelfChecked:
    """The new version looked at itself."""

    passed: bool


@dataclass(frozen=True, slots=True)
class SlotCommitted:
    """The slot it runs from is the one to boot from now on."""


@dataclass(frozen=True, slots=True)
class SlotReverted:
    """The next boot takes the slot from before."""


@dataclass(frozen=True, slots=True)
class NotDone:
    """What was under way did not work out; it can be tried again."""

    text: str
    wait: float = 0.0
    """Seconds somebody asks for."""


Message = (
    Booted
    | OfferReceived
    | Online
    | Heard
    | Offline
    | Due
    | Seen
    | Wanted
    | NotWanted
    | DownloadProgress
    | Downloaded
    | DownloadFailed
    | Verified
    | Bad
    | Written
    | TrySlotSet
    | SelfChecked
    | SlotCommitted
    | SlotReverted
    | NotDone
)


# --- what is wanted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keep:
    """Make the state durable, before anything that follows."""

    memory: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """Publish, retained; only said again on the next connection if there is none now."""

    report: UpdateReport


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop the work that is under way; nobody waits for its answer any more."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete what was downloaded."""


@dataclass(frozen=True, slots=True)
class Look:
    """How are battery, mains and disk? Then `Seen`."""


@dataclass(frozen=True, slots=True)
class AskWanted:
    """Ask the portal whether it still wants the update; then `Wanted` or `NotWanted`."""

    update_id: UUID


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch what is missing of the image; `DownloadProgress`, then `Downloaded` or `DownloadFailed`."""

    image: Image


@dataclass(frozen=True, slots=True)
class CheckImage:
    """Is the downloaded file what was offered? Then `Verified` or `Bad`."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class WriteSlot:
    """Put the downloaded image into the slot, unless it is there already; then `Written` or `Bad`."""

    slot: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SetTrySlot:
    """Let the next boot try the slot, once; then `TrySlotSet`."""

    slot: str
    ticket: str


@dataclass(frozen=True, slots=True)
class Reboot:
    """Reboot after so many seconds; then `Booted`."""

    after: float


@dataclass(frozen=True, slots=True)
class CheckSelf:
    """Look whether the new version works; then `SelfChecked`."""


@dataclass(frozen=True, slots=True)
class CommitSlot:
    """Boot from this slot from now on; then `SlotCommitted`."""

    slot: str


@dataclass(frozen=True, slots=True)
class RevertSlot:
    """Give the tried slot up; then `SlotReverted`."""

    ticket: str


Work = Look | AskWanted | Download | CheckImage | WriteSlot | SetTrySlot | Reboot | CheckSelf | CommitSlot | RevertSlot
Effect = Keep | Report | Abort | Discard | Work | Log
