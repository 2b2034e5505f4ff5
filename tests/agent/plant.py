"""A device without clock, network or disk: `update.step` on top, and below it a model of what carries out its effects.

Effects are done one at a time, so that the power can go before any of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from agent.image import Header, Health
from agent.judgement import is_signed
from agent.slots import Bootloader, choose
from agent.update import step
from agent.update_messages import (
    Abort,
    AskWanted,
    Bad,
    Booted,
    CheckImage,
    CheckSelf,
    CommitSlot,
    Discard,
    Download,
    Downloaded,
    Due,
    Effect,
    Heard,
    Keep,
    Look,
    Message,
    NotWanted,
    OfferReceived,
    Offline,
    Online,
    Reboot,
    Report,
    RevertSlot,
    Seen,
    SelfChecked,
    SetTrySlot,
    SlotCommitted,
    SlotReverted,
    TrySlotSet,
    Verified,
    Wanted,
    Work,
    WriteSlot,
    Written,
)
from agent.update_state import Build, Timing, Update, decode
from devices.contract import Image, Offer, OfferState, Signature, UpdateReport
from tests.agent.releases import Signer

NOW = 1_760_000_000.0
SIGNER = Signer()
BUILD = Build("d-1", "pump", SIGNER.keys, SIGNER.public, capacity=10_000, timing=Timing())
_SIGNATURES: dict[str, Signature] = {}


def offer(number: int = 1, version: str = "1.1.0", **changes: Any) -> Offer:
    """An offer of an image that is said to be signed; the digest tells the version."""
    sha256 = changes.pop("sha256", f"{version.encode().hex():0<64}")
    if sha256 not in _SIGNATURES:
        _SIGNATURES[sha256] = SIGNER.signature(sha256, "pump.img")
    size = changes.pop("size", 1000)
    image = Image("pump.img", size, sha256, f"/{version}", changes.pop("signatures", [_SIGNATURES[sha256]]))
    fields = {"device_types": ["pump"], "image": image, "attempt": 1, **changes}
    return Offer(UUID(int=number), fields.pop("attempt"), OfferState.OPEN, version, **fields)


def withdrawn(number: int = 1, attempt: int = 1) -> Offer:
    """A word that takes an offer back."""
    return Offer(UUID(int=number), attempt, OfferState.WITHDRAWN)


@dataclass
class Plant:
    """One device and its surroundings."""

    build: Build = BUILD
    health: dict[str, Health] = field(default_factory=dict)
    """Of versions; good ones need not be named."""
    over: set[UUID] = field(default_factory=set)
    """What the portal does not want any more."""
    open: list[Offer] = field(default_factory=list)
    """Said again at each birth."""
    seen: Seen = field(default_factory=Seen)
    content: str = ""
    """What the door hands out instead: a digest."""
    now: float = NOW
    # what survives a power cut
    boot: Bootloader = field(default_factory=Bootloader)
    slots: dict[str, Header] = field(default_factory=lambda: {"a": Header("1.0.0", ["pump"])})
    part: Offer | None = None
    memory: bytes = b""
    boots: int = 0
    # what does not
    state: Update = field(default_factory=Update)
    online: bool = False
    pending: deque[Effect] = field(default_factory=deque)
    # what the world saw
    done: list[Effect] = field(default_factory=list)
    published: list[UpdateReport] = field(default_factory=list)
    told: list[UpdateReport | tuple[str, str]] = field(default_factory=list)
    """Reports, and births (version, boot id), in order."""

    def __post_init__(self) -> None:
        self.switch_on()

    def switch_on(self) -> None:
        """After a cut, or for the first time."""
        self.pending.clear()
        self.state, self.online = Update(self.build, decode(self.memory)), False
        while True:
            before = self.boot
            self.boot, slot = choose(before)
            header, trial = self.slots[slot], slot == self.boot.trying
            if not trial or self.health.get(header.version, Health.GOOD) is not Health.BOOT_LOOP:
                break
        self.boots += 1
        self.hear(Booted(slot, header.version, f"boot {self.boots}", trial, self.boot.failed))

    def hear(self, message: Message) -> None:
        """Something happens."""
        self.state, effects = step(self.state, message, self.now)
        for effect in effects:
            if isinstance(effect, Abort):
                self.pending = deque(one for one in self.pending if not isinstance(one, Work))
            self.pending.append(effect)

    def offer(self, one: Offer) -> None:
        """The portal says something."""
        self.hear(OfferReceived(one))

    def connect(self) -> None:
        """The line is there, and the birth was acknowledged."""
        if not self.online:
            self.commit()  # a session has to be durable before it begins, and so is all that was kept before it
            works = [one for one in self.pending if isinstance(one, Work)]
            self.pending = deque(one for one in self.pending if not isinstance(one, Work))
            self.run()  # by then what waited only for that is done; reports find no line
            self.online = True
            self.hear(Online())
            self.run()
            self.pending.extend(works)
            self.told.append((self.state.version, self.state.boot_id))
            self.hear(Heard())
            for one in self.open:
                self.offer(one)

    def commit(self) -> None:
        """What is to be kept becomes durable; that waits for nothing else that is planned."""
        kept = [one for one in self.pending if isinstance(one, Keep)]
        self.pending = deque(one for one in self.pending if not isinstance(one, Keep))
        self.done += kept
        for one in kept:
            self.memory = one.memory

    def disconnect(self) -> None:
        """The line is gone."""
        if self.online:
            self.online = False
            self.hear(Offline())

    def wait(self, seconds: float = 3600.0) -> None:
        """Time passes."""
        self.now += seconds
        self.hear(Due())

    def run(self, steps: int = 10_000) -> None:
        """Do so many effects, and what comes of them."""
        while self.pending and steps:
            self.do()
            steps -= 1

    def settle(self) -> None:
        """Online and with time to spare, until nothing happens any more."""
        for _ in range(100):
            self.connect()
            self.run()
            if self.online and not self.state.in_flight:
                return
            if self.online:
                self.wait()
        raise AssertionError(f"stuck: {self.state}")

    def do(self) -> None:
        """The next effect."""
        effect = self.pending.popleft()
        self.done.append(effect)
        match effect:
            case Keep(memory):
                self.memory = memory
            case Report(report) if self.online:
                assert report.seq <= decode(self.memory).seq, "a number is durable before it is said"
                self.published.append(report)
                self.told.append(report)
            case Discard():
                self.part = None
            case Reboot():
                self.switch_on()
            case _ if isinstance(effect, Work):
                self.hear(self._answer(effect))

    def _answer(self, work: Work) -> Message:
        wanted = self.state.memory.offer
        assert wanted is not None
        assert wanted.image is not None
        match work:
            case Look():
                return self.seen
            case AskWanted(update_id):
                return NotWanted() if update_id in self.over else Wanted(wanted.attempt, "")
            case Download():
                self.part = wanted
                return Downloaded()
            case CheckImage(of):
                assert of.image is not None
                if not is_signed(of.image, self.build):
                    return Bad("signature")
                return Bad("hash") if self.part != of or self.content else Verified()
            case WriteSlot(slot, _):
                assert slot != self.boot.active, "the running slot is never written"
                if self.part is not None:
                    self.slots[slot], self.part = Header(self.part.version, self.part.device_types), None
                there = self.slots.get(slot)
                return Written() if there is not None and there.version == wanted.version else Bad("slot")
            case SetTrySlot(slot, ticket):
                self.boot = Bootloader(self.boot.active, slot, 1, ticket)
                return TrySlotSet()
            case CheckSelf():
                return SelfChecked(self.health.get(self.state.version, Health.GOOD) is Health.GOOD)
            case CommitSlot(slot):
                self.boot = Bootloader(slot)
                return SlotCommitted()
            case RevertSlot(ticket):
                self.boot = Bootloader(self.boot.active, failed=ticket)
                return SlotReverted()
            case _:
                raise AssertionError(work)

    @property
    def words(self) -> list[str]:
        """What was published, one state after the other."""
        return list(dict.fromkeys(report.state for report in self.published))

    @property
    def last(self) -> tuple[str, str]:
        """The newest report: its state and its reason."""
        report = self.state.memory.said[-1]
        return report.state, report.reason_code


def impatient(**timing: Any) -> Build:
    """A device with other times."""
    return replace(BUILD, timing=replace(BUILD.timing, **timing))
