"""How a campaign stands: its devices by stage and fate, counted once a second for all who look."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q
from django.utils.safestring import SafeString
from redis import RedisError

from devices.badges import badge
from firmware.admin.plain_fields import say_duration
from firmware.models import Campaign, Stage
from firmware.querysets import FAILED
from firmware.reporting import TAKEN_BACK
from firmware.states import ACTIVE, BEFORE_INSTALL, StageState, UpdateState, Waiting

_SECONDS = 1
_NUMBER = Count("pk")
_KINDS = ("succeeded", "failed", "rejected", "taken_back", "active", "absent", "left", "planned")
_LABELS = {
    "succeeded": "Succeeded",
    "failed": "Failed",
    "rejected": "Refused",
    "taken_back": "Taken back",
    "active": "Under way",
    "absent": "Offline",
    "left": "Left out",
    "planned": "To come",
}


@dataclass(slots=True)
class Fates:
    """Numbers of devices; each device is in one of these."""

    succeeded: int = 0
    failed: int = 0
    rejected: int = 0
    """Refused by the device, before anything was written."""
    taken_back: int = 0
    """They had it, and were led back by a rollback."""
    active: int = 0
    """Offered, and on their way."""
    absent: int = 0
    """Offline, offered or not: they go on when they come back."""
    left: int = 0
    """Ended without a try: skipped, called off, removed, timed out before anything was written."""
    planned: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, kind) for kind in _KINDS)

    def add(self, kind: str, count: int) -> None:
        """So many more of a kind."""
        setattr(self, kind, getattr(self, kind) + count)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar, in thousandths of its length."""

    kind: str
    label: str
    count: int
    x: int
    width: int


@dataclass(slots=True)
class Standing:
    """The whole campaign, and each stage by its number."""

    whole: Fates = field(default_factory=Fates)
    stages: dict[int, Fates] = field(default_factory=dict)
    revocable: int = 0
    """Offered, and nothing written yet."""
    installing: int = 0
    """Can no longer be taken back."""
    planned: int = 0
    """Not offered yet, wherever they are."""
    windowed: int = 0
    """Of these, those that wait for their maintenance window."""
    beyond: dict[str, int] = field(default_factory=dict)
    """Those that can no longer be taken back, by their state."""

    @property
    def says_beyond(self) -> str:
        """`3 installing, 33 verifying`."""
        return ", ".join(f"{self.beyond[state]:,} {state}" for state in ACTIVE if self.beyond.get(state))

    @property
    def active(self) -> int:
        """Offered and not ended."""
        return self.revocable + self.installing


@dataclass(frozen=True, slots=True)
class ShownStage:
    """A stage with its bar."""

    row: Stage
    own: int
    """Devices of this stage alone."""
    fates: Fates
    segments: list[Segment]
    soaks_until: datetime | None
    soak_left: str
    badge: SafeString

    @property
    def says(self) -> str:
        """The bar in words, for those who do not see it."""
        told = [f"{each.label.lower()} {each.count}" for each in self.segments]
        return ", ".join(told) or "nobody yet"


def standing(campaign: Campaign) -> Standing:
    """At most a second old, by one query for everybody who looks; counted anew while the cache is away."""
    key = f"campaign:{campaign.pk}:standing"
    try:
        found: Standing | None = cache.get(key)
        if found is None:
            found = count(campaign)
            cache.set(key, found, _SECONDS)
    except RedisError:
        return count(campaign)
    return found


def count(campaign: Campaign) -> Standing:
    """Now, in one query."""
    rows: Iterable[Any] = (
        campaign.updates.order_by()
        .values("stage", "state", "waiting")
        .annotate(
            failures=Count("pk", filter=FAILED),
            taken_back=Count("pk", filter=Q(reason_code=TAKEN_BACK)),
            offered=Count("pk", filter=Q(offered_at__isnull=False)),
            number=_NUMBER,
        )
    )
    found = Standing()
    for row in rows:
        for fates in (found.whole, found.stages.setdefault(row["stage"], Fates())):
            _add(fates, row)
        if row["state"] in ACTIVE:
            planned = row["number"] - row["offered"]
            found.planned += planned
            found.windowed += planned if row["waiting"] == Waiting.WINDOW else 0
            if row["state"] in BEFORE_INSTALL:
                found.revocable += row["offered"]
            else:
                found.installing += row["offered"]
                found.beyond[row["state"]] = found.beyond.get(row["state"], 0) + row["offered"]
    return found


def shown_stages(campaign: Campaign, stages: Iterable[Stage], standing: Standing, now: datetime) -> list[ShownStage]:
    """The stages with their bars; a planned one that has no devices yet has an empty bar."""
    found, before = [], 0
    for row in stages:
        fates = standing.stages.get(row.number, Fates())
        own = max(row.size - before, 0)
        before = max(row.size, before)
        until = _soaks_until(campaign, row)
        left = say_duration(until - now) if until and until > now else "moment"
        found.append(
            ShownStage(row, own or fates.total, fates, segments(fates), until, left, stage_badge(campaign, row))
        )
    return found


def stage_badge(campaign: Campaign, stage: Stage) -> SafeString:
    """Where it is; one that a campaign ended before is not to come."""
    if stage.state == StageState.PENDING and campaign.ended_at:
        return badge("skipped", "Not reached")
    return badge(stage.state, stage.get_state_display())


def segments(fates: Fates) -> list[Segment]:
    """As pieces of a bar of length 1,000. What is there is seen, however little it is."""
    total, at, found = fates.total, 0, []
    if not total:
        return []
    least = 8
    counts = [(kind, getattr(fates, kind)) for kind in _KINDS if getattr(fates, kind)]
    widths = [max(least, number * 1000 // total) for _, number in counts]
    widths[widths.index(max(widths))] += 1000 - sum(widths)
    for (kind, number), width in zip(counts, widths, strict=True):
        found.append(Segment(kind, _LABELS[kind], number, at, width))
        at += width
    return found


def _add(fates: Fates, row: dict[str, Any]) -> None:
    if row["state"] == UpdateState.SUCCEEDED:
        fates.add("succeeded", row["number"])
    elif row["state"] not in ACTIVE:
        rejected = row["number"] if row["state"] == UpdateState.REJECTED else 0
        fates.add("failed", row["failures"])
        fates.add("rejected", rejected)
        fates.add("taken_back", row["taken_back"])
        fates.add("left", row["number"] - row["failures"] - rejected - row["taken_back"])
    elif row["waiting"] == Waiting.OFFLINE:
        fates.add("absent", row["number"])
    else:
        fates.add("active", row["offered"])
        fates.add("planned", row["number"] - row["offered"])


def _soaks_until(campaign: Campaign, stage: Stage) -> datetime | None:
    """When the watch over a stage ends; None while its clock stands still."""
    if stage.state != StageState.SOAKING or stage.soak_from is None or campaign.state != "running":
        return None
    return stage.soak_from + stage.soak
