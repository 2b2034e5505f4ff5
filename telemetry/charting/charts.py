"""Series for charts: as many points as a screen can show, from readings or from rollups, gaps told as gaps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from devices.models import Device
from telemetry.charting import cells, gaps, resolutions, vocabulary
from telemetry.charting.resolutions import Plan
from telemetry.charting.vocabulary import Drawn
from telemetry.models import Latest, Metric

Values = dict[str, list[float | None]]
"""By name, one for each time; None where there is no value."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Values in the range that are not drawn: another version of the schema gave the name another unit or kind."""

    metric: str
    unit: str


@dataclass(slots=True)
class Series:
    """Several series on one time axis: of metrics of a device, or of devices."""

    plan: Plan
    metrics: list[Drawn]
    times: list[int] = field(default_factory=list)
    """Epoch ms, the start of each bucket; where all were silent for long, one bucket without values."""
    values: Values = field(default_factory=dict)
    """Averages of all readings in the bucket."""
    lows: Values = field(default_factory=dict)
    highs: Values = field(default_factory=dict)
    lasts: Values = field(default_factory=dict)
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Stretches (epoch ms) in which the series was silent for much longer than usual."""
    left_out: list[LeftOut] = field(default_factory=list)


def kept(now: datetime) -> resolutions.Kept:
    """Since when there is what in this installation."""
    return resolutions.kept(now, settings.HOT_DAYS, settings.MINUTE_DAYS, settings.HOUR_DAYS)


def series(device: Device, plan: Plan, now: datetime, names: Iterable[str] = ()) -> Series:
    """Metrics of a device: those with `names`, or all that it speaks now."""
    metrics = vocabulary_of(device, names)
    rows = cells.read([device.pk], metrics, plan, now)
    columns = {metric.name: (device.pk, place) for place, metric in enumerate(metrics)}
    return _arranged(Series(plan, metrics), rows, columns)


def compared(devices: Sequence[Device], plan: Plan, now: datetime, name: str) -> Series:
    """One metric of several devices, by device id. It means what it means to the first that knows it."""
    types = [device.device_type_id for device in devices]
    metrics = vocabulary.of_types(types, _newest(devices[0]), [name])
    rows = cells.read([device.pk for device in devices], metrics, plan, now)
    return _arranged(Series(plan, metrics), rows, {device.device_id: (device.pk, 0) for device in devices})


def vocabulary_of(device: Device, names: Iterable[str] = ()) -> list[Drawn]:
    """What can be drawn of a device: metrics with these names, or all it speaks now."""
    return vocabulary.of_types([device.device_type_id], _newest(device), names)


def _newest(device: Device) -> int | None:
    return Latest.objects.filter(device=device).values_list("schema_id", flat=True).first()


def _arranged(result: Series, rows: list[cells.Row], columns: dict[str, tuple[int, int]]) -> Series:
    """Figures by bucket become lists by series: `columns` says of which device and metric each is."""
    step = int(result.plan.step / timedelta(milliseconds=1))
    found = {(row.device, row.time): row for row in rows}
    held = sorted({row.time for row in rows if any(cell.values for cell in row.cells)})
    for name, (device, place) in columns.items() if result.metrics else ():
        counts = [found[device, time].cells[place].values if (device, time) in found else 0 for time in held]
        result.gaps[name] = gaps.silences(held, counts, step)
    result.times = gaps.filled(held, [gap for each in result.gaps.values() for gap in each])
    for name, (device, place) in columns.items() if result.metrics else ():
        column = [
            found[device, time].cells[place] if (device, time) in found else cells.NOTHING for time in result.times
        ]
        result.values[name] = [cell.mean for cell in column]
        result.lows[name] = [cell.low for cell in column]
        result.highs[name] = [cell.high for cell in column]
        result.lasts[name] = [cell.last for cell in column]
    schemas = {schema for row in rows for schema in row.schemas}
    others = {(metric.name, unit) for metric in result.metrics for at, unit in metric.others.items() if at in schemas}
    result.left_out = [LeftOut(*each) for each in sorted(others)]
    return result


def shown(latest: Latest) -> list[dict[str, Any]]:
    """The newest values of a device with label and unit, for tiles and tables."""
    metrics = Metric.objects.filter(schema_id=latest.schema_id).order_by("position")
    numbers = iter(latest.metrics)
    rows = []
    for metric in metrics:
        text = metric.kind == Metric.Kind.TEXT
        value = (latest.extra or {}).get(metric.name) if text else next(numbers, None)
        if metric.kind == Metric.Kind.BOOLEAN and value is not None:
            value = bool(value)
        rows.append(
            {"name": metric.name, "label": metric.label, "unit": metric.unit, "kind": metric.kind, "value": value}
        )
    return rows
