"""What was usual: the range in which a metric of a device lay at this time of day during the last weeks."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from devices.models import Device
from telemetry.charting import cells, resolutions
from telemetry.charting.charts import vocabulary_of
from telemetry.charting.resolutions import Plan, Source, floor
from telemetry.charting.usual import FEWEST_DAYS, HOUR, Usual, middles, usual
from telemetry.charting.vocabulary import Drawn
from telemetry.models import Metric

BACK = timedelta(days=28)
"""How far back from the range's beginning is looked."""
LONGEST = timedelta(days=31)


@dataclass(slots=True)
class Band:
    """The usual range along a chart's range, and where the averages left it. Without one `reason` says why."""

    metric: Drawn
    times: list[int] = field(default_factory=list)
    """Epoch ms, the middles of hours."""
    lows: list[float | None] = field(default_factory=list)
    highs: list[float | None] = field(default_factory=list)
    days: int = 0
    """Days with readings it is told from."""
    outside: list[int] = field(default_factory=list)
    """Epoch ms, the starts of the buckets of the chart's plan whose average lies outside; of buckets of more than an
    hour, those with such an hour."""
    reason: str = ""


def band(device: Device, name: str, plan: Plan, now: datetime) -> Band | None:
    """The band for a chart of this plan; None where the device has no such metric."""
    metrics = vocabulary_of(device, [name])
    if not metrics:
        return None
    found = Band(metrics[0])
    if found.metric.kind == Metric.Kind.BOOLEAN:
        found.reason = "Yes and no have no usual range."
    elif plan.until - plan.since > LONGEST + plan.step:
        found.reason = f"A range of more than {LONGEST.days} days has no usual time of day."
    else:
        _draw(found, device, plan, now)
    return found


def _draw(found: Band, device: Device, plan: Plan, now: datetime) -> None:
    before = floor(plan.since, HOUR)
    past = cells.read([device.pk], [found.metric], Plan(before - BACK, before, Source.HOUR, HOUR), now)
    seen = [(resolutions.moment(row.time), cell.low, cell.high) for row in past for cell in row.cells]
    habit = usual((at, low, high) for at, low, high in seen if low is not None and high is not None)
    if habit is None:
        found.reason = f"There are fewer than {FEWEST_DAYS} days of readings before this range."
        return
    found.days = habit.days
    for moment in middles(plan.since, plan.until):
        found.times.append(resolutions.milliseconds(moment))
        low, high = habit.at(moment) or (None, None)
        found.lows.append(low)
        found.highs.append(high)
    # What is usual is told by the hour: the average of a day has no time of day that it could be held against.
    fine = plan if plan.step <= HOUR else Plan(plan.since, plan.until, Source.HOUR, HOUR)
    outside = set()
    for row in cells.read([device.pk], [found.metric], fine, now):
        start = resolutions.moment(row.time)
        if _is_outside(row.cells[0].mean, habit, start + fine.step / 2):
            outside.add(resolutions.milliseconds(floor(start, plan.step)))
    found.outside = sorted(outside)


def _is_outside(mean: float | None, habit: Usual, moment: datetime) -> bool:
    usual_then = habit.at(moment)
    return mean is not None and usual_then is not None and not usual_then[0] <= mean <= usual_then[1]
