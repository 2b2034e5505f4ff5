"""What can be drawn of some devices: metrics by name, across the versions of their types' schemas."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from telemetry.models import Metric

MOST = 50
"""Metrics in one answer."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One metric as one series. Values of a version that gave the name another unit or kind are left out."""

    name: str
    label: str
    unit: str
    kind: str
    places: dict[int, int] = field(default_factory=dict)
    """By schema: its place in the stored arrays, from 1."""
    others: dict[int, str] = field(default_factory=dict)
    """By schema that is left out: the unit there."""


def of_types(device_types: Iterable[int], newest: int | None, names: Iterable[str] = ()) -> list[Drawn]:
    """Numeric metrics of these types: those with `names`, or all that the schema `newest` has (None: the last version).

    What a metric means is what `newest` says; where it lacks it, the highest version that has it. Names nobody knows
    are not in the answer, nor is more than `MOST`. One query.
    """
    schemas: dict[int, list[Metric]] = {}
    rows = Metric.objects.filter(schema__device_type_id__in=set(device_types)).exclude(kind=Metric.Kind.TEXT)
    for metric in rows.order_by("schema__version", "schema_id", "position"):
        schemas.setdefault(metric.schema_id, []).append(metric)
    if newest not in schemas:
        newest = next(reversed(schemas), None)
    order = sorted(schemas, key=lambda schema: schema == newest)  # the one that decides comes last
    meant = {metric.name: metric for schema in order for metric in schemas[schema]}
    wanted = list(names) or [metric.name for metric in schemas.get(newest or 0, [])]
    return [_drawn(meant[name], schemas) for name in dict.fromkeys(wanted) if name in meant][:MOST]


def _drawn(meant: Metric, schemas: dict[int, list[Metric]]) -> Drawn:
    drawn = Drawn(meant.name, meant.label, meant.unit, meant.kind)
    for schema, metrics in schemas.items():
        for place, metric in enumerate(metrics, 1):
            if metric.name != meant.name:
                continue
            if _meaning(metric) == _meaning(meant):
                drawn.places[schema] = place
            else:
                drawn.others[schema] = metric.unit
    return drawn


def _meaning(metric: Metric) -> tuple[Any, ...]:
    """Whole numbers are numbers: a version that allows fractions goes on with the same series."""
    return metric.unit, metric.kind == Metric.Kind.BOOLEAN


def types_with(metrics: Iterable[Drawn]) -> set[int]:
    """Device types that have one of these metrics, with the same unit and kind."""
    meant = [(metric.name, metric.unit, metric.kind == Metric.Kind.BOOLEAN) for metric in metrics]
    rows = Metric.objects.filter(name__in=[name for name, *_ in meant]).exclude(kind=Metric.Kind.TEXT)
    return {row.schema.device_type_id for row in rows.select_related("schema") if (row.name, *_meaning(row)) in meant}
