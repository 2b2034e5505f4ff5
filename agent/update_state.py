"""What a device knows of its firmware update: what survives a power cut, and what it was built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

import msgspec

from agent.backoff import Backoff
from devices.contract import Offer, UpdateReport
from firmware.signing import PublicKey

FACTORY_VERSION = "1.0.0"
"""What a device runs that was never updated."""


RETRY = Backoff(first=5, cap=300)


class Phase(StrEnum):
    """How far the update is."""

    IDLE = "idle"
    OFFERED = "offered"
    FETCHING = "fetching"
    FETCHED = "fetched"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    VERIFYING = "verifying"
    DONE = "done"


BEFORE_INSTALL = (Phase.OFFERED, Phase.FETCHING, Phase.FETCHED)
"""Until here an update can be taken back."""


class Job(StrEnum):
    """The piece of work that is under way, or comes next when it is time."""

    NONE = ""
    LOOK = "look"
    ASK = "ask"
    FETCH = "fetch"
    CHECK = "check"
    WRITE = "write"
    TRY = "try"
    REBOOT = "reboot"
    SELF_CHECK = "self_check"
    COMMIT = "commit"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a device is, in seconds."""

    retry: Backoff = RETRY
    """Between tries of anything that did not work out."""
    look: float = 60.0
    """Between looks at battery, mains and disk while they do not suffice."""
    patience: float = 6 * 3600.0
    """So long it waits for them."""
    self_check: float = 5.0
    """So long the new version has to stay connected before it trusts itself."""
    watchdog: float = 600.0
    """If it has not by then, the old version comes back."""
    jitter_share: float = 1.0
    """The part of the jitter before a reboot that is made use of."""


@dataclass(frozen=True, slots=True)
class Build:
    """What a device was built with. Without firmware keys it refuses every image, without a permit key every way back.

    Keys are named by their fingerprint.
    """

    device_id: str = ""
    device_type: str = ""
    firmware_keys: Mapping[str, PublicKey] = field(default_factory=dict)
    permit_key: PublicKey | None = None
    capacity: int = 256 * 1024 * 1024
    """Bytes that fit into a slot."""
    timing: Timing = Timing()


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What survives a power cut."""

    phase: Phase = Phase.IDLE
    offer: Offer | None = None
    """The update in hand, or the last one."""
    origin: str = ""
    """Version it ran when it was offered."""
    slot: str = ""
    """Where the new version goes."""
    seq: int = 0
    """Of the last report, of whatever update: never used twice."""
    said: tuple[UpdateReport, ...] = ()
    """The newest report, and before it the end of the update before: said again on every connection."""
    tries: int = 0
    """Downloads in a row that brought nothing."""
    resumed: bool = False
    """What was downloaded came in several parts."""
    waiting: str = ""
    """Why it waits: power, space."""
    since: float = 0.0
    """Since when (epoch seconds)."""
    progress: int = -1
    """Percent reported."""
    verdict: str = ""
    """Why the new version is given up."""
    next: tuple[Offer, ...] = ()
    """Came meanwhile, oldest first. The portal has at most one update open: whichever is not it, it will say so."""


NEW = Memory()


@dataclass(frozen=True, slots=True)
class Update:
    """A device's update. Only `memory` survives a power cut."""

    build: Build = Build()
    memory: Memory = NEW
    version: str = FACTORY_VERSION
    """The version that runs."""
    boot_id: str = ""
    slot: str = ""
    """The slot it runs from; empty before the first boot."""
    job: Job = Job.NONE
    busy: bool = False
    """The job is under way, and its answer will come."""
    due: float = inf
    """When to begin the job, or to give up a self-check (epoch seconds)."""
    failures: int = 0
    """Of the job, in a row."""

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self.memory.phase

    @property
    def in_flight(self) -> bool:
        """Is there something to do?"""
        return self.phase not in (Phase.IDLE, Phase.DONE)

    @property
    def ticket(self) -> str:
        """Names the update to the bootloader."""
        offer = self.memory.offer
        return f"{offer.update_id}/{offer.attempt}" if offer else ""


def remembering(state: Update, **changes: object) -> Update:
    """The state with changes to its memory."""
    return replace(state, memory=msgspec.structs.replace(state.memory, **changes))


_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(Memory)


def encode(memory: Memory) -> bytes:
    """A memory as it is kept."""
    return _ENCODER.encode(memory)


def decode(content: bytes) -> Memory:
    """A memory that was kept; an empty one if there is none. Raises msgspec.MsgspecError if it is damaged."""
    return _DECODER.decode(content) if content else Memory()
