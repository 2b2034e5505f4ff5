"""Devices as they behave, without a network: they see their rows as offers, report through `updates`, and reboot."""

from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction

from devices.contract import UpdateReport
from devices.models import Presence
from devices.registry import look_up
from firmware import updates
from firmware.models import Update
from firmware.states import BEFORE_INSTALL

GOOD, FAILS, BOOT_LOOP, BRICKED, REFUSES = "good", "fails", "boot_loop", "bricked", "refuses"
STEPS = ("notified", "downloading", "downloaded", "installing", "rebooting", "verifying", "succeeded")


@dataclass
class Work:
    """An update a device is at."""

    update_id: object
    attempt: int
    target: str
    step: int = 0


@dataclass
class Simulated:
    """One device. `behave` says what becomes of an installation: of a version, or of all ("*")."""

    device: object
    version: str = "1.0.0"
    boot: int = 1
    session: int = 1
    seq: int = 0
    online: bool = True
    work: Work | None = None
    behave: dict = field(default_factory=dict)
    sent: list = field(default_factory=list)
    waiting: list = field(default_factory=list)

    def __post_init__(self):
        self.known = look_up([self.device.device_id])[self.device.device_id]

    # --- its connection ---

    def go_offline(self, now):
        """Its will is published."""
        if self.online:
            self.online = False
            Presence.objects.filter(device=self.device).update(online=False, ended="will", changed_at=now)

    def come_online(self, now):
        """A birth, and what waited in the outbox."""
        if self.online or self.behave.get("*") == BRICKED:
            return
        self.online, self.session = True, self.session + 1
        Presence.objects.filter(device=self.device).update(
            online=True, ended="", session=self.session, boot_id=f"boot-{self.boot}", changed_at=now,
            firmware_version=self.version, last_seen_at=now,
        )  # fmt: skip
        with transaction.atomic():
            updates.births([self.device.pk], now)
        self.flush(now)

    def power_cut(self, now):
        """It boots anew, in the slot it ran; what it was writing it writes again."""
        self.go_offline(now)
        self.boot += 1
        if self.work and STEPS[self.work.step] in ("installing", "rebooting"):
            self.work.step = STEPS.index("downloaded")
        self.come_online(now)

    # --- its updates ---

    def say(self, state, now, reason=""):
        """A report; it waits while the device is offline."""
        self.seq += 1
        report = UpdateReport(
            update_id=self.work.update_id, attempt=self.work.attempt, seq=self.seq, state=state,
            firmware_version=self.version, boot_id=f"boot-{self.boot}", reason_code=reason,
        )  # fmt: skip
        self.sent.append(report)
        self.waiting.append(report)
        if self.online:
            self.flush(now)

    def flush(self, now):
        """Deliver what waited."""
        waiting, self.waiting = self.waiting, []
        self.deliver(waiting, now)

    def deliver(self, reports, now):
        """As the porter does."""
        if reports:
            with transaction.atomic():
                updates.record_reports([(self.known, report) for report in reports], now)

    def is_wanted(self):
        """Before it downloads, installs and reboots it asks."""
        rows = Update.objects.filter(update_id=self.work.update_id, attempt=self.work.attempt)
        return rows.filter(state__in=[*BEFORE_INSTALL, "installing"], offered_at__isnull=False).exists()

    def step(self, now):
        """Do the next thing there is to do. False: nothing."""
        if not self.online:
            return False
        row = self.offer()
        if row is not None and (self.work is None or self.work.step < 3):
            mine = self.work and (self.work.update_id, self.work.attempt) == (row.update_id, row.attempt)
            if not mine:
                self.work = Work(row.update_id, row.attempt, row.release.version, -1)
        if self.work is None:
            return False
        return self._next(now)

    def offer(self):
        """What the portal says to it now."""
        rows = Update.objects.revocable().filter(device=self.device).select_related("release")
        return rows.first()

    def _next(self, now):
        step = STEPS[self.work.step + 1]
        how = self.behave.get(self.work.target, self.behave.get("*", GOOD))
        if step in ("downloading", "installing", "rebooting") and not self.is_wanted():
            self.say("canceled", now)
            self.work = None
            return True
        if step == "notified" and how == REFUSES:
            return self._end("rejected", now, "battery")
        if step == "rebooting" and how == FAILS:
            return self._end("failed", now, "flash_error")
        self.work.step += 1
        if step != "rebooting":
            self.say(step, now)
            if step == "succeeded":
                self.work = None
            return True
        self.say(step, now)
        self._reboot(how, now)
        return True

    def _reboot(self, how, now):
        self.go_offline(now)
        self.boot += 1
        if how == BRICKED:
            self.behave["*"] = BRICKED
            return
        if how == BOOT_LOOP:  # the boot loader takes the old slot
            self.boot += 1
            self.come_online(now)
            self._end("rolled_back", now, "boot_failed")
            return
        self.version = self.work.target
        self.come_online(now)

    def _end(self, state, now, reason):
        self.say(state, now, reason)
        self.work = None
        return True


def fleet_of(devices, **fields):
    """Simulations of rows that exist."""
    return [Simulated(device, **fields) for device in devices]


def live(simulated, now, steps=7):
    """Let all of them do what there is to do."""
    for each in simulated:
        for _ in range(steps):
            if not each.step(now):
                break


def run(campaigns, simulated, now, *, until, advance, every=timedelta(minutes=35), bound=100):
    """Advance and live in turn until a condition holds. Returns the moment then; fails after `bound` turns."""
    for _ in range(bound):
        for pk in campaigns():
            advance(pk, now)
        if until():
            return now
        live(simulated, now)
        now += every
    raise AssertionError(f"not reached within {bound} turns")
