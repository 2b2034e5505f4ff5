"""The open stage of a campaign as it stands: its clock, its evidence, and who is still to come. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firmware.gates import Plan, Tally
from firmware.states import StageState


@dataclass(frozen=True, slots=True)
class OpenStage:
    """The stage that is rolling or soaking."""

    number: int
    size: int
    """Devices up to and with it."""
    state: StageState
    soak: timedelta
    started_at: datetime
    soak_from: datetime | None = None
    soak_failures: int = 0
    """Failures of the campaign (Tally.failed) when the soak began."""
    last: bool = False
    clock_from: datetime | None = None
    """Since when its timeout counts: the latest of its start, the last resume and the end of the last global stop.
    None: its start."""


_WINDOW = ("waits for its maintenance window", "wait for their maintenance window")
"""One, several."""


class Standing:
    """The open stage, looked at once: is it late, is it settled, is there evidence?"""

    def __init__(self, plan: Plan, stage: OpenStage, tally: Tally, now: datetime) -> None:
        self.plan, self.stage, self.tally, self.now = plan, stage, tally, now
        self.age = now - (stage.clock_from or stage.started_at)
        self.is_late = self.age >= plan.stage_timeout
        self.is_twice_late = self.age - plan.stage_timeout >= plan.stage_timeout
        self.to_come = tally.stage_active + tally.stage_due
        self.needed = min(plan.min_executed, tally.executed + self.to_come)
        # At the end of the last stage nothing follows that its evidence would have to protect.
        own = tally.own_succeeded
        own_is_enough = own is None or own > 0 or tally.own_left <= 0 or (stage.last and self.is_late)
        self.has_evidence = tally.stage_succeeded > 0 and tally.executed >= self.needed and own_is_enough
        # Where another stage follows, its stragglers are no reason to wait for ever: they are offered all the same.
        self.is_settled = self.to_come <= 0 or (self.is_late and not (stage.last and tally.stage_due > 0))
        self.just_offered = tally.last_offered_at is not None and now - tally.last_offered_at < plan.stage_timeout

    def text(self) -> str:
        """What there is, and what is awaited, for people."""
        tally = self.tally
        parts = [f"stage {self.stage.number}: {tally.stage_succeeded} verified, {tally.failed} failed"]
        awaited = {
            "under way": tally.stage_active,
            "to be offered": tally.stage_due - tally.stage_window,
            _WINDOW[tally.stage_window > 1]: tally.stage_window,
            "went offline": tally.stage_away,
            "absent": tally.stage_absent,
        }
        parts += [f"{count} {words}" for words, count in awaited.items() if count > 0]
        return ", ".join(parts)

    def figures(self) -> dict[str, Any]:
        """Its numbers; durations in seconds."""
        stage, tally = self.stage, self.tally
        return {
            "stage": {"number": stage.number, "size": stage.size, "state": stage.state.value},
            "evidence": {
                "verified": tally.stage_succeeded,
                "executed": tally.executed,
                "needed": self.needed,
                "active": tally.stage_active,
                "away": tally.stage_away,
                "due": tally.stage_due,
                "absent": tally.stage_absent,
                "own_verified": tally.own_succeeded,
                "own_left": tally.own_left,
                "age_s": _seconds(self.age),
                "timeout_s": _seconds(self.plan.stage_timeout),
            },
            "soak": {
                "watched_s": _seconds(self.now - stage.soak_from) if stage.soak_from else None,
                "soak_s": _seconds(stage.soak),
                "failures": tally.failed,
                "failures_before": stage.soak_failures,
            },
        }


def span(length: timedelta) -> str:
    """A length of time for people: "1 h 30 min", "45 s"."""
    hours, rest = divmod(length // timedelta(minutes=1), 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (rest, "min")) if count]
    return " ".join(parts) or f"{_seconds(length)} s"


def _seconds(length: timedelta) -> int:
    return length // timedelta(seconds=1)
