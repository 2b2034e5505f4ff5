"""The gates of a campaign as gauges: how near each rate is to its threshold, from what the engine counted last."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from firmware import advancing, rollout
from firmware.models import Campaign
from firmware.rollout import Tally

_FULL = 1000
"""Length of a gauge; its limit lies at its middle, so that what is over is seen, too."""
_NAMES = {each.name for each in fields(Tally)}


@dataclass(frozen=True, slots=True)
class ShownGauge:
    """A gauge with its bar."""

    told: rollout.Gauge
    width: int
    tone: str

    @property
    def limit_at(self) -> int:
        """Where the mark of the limit is."""
        return _FULL // 2


def tallied(campaign: Campaign) -> dict[str, Any]:
    """The last tally the engine stored; empty before its first look."""
    found: dict[str, Any] = campaign.figures.get("tally", {})
    return found


def decided(campaign: Campaign) -> str:
    """What the engine said at its last look."""
    return str(campaign.figures.get("decision", {}).get("text", ""))


def shown_gauges(campaign: Campaign) -> list[ShownGauge]:
    """One for each rate; none before the first look, and for a rollback, which no rate holds."""
    told = {name: value for name, value in tallied(campaign).items() if name in _NAMES}
    if not told or campaign.rollback_of_id:
        return []
    if "last_offered_at" in told:
        told["last_offered_at"] = _moment(told["last_offered_at"])
    return [_shown(each) for each in rollout.gauges(advancing.plan(campaign), Tally(**told))]


def _shown(gauge: rollout.Gauge) -> ShownGauge:
    tone = "bad" if gauge.over else "warning" if gauge.share > 0.5 else "good"
    return ShownGauge(gauge, min(_FULL, round(gauge.share * _FULL / 2)), tone)


def _moment(value: Any) -> datetime | None:
    return parse_datetime(value) if isinstance(value, str) else value
