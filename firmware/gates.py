"""The gates of a campaign that are rates: what each reads, over what, and whether it trips. Pure.

Rates are basis points and are compared as whole numbers, strictly: a rate equal to its threshold passes. A gate trips
once enough have ended (`needed`), and at once when not even the best that can still come would keep it under its
threshold. Devices that were skipped, removed or superseded count nowhere; absent ones only among what can still come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

WHOLE = 10_000
"""One, in basis points."""
BURN_WINDOW = timedelta(minutes=30)
_NO_LIMIT_SHARE = 2.0


class Gate(StrEnum):
    """Which rule spoke, in the order in which they are asked."""

    STOP = "stop"
    OPERATOR = "operator"
    ERROR_RATE = "error_rate"
    OFFLINE_RATE = "offline_rate"
    BURN_RATE = "burn_rate"
    REJECT_RATE = "reject_rate"
    EVIDENCE = "evidence"
    SOAK = "soak"
    ADVANCE = "advance"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was approved. Rates in basis points (1 % = 100)."""

    error_rate: int = 200
    offline_rate: int = 500
    reject_rate: int = 2000
    rolls_back: bool = True
    """False: where error or offline rate would roll back, it pauses."""
    burn_rate: int = 3
    success_target: int = 9900
    min_executed: int = 10
    stage_timeout: timedelta = timedelta(hours=24)
    continuous: bool = False
    ends_at: datetime | None = None
    gated: bool = True
    """False (a rollback): no rate and no lack of evidence holds it; it goes on until everybody has ended, or until
    the stage's timeout."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices of a campaign, counted once. Cumulative over all that were offered, unless it says otherwise."""

    targets: int = 0
    """All rows but REMOVED and SKIPPED."""
    offered: int = 0
    succeeded: int = 0
    failed: int = 0
    """FAILED, TIMED_OUT after INSTALLING, ROLLED_BACK."""
    rejected: int = 0
    fresh_ended: int = 0
    """Counted ends (succeeded, failed, rejected) since the start or the last resume: for the reject rate."""
    fresh_rejected: int = 0
    recent_succeeded: int = 0
    """Ended within the burn window, and since the last resume."""
    recent_failed: int = 0
    rebooted: int = 0
    """Their reboot for the update started."""
    silent: int = 0
    """Of these, offline for longer than the grace after it, and not counted as failed already. Once verified, only who
    went while it was watched, and only as many as are more than the control group lets expect (tallies.py)."""
    control: int = 0
    """The control group: not offered yet (at 100 %: the rest of the fleet), online or gone just now."""
    control_gone: int = 0
    """Of these, those that went offline within the last grace periods and still are."""
    stage_active: int = 0
    """Offered, not ended, in the stages up to the open one; without `stage_away`."""
    stage_away: int = 0
    """Active before REBOOTING and offline for longer than the grace: they leave the denominators."""
    stage_due: int = 0
    """Not offered yet, in the stages up to the open one, and online and free: their offer is only a matter of pacing
    or of their maintenance window."""
    stage_absent: int = 0
    """Not offered yet, and offline (or busy in another campaign): they leave the denominators, and are offered when
    they come back."""
    stage_succeeded: int = 0
    """SUCCEEDED in the stages up to the open one (the evidence)."""
    active: int = 0
    """Offered and not ended, anywhere in the campaign."""
    installing: int = 0
    """Of these, those that can no longer be taken back (INSTALLING and beyond)."""
    stage_window: int = 0
    """Of `stage_due`, those that wait for a maintenance window: a stage that only waits for windows is not paused."""
    own_succeeded: int | None = None
    """SUCCEEDED in the open stage alone. None: not counted, the cumulative number stands for it."""
    own_left: int = 0
    """Not ended in the open stage alone, wherever they are: active, away, due, absent."""
    last_offered_at: datetime | None = None
    """The newest offer in the stages up to the open one: what was just offered gets its time to end."""

    canceled_by_device: int = 0
    """Up to the open stage, given up by the device itself, or never begun by one that was there: no failure, but
    somebody whom the stage does not have."""

    @property
    def executed(self) -> int:
        """Ends that say something about the release."""
        return self.succeeded + self.failed

    @property
    def left(self) -> int:
        """Devices up to the open stage that may still end, the absent ones too."""
        return self.stage_active + self.stage_away + self.stage_due + self.stage_absent


