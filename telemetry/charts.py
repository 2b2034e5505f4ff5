"""Series for charts: as many points as a screen can show, gaps left as gaps."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from telemetry.models import Latest, Metric

POINTS = 600

# Only numbers of one schema can be put side by side by position; the newest schema of the device is drawn.
_SERIES = """
    SELECT date_bin(%(step)s, ts, %(since)s) AS bucket, n.position, avg(n.value), min(n.value), max(n.value)
      FROM telemetry_reading,
           unnest(metrics) WITH ORDINALITY AS n(value, position)
     WHERE device_id = %(device)s AND ts >= %(since)s AND ts < %(until)s AND schema_id = %(schema)s
     GROUP BY 1, 2 ORDER BY 1, 2 LIMIT %(limit)s
"""


Values = dict[str, list[float | None]]
"""By metric name, one for each bucket; None where the bucket lacks the metric."""


@dataclass(frozen=True, slots=True)
class Series:
    """All metrics on one time axis: averages, and the extremes that an average would hide."""

    step: timedelta
    times: list[int] = field(default_factory=list)
    """Epoch ms, the start of each bucket that has a reading."""
    values: Values = field(default_factory=dict)
    lows: Values = field(default_factory=dict)
    highs: Values = field(default_factory=dict)


def numeric_metrics(schema_pk: int) -> list[Metric]:
    """The metrics of a schema that are stored as numbers, in stored order."""
    return list(Metric.objects.filter(schema_id=schema_pk).exclude(kind=Metric.Kind.TEXT).order_by("position"))


def series(device_pk: int, since: datetime, until: datetime) -> Series:
    """Averages of a device's metrics in buckets of at least a second, at most `POINTS` of them."""
    step = max(timedelta(seconds=1), (until - since) / POINTS)
    latest = Latest.objects.filter(device_id=device_pk).values_list("schema_id", flat=True).first()
    if latest is None:
        return Series(step)
    names = [metric.name for metric in numeric_metrics(latest)]
    parameters: dict[str, Any] = {"step": step, "since": since, "until": until, "device": device_pk}
    parameters |= {"schema": latest, "limit": (POINTS + 2) * max(len(names), 1)}
    with connection.cursor() as cursor:
        cursor.execute(_SERIES, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    moments = sorted({row[0] for row in rows})
    place = {moment: index for index, moment in enumerate(moments)}
    kinds: list[Values] = [{name: [None] * len(moments) for name in names} for _ in range(3)]
    for moment, position, *figures in rows:
        if position <= len(names):
            for kind, figure in zip(kinds, figures, strict=True):
                kind[names[position - 1]][place[moment]] = figure
    return Series(step, [int(moment.timestamp() * 1000) for moment in moments], *kinds)


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