@dataclass(frozen=True, slots=True)
class Reading:
    """What one gate reads now."""

    gate: Gate
    label: str
    numerator: int
    denominator: int
    threshold: int
    """Basis points; of the burn rate: this many basis points of failures burn as fast as is allowed."""
    needed: int
    """It is judged once the denominator is as large."""
    can_be: int
    """How large the denominator can still become, at best; 0: not asked."""

    @property
    def is_over(self) -> bool:
        """Is the rate over its threshold, on however few?"""
        return self.numerator * WHOLE > self.threshold * self.denominator

    @property
    def is_certain(self) -> bool:
        """Would it be over even if everything else went well?"""
        return self.can_be > 0 and self.numerator * WHOLE > self.threshold * max(self.can_be, self.denominator)

    @property
    def trips(self) -> bool:
        """Is it over on enough, or for certain?"""
        return self.is_over and (self.denominator >= self.needed or self.is_certain)

    @property
    def share(self) -> float:
        """The rate as a share of its threshold; where that is 0: 0 or twice."""
        if self.numerator <= 0 or self.denominator <= 0:
            return 0.0
        allowed = self.threshold * self.denominator
        return self.numerator * WHOLE / allowed if allowed > 0 else _NO_LIMIT_SHARE

    def figures(self) -> dict[str, int]:
        """Its numbers."""
        return {
            "numerator": self.numerator,
            "denominator": self.denominator,
            "threshold_bp": self.threshold,
            "needed": self.needed,
            "can_be": self.can_be,
        }


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gate for a live page."""

    gate: Gate
    label: str
    value: str
    """"3.1 % (4 of 129)"."""
    limit: str
    """"2 %"."""
    share: float
    """Of the limit: 0 … 1, and above when over."""
    over: bool
    """It trips. A rate above its limit that is judged on too few yet does not."""


def error_rate(plan: Plan, tally: Tally) -> Reading:
    """Failures of all that ended, in all stages so far."""
    can_be = tally.executed + tally.left
    needed = min(plan.min_executed, can_be)
    return Reading(Gate.ERROR_RATE, "error rate", tally.failed, tally.executed, plan.error_rate, needed, can_be)


def offline_rate(plan: Plan, tally: Tally) -> Reading:
    """Devices that stayed silent after their reboot, of those that rebooted."""
    can_be = max(tally.rebooted, tally.executed + tally.left)
    needed = min(plan.min_executed, can_be)
    return Reading(Gate.OFFLINE_RATE, "offline rate", tally.silent, tally.rebooted, plan.offline_rate, needed, can_be)


def is_outage(plan: Plan, tally: Tally) -> bool:
    """Are devices that were offered nothing dropping off just as much? Then it is not the release."""
    return tally.control_gone * WHOLE > plan.offline_rate * tally.control and tally.control > 0


def burn_rate(plan: Plan, tally: Tally) -> Reading:
    """Failures of what ended in the last half hour, measured in what the success target allows."""
    recent = tally.recent_succeeded + tally.recent_failed
    threshold = plan.burn_rate * (WHOLE - plan.success_target)
    return Reading(Gate.BURN_RATE, "burn rate", tally.recent_failed, recent, threshold, plan.min_executed, 0)


def reject_rate(plan: Plan, tally: Tally) -> Reading:
    """Devices that refused the update, of all that ended since the start or the last resume."""
    can_be = tally.fresh_ended + tally.left
    needed = min(plan.min_executed, can_be)
    return Reading(
        Gate.REJECT_RATE, "reject rate", tally.fresh_rejected, tally.fresh_ended, plan.reject_rate, needed, can_be
    )


def readings(plan: Plan, tally: Tally) -> list[Reading]:
    """All rates, in the order in which they are asked."""
    return [each(plan, tally) for each in (error_rate, offline_rate, burn_rate, reject_rate)]


def percent(numerator: int, denominator: int) -> str:
    """A share for people: "3.1 %", "2 %", "0.05 %"."""
    hundredths = (numerator * WHOLE * 2 + denominator) // (denominator * 2) if denominator > 0 else 0
    whole, part = divmod(hundredths, 100)
    return f"{whole}.{part:02}".rstrip("0").rstrip(".") + " %"


def told(plan: Plan, reading: Reading) -> tuple[str, str]:
    """A reading and its limit in words."""
    counts = f"{reading.numerator} of {reading.denominator}"
    if reading.gate is not Gate.BURN_RATE:
        return f"{percent(reading.numerator, reading.denominator)} ({counts})", percent(reading.threshold, WHOLE)
    allowed = max(WHOLE - plan.success_target, 1) * max(reading.denominator, 1)
    tenths = (reading.numerator * WHOLE * 20 + allowed) // (allowed * 2)
    minutes = BURN_WINDOW // timedelta(minutes=1)
    return f"{tenths // 10}.{tenths % 10} × ({counts} in {minutes} min)", f"{plan.burn_rate} ×"


def gauges(plan: Plan, tally: Tally) -> list[Gauge]:
    """Every rate with its limit, for a live page."""
    found = []
    for reading in readings(plan, tally):
        value, limit = told(plan, reading)
        label = reading.label.capitalize()
        found.append(Gauge(reading.gate, label, value, limit, reading.share, reading.trips))
    return found
